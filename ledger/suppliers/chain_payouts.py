"""Suppliers' payouts by the payouts contract: handed to the keeper, and followed on the chain.

Of a restored ledger, a day whose payee was paid for something that is lost waits for an operator:
the chain may have paid that very day.

A supplier's payout becomes a payout of the market with the same id, which the keeper puts into a
batch; a batch id pays once, on chain. A reorg that takes its block makes it ``sending`` again.
Every function is part of the caller's transaction.
"""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, func, insert, or_, select, text

from contracts.units import SECONDS_PER_DAY, format_usdc
from ledger.selling.lost_payouts import LOST_PREFIX
from ledger.suppliers.supplier_payouts import (
    move_payout,
    note_payout_sent,
    note_submitted,
    refresh_addresses,
    take_due_payouts,
)
from ledger.tables import (
    SUPPLIER_PAYOUT_OPEN,
    MarketPayout,
    PayoutBatch,
    PayoutItem,
    SupplierPayout,
    table_of,
)

_batch = table_of(PayoutBatch)
_item = table_of(PayoutItem)
_paid = table_of(MarketPayout)
_payout = table_of(SupplierPayout)

RAIL: Final = "chain"
UNDONE_S: Final = 7 * 86_400
"""For how long a payout that was sent is still looked at: a reorg may take it back."""
CREDITED: Final = (
    "the address did not take the payment: it can be claimed from the payouts contract"
)

PERHAPS_PAID: Final = (
    "the ledger was restored, and its address was paid {usdc} USDC for something that the backup"
    " does not know: it may have been this. Compare the payments to the address; if it was paid:"
    " payout-sent, if not: payout-failed, then payout-retry"
)


def submit_on_chain(connection: Connection, *, now_s: int, limit: int) -> int:
    """Hand due payouts to the keeper, all in this transaction; return how many."""
    due = take_due_payouts(
        connection, rail=RAIL, statuses=("pending",), claim_s=0, now_s=now_s, limit=limit
    )
    ids = [str(row["payout_id"]) for row in due]
    held = _hold_perhaps_paid(connection, ids, now_s=now_s)
    submitted = note_submitted(connection, [one for one in ids if one not in held], now_s=now_s)
    rows = [
        {
            "payout_id": row["payout_id"],
            "seller": row["supplier_id"],
            "payee": row["address"].lower(),
            "amount_usdc": row["net_usdc"],
            "planned_at_s": now_s,
        }
        for row in submitted
    ]
    if rows:
        connection.execute(insert(_paid), rows)
    return len(rows)


def _hold_perhaps_paid(connection: Connection, payout_ids: list[str], *, now_s: int) -> set[str]:
    """Leave to an operator what a restored ledger may have paid before; return which.

    Held are days up to the restore, and what was carried over to later ones. Once: what an operator
    lets go again (``payout-failed``, then ``payout-retry``) is paid.
    """
    if not payout_ids:
        return set()
    # They are compared with the addresses that they are about to go to.
    refresh_addresses(connection, payout_ids, now_s=now_s)
    lost_usdc = func.sum(_paid.c.amount_usdc).label("lost_usdc")
    rows = connection.execute(
        select(_payout.c.payout_id, lost_usdc)
        .join(_paid, _paid.c.payee == func.lower(_payout.c.address))
        .where(
            _payout.c.payout_id.in_(payout_ids),
            _payout.c.retries == 0,
            _paid.c.payout_id.like(f"{LOST_PREFIX}%"),
            or_(
                _payout.c.first_day * SECONDS_PER_DAY <= _paid.c.planned_at_s,
                _payout.c.carried_in_usdc > 0,
            ),
        )
        .group_by(_payout.c.payout_id)
    ).all()
    for payout_id, usdc in rows:
        move_payout(
            connection,
            payout_id,
            before=("pending",),
            now_s=now_s,
            status="needs_operator",
            reason=PERHAPS_PAID.format(usdc=format_usdc(int(usdc))),
        )
    return {str(payout_id) for payout_id, _ in rows}


def is_with_keeper(connection: Connection, payout_id: str) -> bool:
    """Tell whether the keeper was ever given a payout."""
    query = select(_paid.c.payout_id).where(_paid.c.payout_id == payout_id)
    return connection.execute(query).scalar() is not None


def follow_on_chain(
    connection: Connection, *, make_id: Callable[[], str], now_s: int, limit: int = 1_000
) -> int:
    """Bring payouts as far as their batches are; return how many moved."""
    live = (_item.c.payout_id == _payout.c.payout_id) & (_item.c.state != "freed")
    query = (
        select(_payout.c.payout_id, _payout.c.status, _item.c.state, _batch.c.paid_tx_hash)
        .join(_item, live)
        .join(_batch, _batch.c.batch_id == _item.c.batch_id)
        .where(_payout.c.rail == RAIL)
    )
    is_behind = (
        ((_payout.c.status == "submitted") & _item.c.state.in_(("sent", "paid", "credited")))
        | ((_payout.c.status == "sending") & _item.c.state.in_(("paid", "credited")))
        | ((_payout.c.status == "needs_operator") & _item.c.state.in_(("paid", "sent")))
    )
    is_undone = (
        (_payout.c.status == "sent")
        & (_payout.c.sent_at_s > now_s - UNDONE_S)
        & _item.c.state.in_(("sent", "planned"))
    )
    moved = 0
    for condition in (text(SUPPLIER_PAYOUT_OPEN) & is_behind, is_undone):
        for payout_id, status, item_state, tx_hash in connection.execute(
            query.where(condition).limit(limit)
        ).all():
            moved += _bring(
                connection, payout_id, status, item_state, tx_hash, make_id=make_id, now_s=now_s
            )
    return moved


def _bring(
    connection: Connection,
    payout_id: str,
    status: str,
    item_state: str,
    tx_hash: str | None,
    *,
    make_id: Callable[[], str],
    now_s: int,
) -> bool:
    if item_state == "paid" and tx_hash is not None:
        return note_payout_sent(
            connection,
            payout_id,
            tx_hash=tx_hash,
            make_id=make_id,
            now_s=now_s,
            before=(status,),
            external_state=item_state,
        )
    values: dict[str, Any] = {"external_state": item_state, "tx_hash": tx_hash}
    if item_state == "credited":
        values |= {"status": "needs_operator", "reason": CREDITED}
    else:
        values |= {"status": "sending", "reason": None, "sent_at_s": None}
    return move_payout(connection, payout_id, before=(status,), now_s=now_s, **values)
