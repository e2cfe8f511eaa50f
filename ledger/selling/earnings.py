"""Gathering what sellers have earned into payouts. The keeper pays them (``selling.payouts``)."""

from collections.abc import Callable, Iterable

from sqlalchemy import Connection, and_, func, insert, select, text, update

from ledger.tables import SALE_UNPAID, MarketPayout, MarketSale, MarketSeller, table_of

_payout = table_of(MarketPayout)
_sale = table_of(MarketSale)
_seller = table_of(MarketSeller)


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
    """Gather the unpaid earnings of sales posted by ``until_s``, one payout to a payee and seller.

    Returns the ids of the payouts. Of sellers with one of ``policies``; what is below
    ``minimum_usdc`` waits. A sale is in one payout for good: it is named in the statement that
    finds it unpaid.
    """
    is_due = and_(
        text(SALE_UNPAID),
        _sale.c.earning_usdc > 0,
        _sale.c.resolved_at_s <= until_s,
    )
    payees = connection.execute(
        select(_sale.c.seller, _sale.c.payout_address)
        .join(_seller, _seller.c.address == _sale.c.seller)
        .where(is_due, _seller.c.payout_policy.in_(list(policies)))
        .group_by(_sale.c.seller, _sale.c.payout_address)
        .having(func.sum(_sale.c.earning_usdc) >= max(1, minimum_usdc))
        .order_by(_sale.c.seller, _sale.c.payout_address)
        .limit(limit)
    ).all()
    planned = []
    for seller, payee in payees:
        payout_id = make_id()
        earned = (
            connection.execute(
                update(_sale)
                .where(is_due, _sale.c.seller == seller, _sale.c.payout_address == payee)
                .values(payout_id=payout_id)
                .returning(_sale.c.earning_usdc)
            )
            .scalars()
            .all()
        )
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
