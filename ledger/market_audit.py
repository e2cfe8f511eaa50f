"""Invariant L7: the market's money adds up, to the unit."""

from sqlalchemy import Connection, case, func, select

from ledger.payments.claims import find_payment_mismatches
from ledger.tables import (
    MarketAccount,
    MarketCredit,
    MarketOffer,
    MarketPayout,
    MarketSale,
    table_of,
)

_account = table_of(MarketAccount)
_credit = table_of(MarketCredit)
_offer = table_of(MarketOffer)
_payout = table_of(MarketPayout)
_sale = table_of(MarketSale)


def find_market_mismatches(connection: Connection) -> list[tuple[str, str]]:
    """Return what breaks L7, as (subject, detail): the market's money adds up to the unit.

    Sum of buyers' cost = sum of sellers' earnings + fees + margin, over all sales; and each
    account, offer and payout holds what its credits and sales say.
    """
    return [
        *_find_total(connection),
        *_find_accounts(connection),
        *_find_offers(connection),
        *_find_payouts(connection),
        *find_payment_mismatches(connection),
    ]


def _find_total(connection: Connection) -> list[tuple[str, str]]:
    columns = (_sale.c.cost_usdc, _sale.c.earning_usdc, _sale.c.fee_usdc, _sale.c.margin_usdc)
    sums = [func.coalesce(func.sum(column), 0) for column in columns]
    row = connection.execute(select(*sums).where(_sale.c.state == "posted")).one()
    cost, earning, fee, margin = (int(value) for value in row)
    spent = int(
        connection.execute(select(func.coalesce(func.sum(_account.c.spent_usdc), 0))).scalar_one()
    )
    if cost == spent == earning + fee + margin:
        return []
    detail = f"buyers spent {spent}, sales cost {cost} = {earning} + {fee} + {margin}"
    return [("market", detail)]


def _find_accounts(connection: Connection) -> list[tuple[str, str]]:
    reserved = case((_sale.c.state == "reserved", _sale.c.ceiling_usdc), else_=0)
    sums = (
        select(
            _sale.c.account_id,
            func.sum(func.coalesce(_sale.c.cost_usdc, 0)).label("spent"),
            func.sum(reserved).label("reserved"),
        )
        .group_by(_sale.c.account_id)
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
    rows = connection.execute(
        select(
            _payout.c.payout_id,
            _payout.c.amount_usdc,
            func.coalesce(func.sum(_sale.c.earning_usdc), 0),
        )
        .outerjoin(_sale, _sale.c.payout_id == _payout.c.payout_id)
        .group_by(_payout.c.payout_id)
    )
    return [
        (f"payout {payout_id}", f"is of {amount}, its sales earned {earned}")
        for payout_id, amount, earned in rows
        if int(amount) != int(earned)
    ]
