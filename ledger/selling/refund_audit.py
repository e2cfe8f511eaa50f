"""Invariant L9: what sellers earned was paid out, refunded or is owed, to the unit and once."""

from collections import defaultdict

from sqlalchemy import Connection, case, func, select

from ledger.selling.convictions import REFUND_PREFIX, SOURCE
from ledger.selling.lost_payouts import LOST_PREFIX
from ledger.tables import (
    ApiCall,
    MarketConviction,
    MarketCredit,
    MarketPayout,
    MarketRefund,
    MarketSale,
    MarketWithdrawal,
    SupplierPayout,
    table_of,
)

_call = table_of(ApiCall)
_conviction = table_of(MarketConviction)
_credit = table_of(MarketCredit)
_payout = table_of(MarketPayout)
_refund = table_of(MarketRefund)
_sale = table_of(MarketSale)
_supplier_payout = table_of(SupplierPayout)
_withdrawal = table_of(MarketWithdrawal)


def find_refund_mismatches(connection: Connection) -> list[tuple[str, str]]:
    """Return what breaks L9, as (subject, detail).

    For each seller: sum of earnings = sum of payouts + refunded to buyers + held back for them +
    not paid yet. And each refund is its sale's cost, was credited to its buyer to the unit, and
    belongs to a conviction that stands or is borne by the market.
    """
    return [*_find_sellers(connection), *_find_refunds(connection), *_find_credits(connection)]


def _find_sellers(connection: Connection) -> list[tuple[str, str]]:
    is_held = func.coalesce(_sale.c.payout_id, "").like(f"{REFUND_PREFIX}%")
    is_refunded = is_held & _refund.c.sale_id.is_not(None)
    earning = _sale.c.earning_usdc
    rows = connection.execute(
        select(
            _sale.c.seller,
            func.sum(earning),
            func.sum(case((_sale.c.payout_id.is_(None), earning), else_=0)),
            func.sum(case((is_held & _refund.c.sale_id.is_(None), earning), else_=0)),
            func.sum(case((is_refunded, _refund.c.earning_usdc), else_=0)),
        )
        .outerjoin(_refund, _refund.c.sale_id == _sale.c.sale_id)
        # A supplier's are held against its settlement, by S1 and S2.
        .where(_sale.c.state == "posted", _sale.c.supply_offer_id.is_(None))
        .group_by(_sale.c.seller)
    ).all()
    paid = _load_payouts(connection)
    found = []
    for seller, earned, unpaid, held, refunded in rows:
        gone = paid.get(str(seller), 0)
        if int(earned) != gone + int(refunded) + int(held) + int(unpaid):
            detail = (
                f"earned {earned}: paid {gone}, refunded {refunded}, held {held}, owed {unpaid}"
            )
            found.append((f"seller {seller}", detail))
    return found


def _load_payouts(connection: Connection) -> dict[str, int]:
    """Return what each seller's payouts have of sales: what they are, less its calls' part."""
    rows = connection.execute(
        select(_payout.c.seller, func.sum(_payout.c.amount_usdc))
        .where(
            _payout.c.payout_id.not_in(select(_supplier_payout.c.payout_id)),
            _payout.c.payout_id.not_in(select(_withdrawal.c.withdrawal_id)),
            _payout.c.payout_id.not_like(f"{LOST_PREFIX}%"),
        )
        .group_by(_payout.c.seller)
    ).all()
    sums: dict[str, int] = defaultdict(int)
    for seller, amount_usdc in rows:
        sums[str(seller)] += int(amount_usdc)
    calls = connection.execute(
        select(_call.c.owner, func.sum(_call.c.earning_usdc))
        .where(_call.c.state == "posted", _call.c.payout_id.is_not(None))
        .group_by(_call.c.owner)
    ).all()
    for owner, earning_usdc in calls:
        sums[str(owner)] -= int(earning_usdc)
    return sums


def _find_refunds(connection: Connection) -> list[tuple[str, str]]:
    """Return refunds, and sales that are held back, that do not belong to their convictions."""
    rows = connection.execute(
        select(
            _sale.c.sale_id,
            _sale.c.payout_id,
            _sale.c.offer_id,
            _sale.c.account_id,
            _sale.c.cost_usdc,
            _sale.c.earning_usdc,
            _conviction.c.offer_id,
            _conviction.c.state,
            _refund.c.account_id,
            _refund.c.amount_usdc,
            _refund.c.earning_usdc,
            _refund.c.is_borne,
        )
        .outerjoin(_refund, _refund.c.sale_id == _sale.c.sale_id)
        .outerjoin(
            _conviction,
            (REFUND_PREFIX + _conviction.c.conviction_id == _sale.c.payout_id)
            | (_conviction.c.conviction_id == _refund.c.conviction_id),
        )
        .where(_sale.c.payout_id.like(f"{REFUND_PREFIX}%") | _refund.c.sale_id.is_not(None))
    ).all()
    found = []
    for sale_id, payout_id, offer_id, buyer, cost, earning, convicted, state, *refund in rows:
        account_id, amount, part, is_borne = refund
        is_held = str(payout_id or "").startswith(REFUND_PREFIX)
        if convicted != offer_id:
            found.append((f"sale {sale_id}", f"of offer {offer_id}, refunded for {convicted}"))
        elif is_held == (state == "overturned"):
            found.append((f"sale {sale_id}", f"its conviction is {state}, it has {payout_id}"))
        elif amount is None:
            if state == "refunded":
                found.append((f"sale {sale_id}", "held back, and its buyer has nothing"))
        elif (account_id, amount, part, bool(is_borne)) != (buyer, cost, earning, not is_held):
            detail = f"refunded {amount} to {account_id}, of {part}; cost {cost} of {buyer}"
            found.append((f"sale {sale_id}", detail))
    return found


def _find_credits(connection: Connection) -> list[tuple[str, str]]:
    """Return credits that are not the sum of their refunds, or another account's."""
    refunds = (
        select(
            _refund.c.credit_id,
            func.sum(_refund.c.amount_usdc).label("usdc"),
            func.min(_refund.c.account_id).label("first"),
            func.max(_refund.c.account_id).label("last"),
        )
        .group_by(_refund.c.credit_id)
        .subquery()
    )
    rows = connection.execute(
        select(
            _credit.c.credit_id,
            _credit.c.account_id,
            _credit.c.amount_usdc,
            func.coalesce(refunds.c.usdc, 0),
            refunds.c.first,
            refunds.c.last,
        )
        .outerjoin(refunds, refunds.c.credit_id == _credit.c.credit_id)
        .where((_credit.c.source == SOURCE) | refunds.c.credit_id.is_not(None))
    ).all()
    return [
        (f"credit {credit_id}", f"{amount} to {account_id}, its refunds are {usdc} to {first}")
        for credit_id, account_id, amount, usdc, first, last in rows
        if (int(amount), account_id, account_id) != (int(usdc), first, last)
    ]
