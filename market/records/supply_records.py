"""What suppliers see of what they sold and were paid. Each function takes a read snapshot.

Sums are read from the days' sums, which are kept as sales are posted: they cost as much however
much was sold in a day. Amounts in 1e-6 USD.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, func, or_, select

from ledger.suppliers.settling import DaySum, get_gross_usdc
from ledger.tables import SupplierPayout, SupplyAccount, SupplyDay, SupplyOffer, table_of

_account = table_of(SupplyAccount)
_day = table_of(SupplyDay)
_offer = table_of(SupplyOffer)
_payout = table_of(SupplierPayout)


@dataclass(frozen=True, slots=True)
class PayoutTotals:
    """A supplier's payouts, all together."""

    gross_usdc: int
    fee_usdc: int
    sent_usdc: int
    underway_usdc: int
    """To be sent, or on its way."""
    failed_usdc: int
    """Not sent, and owed until an operator has it sent again."""
    carried_usdc: int
    """Owed, and in no payout yet."""


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """What a supplier sold from a day on."""

    requests: int
    input_tokens: int
    output_tokens: int
    gross_usdc: int


def load_supplier_payouts(
    connection: Connection, *, supplier_id: str, before: str | None, limit: int
) -> list[RowMapping]:
    """Return a supplier's payouts before the id ``before``, newest first."""
    query = select(_payout).where(_payout.c.supplier_id == supplier_id)
    if before is not None:
        query = query.where(_payout.c.payout_id < before)
    ordered = query.order_by(_payout.c.payout_id.desc()).limit(limit)
    return list(connection.execute(ordered).mappings())


def load_payout_totals(connection: Connection, supplier_id: str) -> PayoutTotals:
    """Return the totals of a supplier's payouts."""
    net = func.sum(_payout.c.net_usdc)
    status = _payout.c.status
    row = connection.execute(
        select(
            func.coalesce(func.sum(_payout.c.gross_usdc), 0),
            func.coalesce(func.sum(_payout.c.fee_usdc), 0),
            func.coalesce(net.filter(status == "sent"), 0),
            func.coalesce(net.filter(status.not_in(("sent", "failed"))), 0),
            func.coalesce(net.filter(status == "failed"), 0),
        ).where(_payout.c.supplier_id == supplier_id)
    ).one()
    carried = connection.execute(
        select(_account.c.carried_usdc).where(_account.c.supplier_id == supplier_id)
    ).scalar()
    gross, fee, sent, underway, failed = map(int, row)
    return PayoutTotals(gross, fee, sent, underway, failed, carried_usdc=int(carried or 0))


def load_usage(
    connection: Connection,
    *,
    supplier_id: str,
    from_day: int,
    after: tuple[int, str, int] | None,
    limit: int,
) -> list[RowMapping]:
    """Return what a supplier sold by day, offer and bid, from ``from_day`` on, oldest first."""
    query = select(_day).where(_day.c.supplier_id == supplier_id, _day.c.day >= from_day)
    if after is not None:
        day, offer_id, bid = after
        same_day = _day.c.day == day
        query = query.where(
            or_(
                _day.c.day > day,
                same_day & (_day.c.supply_offer_id > offer_id),
                same_day & (_day.c.supply_offer_id == offer_id) & (_day.c.bid_usdc_per_mtok > bid),
            )
        )
    ordered = query.order_by(_day.c.day, _day.c.supply_offer_id, _day.c.bid_usdc_per_mtok)
    return list(connection.execute(ordered.limit(limit)).mappings())


def load_usage_totals(connection: Connection, *, supplier_id: str, from_day: int) -> UsageTotals:
    """Return what a supplier sold from a day on, and what it comes to before the fee."""
    columns = ("requests", "input_tokens", "output_tokens", "paid_tokens")
    rows = connection.execute(
        select(
            _day.c.supply_offer_id,
            _day.c.day,
            _day.c.bid_usdc_per_mtok,
            *(_day.c[name] for name in columns),
        ).where(_day.c.supplier_id == supplier_id, _day.c.day >= from_day)
    ).all()
    sums = [DaySum(str(offer_id), *map(int, numbers)) for offer_id, *numbers in rows]
    return UsageTotals(
        requests=sum(one.requests for one in sums),
        input_tokens=sum(one.input_tokens for one in sums),
        output_tokens=sum(one.output_tokens for one in sums),
        gross_usdc=get_gross_usdc(sums),
    )


def count_supply_offers(connection: Connection, supplier_id: str) -> dict[str, int]:
    """Return how many offers a supplier has by status."""
    rows = connection.execute(
        select(_offer.c.status, func.count())
        .where(_offer.c.supplier_id == supplier_id, _offer.c.status != "deleted")
        .group_by(_offer.c.status)
    ).all()
    return {str(status): int(count) for status, count in rows}
