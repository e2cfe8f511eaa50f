"""Invariant L7: the market's money adds up, to the unit."""

from sqlalchemy import Connection, case, func, select, union_all

from ledger.payments.claims import find_payment_mismatches
from ledger.payments.withdrawals import find_withdrawal_mismatches
from ledger.selling.lost_payouts import LOST_PREFIX
from ledger.tables import (
    ApiCall,
    MarketAccount,
    MarketCredit,
    MarketOffer,
    MarketPayout,
    MarketSale,
    MarketWithdrawal,
    SupplierPayout,
    table_of,
)

_account = table_of(MarketAccount)
_call = table_of(ApiCall)
_credit = table_of(MarketCredit)
_offer = table_of(MarketOffer)
_payout = table_of(MarketPayout)
_sale = table_of(MarketSale)
_supplier_payout = table_of(SupplierPayout)
_withdrawal = table_of(MarketWithdrawal)


def find_market_mismatches(connection: Connection) -> list[tuple[str, str]]:
    """Return what breaks L7, as (subject, detail): the market's money adds up to the unit.

    Sum of buyers' cost = sum of sellers' earnings + fees + margin, over all sales and calls; and
    each account, offer and payout holds what its credits, sales and calls say.
    """
    return [
        *_find_total(connection),
        *_find_accounts(connection),
        *_find_offers(connection),
        *_find_payouts(connection),
        *find_payment_mismatches(connection),
        *find_withdrawal_mismatches(connection),
    ]


def _find_total(connection: Connection) -> list[tuple[str, str]]:
    columns = (_sale.c.cost_usdc, _sale.c.earning_usdc, _sale.c.fee_usdc, _sale.c.margin_usdc)
    sums = [func.coalesce(func.sum(column), 0) for column in columns]
    row = connection.execute(select(*sums).where(_sale.c.state == "posted")).one()
    cost, earning, fee, margin = (int(value) for value in row)
    spent = int(
        connection.execute(select(func.coalesce(func.sum(_account.c.spent_usdc), 0))).scalar_one()
    )
    called = select(func.coalesce(func.sum(_call.c.cost_usdc), 0)).where(_call.c.state == "posted")
    calls = int(connection.execute(called).scalar_one())
    if cost == earning + fee + margin and cost + calls == spent:
        return []
    detail = (
        f"buyers spent {spent}, sales cost {cost} = {earning} + {fee} + {margin}, calls {calls}"
    )
    return [("market", detail)]


def _find_accounts(connection: Connection) -> list[tuple[str, str]]:
    bought = union_all(
        *(
            select(
                one.c.account_id,
                func.coalesce(one.c.cost_usdc, 0).label("spent"),
                case((one.c.state == "reserved", one.c.ceiling_usdc), else_=0).label("reserved"),
            )
            for one in (_sale, _call)
        )
    ).subquery()
    sums = (
        select(
            bought.c.account_id,
            func.sum(bought.c.spent).label("spent"),
            func.sum(bought.c.reserved).label("reserved"),
        )
        .group_by(bought.c.account_id)
        .subquery()
    )
    credits = (
        select(_credit.c.account_id, func.sum(_credit.c.amount_usdc).label("credited"))
        .group_by(_credit.c.account_id)
        .subquery()
    )
    rows = connection.execute(
        select(
            _account.c.account_id,
            _account.c.credited_usdc,
            _account.c.spent_usdc,
            _account.c.reserved_usdc,
            func.coalesce(credits.c.credited, 0),
            func.coalesce(sums.c.spent, 0),
            func.coalesce(sums.c.reserved, 0),
        )
        .outerjoin(sums, sums.c.account_id == _account.c.account_id)
        .outerjoin(credits, credits.c.account_id == _account.c.account_id)
    )
    return [
        (f"account {row[0]}", f"holds {tuple(map(int, row[1:4]))}, rows say {found}")
        for row in rows
        if tuple(map(int, row[1:4])) != (found := tuple(map(int, row[4:])))
    ]


def _find_offers(connection: Connection) -> list[tuple[str, str]]:
    used = case(
        (_sale.c.state == "reserved", _sale.c.ceiling_usdc),
        else_=func.coalesce(_sale.c.cost_usdc, 0),
    )
    today = case((_sale.c.day == _offer.c.day, used), else_=0)
    rows = connection.execute(
        select(
            _offer.c.offer_id,
            _offer.c.total_used_usdc,
            _offer.c.day_used_usdc,
            func.coalesce(func.sum(used), 0),
            func.coalesce(func.sum(today), 0),
        )
        .outerjoin(_sale, _sale.c.offer_id == _offer.c.offer_id)
        .group_by(_offer.c.offer_id)
    )
    return [
        (f"offer {offer_id}", f"used {total} and {day} today, sales say {sales} and {sales_today}")
        for offer_id, total, day, sales, sales_today in rows
        if (int(total), int(day)) != (int(sales), int(sales_today))
    ]


def _find_payouts(connection: Connection) -> list[tuple[str, str]]:
    earned_in = union_all(
        *(
            select(one.c.payout_id, one.c.earning_usdc).where(one.c.payout_id.is_not(None))
            for one in (_sale, _call)
        )
    ).subquery()
    rows = connection.execute(
        select(
            _payout.c.payout_id,
            _payout.c.amount_usdc,
            func.coalesce(func.sum(earned_in.c.earning_usdc), 0),
        )
        .outerjoin(earned_in, earned_in.c.payout_id == _payout.c.payout_id)
        # A supplier's is held against its settlement, by S1 and S2; a withdrawal's against it.
        .where(
            _payout.c.payout_id.not_in(select(_supplier_payout.c.payout_id)),
            _payout.c.payout_id.not_in(select(_withdrawal.c.withdrawal_id)),
            # Of a restored ledger: what was paid for sales that are lost.
            _payout.c.payout_id.not_like(f"{LOST_PREFIX}%"),
        )
        .group_by(_payout.c.payout_id)
    )
    return [
        (f"payout {payout_id}", f"is of {amount}, its sales and calls earned {earned}")
        for payout_id, amount, earned in rows
        if int(amount) != int(earned)
    ]
