"""Gathering what sellers have earned into payouts. The keeper pays them (``selling.payouts``).

A seller earns by sales of inference and by calls of the APIs that it is connected to.
"""

from collections.abc import Callable, Iterable

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    case,
    exists,
    false,
    func,
    insert,
    not_,
    select,
    text,
    true,
    union_all,
    update,
)

from ledger.selling.disputes import METHODS, PROBED, WAITS_MAX_S
from ledger.tables import (
    CALL_UNPAID,
    SALE_UNPAID,
    ApiCall,
    MarketConviction,
    MarketDispute,
    MarketEvidence,
    MarketOffer,
    MarketPayout,
    MarketSale,
    MarketSeller,
    table_of,
)

_call = table_of(ApiCall)
_conviction = table_of(MarketConviction)
_dispute = table_of(MarketDispute)
_evidence = table_of(MarketEvidence)
_offer = table_of(MarketOffer)
_payout = table_of(MarketPayout)
_sale = table_of(MarketSale)
_seller = table_of(MarketSeller)

_SOLD: tuple[tuple[Table, ColumnElement[str]], ...] = (
    (_sale, _sale.c.seller),
    (_call, _call.c.owner),
)
"""What earns, and whose earning it is."""


def plan_payouts(
    connection: Connection,
    *,
    policies: Iterable[str],
    until_s: int,
    now_s: int,
    make_id: Callable[[], str],
    minimum_usdc: int = 1,
    limit: int = 1_000,
) -> list[str]:
    """Gather unpaid earnings of what was posted by ``until_s``, one payout to a payee and seller.

    Returns the ids of the payouts. Of sellers with one of ``policies``; what is not vested by
    ``until_s``, what is withheld (``is_withheld``), and what is below ``minimum_usdc``, waits. A
    sale or a call is in one payout for good: it is named in the statement that finds it unpaid.
    """
    due = union_all(
        *(
            select(
                owner.label("seller"),
                sold.c.payout_address.label("payee"),
                sold.c.earning_usdc.label("earning"),
            ).where(_is_due(sold, until_s=until_s))
            for sold, owner in _SOLD
        )
    ).subquery()
    payees = connection.execute(
        select(due.c.seller, due.c.payee)
        .join(_seller, _seller.c.address == due.c.seller)
        .where(_seller.c.payout_policy.in_(list(policies)))
        .group_by(due.c.seller, due.c.payee)
        .having(func.sum(due.c.earning) >= max(1, minimum_usdc))
        .order_by(due.c.seller, due.c.payee)
        .limit(limit)
    ).all()
    planned = []
    for seller, payee in payees:
        payout_id = make_id()
        earned: list[int] = []
        for sold, owner in _SOLD:
            earned += connection.execute(
                update(sold)
                .where(
                    _is_due(sold, until_s=until_s), owner == seller, sold.c.payout_address == payee
                )
                .values(payout_id=payout_id)
                .returning(sold.c.earning_usdc)
            ).scalars()
        if not earned:
            continue  # another process was faster
        connection.execute(
            insert(_payout).values(
                payout_id=payout_id,
                seller=seller,
                payee=payee,
                amount_usdc=sum(earned),
                planned_at_s=now_s,
            )
        )
        planned.append(payout_id)
    return planned


def _is_due(sold: Table, *, until_s: int) -> ColumnElement[bool]:
    is_sale = sold is _sale
    return and_(
        text(SALE_UNPAID if is_sale else CALL_UNPAID),
        sold.c.earning_usdc > 0,
        is_vested(until_s) if is_sale else sold.c.resolved_at_s <= until_s,
    )


def is_vested(until_s: int) -> ColumnElement[bool]:
    """Whether a posted sale's earning was its seller's for good at a time."""
    is_old = _sale.c.resolved_at_s + _sale.c.vesting_s <= until_s
    return and_(is_old, not_(is_withheld()), not_(is_disputed(until_s)))


def is_disputed(at_s: int, *, answered_by_s: int | None = None) -> ColumnElement[bool]:
    """Whether the buyer of a posted sale disputed it before its earning vested, and waits.

    Until two methods have looked at the offer since, at most for ``WAITS_MAX_S``. With
    ``answered_by_s``: as it was then. Only what was filed by then waits, and only what was found
    before then answers. None: whatever was filed and found.
    """
    looked = and_(
        _evidence.c.offer_id == _dispute.c.offer_id,
        _evidence.c.made_at_s >= _dispute.c.filed_at_s,
        _evidence.c.method.in_(PROBED),
    )
    filed: ColumnElement[bool] = true()
    if answered_by_s is not None:
        looked = and_(looked, _evidence.c.made_at_s < answered_by_s)
        filed = _dispute.c.filed_at_s <= answered_by_s
    methods = select(func.count(_evidence.c.method.distinct())).where(looked).scalar_subquery()
    waits = exists().where(
        _dispute.c.sale_id == _sale.c.sale_id,
        _dispute.c.filed_at_s < _sale.c.resolved_at_s + _sale.c.vesting_s,
        _dispute.c.filed_at_s > at_s - WAITS_MAX_S,
        filed,
        methods < METHODS,
    )
    return case((_sale.c.vesting_s > 0, waits), else_=false())


def is_withheld() -> ColumnElement[bool]:
    """Whether a posted sale's earning vests no more, as its offer was doubted before it had.

    Until the operator lets the offer back, or it is convicted: what is not refunded then vests by
    time again. Else a seller who takes a doubted offer down would be paid as no probe can come.
    """
    is_decided = exists().where(
        _conviction.c.offer_id == _offer.c.offer_id,
        _conviction.c.state != "overturned",
        _conviction.c.convicted_at_s >= _offer.c.doubted_at_s,
    )
    is_doubted = exists().where(
        _offer.c.offer_id == _sale.c.offer_id,
        _offer.c.doubted_at_s < _sale.c.resolved_at_s + _sale.c.vesting_s,
        ~is_decided,
    )
    # Most sales vest at once: a CASE asks nothing more of them, and of one offer of the others.
    return case((_sale.c.vesting_s > 0, is_doubted), else_=false())
