"""What sellers earned: by sales of inference, and by calls of the APIs that they are connected to.

Ids of both are ordered by time, so a page of the two is the first of both in order.
"""

from itertools import islice
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    case,
    func,
    literal,
    not_,
    null,
    select,
    true,
)

from ledger.selling.convictions import REFUND_PREFIX
from ledger.selling.earnings import is_vested
from ledger.tables import ApiCall, ApiConnection, MarketSale, PayoutBatch, PayoutItem, table_of

_batch = table_of(PayoutBatch)
_call = table_of(ApiCall)
_connection = table_of(ApiConnection)
_item = table_of(PayoutItem)
_sale = table_of(MarketSale)

EARNING_COLUMNS: Final = (
    "kind",
    "sale_id",
    "resolved_at_s",
    "offer_id",
    "model",
    "endpoint",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "connection",
    "operation",
    "units",
    "cost_usdc",
    "fee_bps",
    "fee_usdc",
    "earning_usdc",
    "payout_address",
    "payout_id",
    "vesting_s",
    "payout_state",
    "payout_tx_hash",
)
"""What a seller sees of a sale or a call; None where the other kind has it."""

_OF_BOTH: Final = (
    "resolved_at_s",
    "cost_usdc",
    "fee_bps",
    "fee_usdc",
    "earning_usdc",
    "payout_address",
    "payout_id",
)
_SALES_ALONE: Final = (
    "offer_id",
    "model",
    "endpoint",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
)
"""What only a sale of inference has."""
_OF_A_SALE: Final[dict[str, ColumnElement[Any]]] = {
    "kind": literal("inference"),
    "vesting_s": _sale.c.vesting_s,
    "sale_id": _sale.c.sale_id,
    "connection": null(),
    "units": null(),
    "operation": null(),
    **{name: _sale.c[name] for name in _SALES_ALONE},
}
_OF_A_CALL: Final[dict[str, ColumnElement[Any]]] = {
    "kind": literal("api_call"),
    "vesting_s": literal(0),
    "sale_id": _call.c.call_id,
    "connection": _connection.c.name,
    "units": _call.c.units,
    "operation": _call.c.operation,
    **{name: null() for name in _SALES_ALONE},
}
Row = dict[str, Any]


def load_earnings(
    connection: Connection,
    *,
    seller: str,
    from_s: int,
    until_s: int,
    after: str,
    limit: int,
    now_s: int,
) -> list[Row]:
    """Return a seller's posted sales and paid calls after the id ``after``, oldest first.

    A call that its owner made for nothing earned nothing, and is not one of them.
    """
    found: list[Row] = []
    for sold, named, is_its, id_ in (
        (_sale, _OF_A_SALE, _is_sale_of(seller), _sale.c.sale_id),
        (_call, _OF_A_CALL, _is_call_of(seller), _call.c.call_id),
    ):
        # A payout is in one batch that is not freed, or in none.
        of_payout = (_item.c.payout_id == sold.c.payout_id) & (_item.c.state != "freed")
        state = case(
            (sold.c.payout_id.is_(None) & _is_vested(sold, now_s), "accrued"),
            (sold.c.payout_id.is_(None), "vesting"),
            (sold.c.payout_id.like(f"{REFUND_PREFIX}%"), "refunded"),
            else_=func.coalesce(_item.c.state, "planned"),
        )
        columns: dict[str, ColumnElement[Any]] = {
            **named,
            **{name: sold.c[name] for name in _OF_BOTH},
            "payout_state": state,
            "payout_tx_hash": _batch.c.paid_tx_hash,
        }
        query = (
            select(*(columns[name].label(name) for name in EARNING_COLUMNS))
            .select_from(_joined(sold))
            .outerjoin(_item, of_payout)
            .outerjoin(_batch, _batch.c.batch_id == _item.c.batch_id)
            .where(
                is_its, sold.c.reserved_at_s >= from_s, sold.c.reserved_at_s < until_s, id_ > after
            )
            .order_by(id_)
            .limit(limit)
        )
        found += (dict(row) for row in connection.execute(query).mappings())
    return list(islice(sorted(found, key=lambda row: str(row["sale_id"])), limit))


def load_earning_totals(connection: Connection, *, seller: str, now_s: int) -> dict[str, int]:
    """Return what a seller has earned in all (1e-6 USDC), what of it is in no payout yet, what of
    that is not vested, and what went back to buyers."""
    amounts = ("earning_usdc", "fee_usdc", "unpaid_usdc", "unvested_usdc", "refunded_usdc")
    totals = dict.fromkeys(("requests", "api_calls", *amounts), 0)
    for sold, is_its, counted in (
        (_sale, _is_sale_of(seller), "requests"),
        (_call, _is_call_of(seller), "api_calls"),
    ):
        earned, is_unplanned = func.sum(sold.c.earning_usdc), sold.c.payout_id.is_(None)
        sums = (
            earned,
            func.sum(sold.c.fee_usdc),
            earned.filter(is_unplanned),
            earned.filter(is_unplanned, not_(_is_vested(sold, now_s))),
            earned.filter(sold.c.payout_id.like(f"{REFUND_PREFIX}%")),
        )
        query = select(func.count(), *(func.coalesce(one, 0) for one in sums)).where(is_its)
        count, *found = connection.execute(query).one()
        totals[counted] = int(count)
        for name, amount_usdc in zip(amounts, found, strict=True):
            totals[name] += int(amount_usdc)
    return totals


def _is_vested(sold: Table, now_s: int) -> ColumnElement[bool]:
    """Whether an earning is the seller's for good: that of a call always is."""
    return is_vested(now_s) if sold is _sale else true()


def _is_sale_of(seller: str) -> ColumnElement[bool]:
    return and_(_sale.c.seller == seller, _sale.c.state == "posted")


def _is_call_of(owner: str) -> ColumnElement[bool]:
    return and_(_call.c.owner == owner, _call.c.state == "posted", _call.c.cost_usdc > 0)


def _joined(sold: Table) -> Any:
    if sold is _sale:
        return sold
    return sold.join(_connection, _connection.c.connection_id == sold.c.connection_id)
