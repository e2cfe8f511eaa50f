"""Payout batches: which payouts of the market are paid by which on-chain ``pay``.

States of an item: ``planned`` → ``sent`` → ``paid``, or ``credited`` where the payee could not
receive and may claim it from the contract; ``freed`` where its batch can never be paid any more. A
payout is in one batch that is not freed at most, by a unique index, and names it; a batch id pays
once, on chain. A reorg that takes its block makes it ``sent`` again.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, insert, select, text, update

from contracts.events import ChainEvent
from ledger.chain.event_rows import load_batch_events
from ledger.intents.record import IntentState
from ledger.spending.batches import next_batch_id
from ledger.tables import (
    PAYOUT_BATCH_OPEN,
    Event,
    Intent,
    MarketPayout,
    PayoutBatch,
    PayoutItem,
    table_of,
)

_batch = table_of(PayoutBatch)
_event = table_of(Event)
_intent = table_of(Intent)
_item = table_of(PayoutItem)
_payout = table_of(MarketPayout)

INTENT_PREFIX: Final = "payout:"
CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Payable:
    """A payout that no batch pays yet. Amount in 1e-6 USDC."""

    payout_id: str
    payee: str
    amount_usdc: int
    payable_at_s: int


@dataclass(frozen=True, slots=True)
class PlannedPayout:
    """A batch as it goes on chain: (payee, amount) pairs, ascending by payee, each payee once."""

    batch_id: str
    items: tuple[tuple[str, int], ...]


def load_payable(connection: Connection, *, now_s: int, limit: int) -> list[Payable]:
    """Return at most ``limit`` payouts to addresses of this chain that no batch pays, oldest first.

    By its index: it costs what waits, however much was paid before.
    """
    rows = connection.execute(
        select(_payout.c.payout_id, _payout.c.payee, _payout.c.amount_usdc, _payout.c.planned_at_s)
        .where(
            _payout.c.batch_id.is_(None),
            _payout.c.planned_at_s <= now_s,
            _payout.c.payee.like("0x" + 40 * "_"),
        )
        .order_by(_payout.c.planned_at_s, _payout.c.payout_id)
        .limit(limit)
    ).all()
    return [Payable(str(id_), str(payee), int(usdc), int(at_s)) for id_, payee, usdc, at_s in rows]


def plan_payout_batch(
    connection: Connection, payouts: Sequence[tuple[str, str, int]], *, now_s: int
) -> PlannedPayout | None:
    """Put (payout id, payee, amount) into a new batch; None for none.

    Raises ``IntegrityError`` where another batch pays one of them: the transaction must roll back.
    """
    if not payouts:
        return None
    by_payee: dict[str, int] = defaultdict(int)
    for _, payee, amount_usdc in payouts:
        by_payee[payee.lower()] += amount_usdc
    planned = PlannedPayout(next_batch_id(connection), tuple(sorted(by_payee.items())))
    connection.execute(
        insert(_batch).values(
            batch_id=planned.batch_id,
            state="planned",
            total_usdc=sum(by_payee.values()),
            planned_at_s=now_s,
        )
    )
    connection.execute(
        insert(_item),
        [
            {
                "batch_id": planned.batch_id,
                "payout_id": payout_id,
                "payee": payee.lower(),
                "amount_usdc": amount_usdc,
                "state": "planned",
            }
            for payout_id, payee, amount_usdc in payouts
        ],
    )
    for start in range(0, len(payouts), CHUNK):
        ids = [payout_id for payout_id, _, _ in payouts[start : start + CHUNK]]
        connection.execute(
            update(_payout).where(_payout.c.payout_id.in_(ids)).values(batch_id=planned.batch_id)
        )
    return planned


def abandon_payout_batch(connection: Connection, batch_id: str) -> None:
    """Free a batch's payouts for another batch; again is harmless.

    Only for a batch whose transaction can never land, or was taken back and can never land again.
    """
    connection.execute(
        update(_batch)
        .where(_batch.c.batch_id == batch_id)
        .values(state="abandoned", paid_block=None, paid_tx_hash=None)
    )
    connection.execute(update(_item).where(_item.c.batch_id == batch_id).values(state="freed"))
    of_batch = select(_item.c.payout_id).where(_item.c.batch_id == batch_id)
    connection.execute(
        update(_payout)
        .where(_payout.c.payout_id.in_(of_batch), _payout.c.batch_id == batch_id)
        .values(batch_id=None)
    )


def reopen_payouts(connection: Connection, *, above_block: int) -> None:
    """Open the payout batches again that were paid above a block: a reorg took those blocks away.

    Belongs in the transaction that deletes the blocks' events. Idempotent.
    """
    lost = connection.execute(
        select(_batch.c.batch_id).where(_batch.c.paid_block > above_block)
    ).scalars()
    for batch_id in lost.all():
        _mark(connection, str(batch_id), "sent")


def follow_payouts(connection: Connection) -> int:
    """Bring open batches as far as their intents and the mirrored chain are; return how many ended.

    The batch's events say what was paid and what was credited, once their block is final. A batch
    also ends here if another sender's transaction carried it and our nonce was used elsewhere.
    """
    rows = connection.execute(
        select(_batch.c.batch_id, _batch.c.state, _intent.c.state, _intent.c.mined_block)
        .join(_intent, _intent.c.intent_id == INTENT_PREFIX + _batch.c.batch_id)
        .where(text(PAYOUT_BATCH_OPEN))
    ).all()
    ended = 0
    for batch_id, batch_state, intent_state, mined_block in rows:
        if intent_state in (IntentState.SENT, IntentState.MINED):
            if batch_state != "sent":
                _mark(connection, batch_id, "sent")
        elif intent_state in (IntentState.CONFIRMED, IntentState.REPLACED):
            ended += _close(connection, batch_id, expected_block=mined_block)
    return ended


def _close(connection: Connection, batch_id: str, *, expected_block: int | None) -> bool:
    """Note what became of a batch's items, if the mirror has its events; tell whether it has."""
    block_number = expected_block
    events = [] if block_number is None else _load_paid_events(connection, batch_id, block_number)
    if not events:
        # Another sender's transaction carried it, or ours did in another block than at first.
        block_number = _find_block(connection, batch_id)
        if block_number is None:
            return False
        events = _load_paid_events(connection, batch_id, block_number)
    credited = {event.text("payee") for event in events if event.name == "PayoutCredited"}
    of_batch = _item.c.batch_id == batch_id
    connection.execute(update(_item).where(of_batch).values(state="paid"))
    if credited:
        connection.execute(
            update(_item).where(of_batch, _item.c.payee.in_(credited)).values(state="credited")
        )
    connection.execute(
        update(_batch)
        .where(_batch.c.batch_id == batch_id)
        .values(state="paid", paid_block=block_number, paid_tx_hash=events[0].tx_hash)
    )
    return True


def _load_paid_events(connection: Connection, batch_id: str, block_number: int) -> list[ChainEvent]:
    """Return the events of a batch in a block; none where it was not paid there."""
    events = load_batch_events(connection, batch_id=batch_id, block_number=block_number)
    return events if any(event.name == "BatchPaid" for event in events) else []


def _find_block(connection: Connection, batch_id: str) -> int | None:
    """Return the block that paid a batch, whoever sent it there."""
    return connection.execute(
        select(_event.c.block_number)
        .where(
            _event.c.token_id.is_(None),
            _event.c.name == "BatchPaid",
            # The only topic comes first among an event's words.
            func.substr(_event.c.words, 1, 32) == bytes.fromhex(batch_id[2:]),
        )
        # The event is among the newest, if it is there at all.
        .order_by(_event.c.block_number.desc())
        .limit(1)
    ).scalar_one_or_none()


def _mark(connection: Connection, batch_id: str, state: str) -> None:
    connection.execute(
        update(_batch)
        .where(_batch.c.batch_id == batch_id)
        .values(state=state, paid_block=None, paid_tx_hash=None)
    )
    connection.execute(update(_item).where(_item.c.batch_id == batch_id).values(state=state))


def find_payout_mismatches(connection: Connection) -> list[tuple[str, str]]:
    """Return what breaks L7 beyond the market's own rows, as (subject, detail).

    A payout is in the one live batch that it names, as it was written; what a batch paid is what
    the chain's events say. A batch in state ``sent`` may be on chain already.
    """
    return [*_find_wrong_items(connection), *_find_wrong_batches(connection)]


def _find_wrong_items(connection: Connection) -> list[tuple[str, str]]:
    live = select(_item).where(_item.c.state != "freed").subquery()
    rows = connection.execute(
        select(_payout.c.payout_id, _payout.c.batch_id, live.c.batch_id)
        .outerjoin(live, live.c.payout_id == _payout.c.payout_id)
        .where(
            _payout.c.batch_id.is_distinct_from(live.c.batch_id)
            | (func.lower(_payout.c.payee) != live.c.payee)
            | (_payout.c.amount_usdc != live.c.amount_usdc)
        )
        .limit(100)
    ).all()
    return [
        (f"payout {payout_id}", f"names batch {named}, is in {paying}, or not as it was written")
        for payout_id, named, paying in rows
    ]


def _find_wrong_batches(connection: Connection) -> list[tuple[str, str]]:
    topics = connection.execute(
        select(func.substr(_event.c.words, 1, 32)).where(
            _event.c.token_id.is_(None), _event.c.name == "BatchPaid"
        )
    ).scalars()
    on_chain = {"0x" + bytes(topic).hex() for topic in topics}
    found: list[tuple[str, str]] = []
    batches = connection.execute(select(_batch.c.batch_id, _batch.c.state, _batch.c.paid_block))
    for batch_id, state, paid_block in batches.all():
        is_paid = batch_id in on_chain
        if (state == "paid" and not is_paid) or (state == "abandoned" and is_paid):
            found.append((f"payout batch {batch_id}", f"{state}, unlike the chain"))
        elif state == "paid":
            items = _sum_items(connection, batch_id)
            paid = _sum_events(connection, batch_id, int(paid_block))
            if items != paid:
                found.append((f"payout batch {batch_id}", f"is {items}, the chain says {paid}"))
    return found


def _sum_items(connection: Connection, batch_id: str) -> dict[tuple[str, str], int]:
    rows = connection.execute(
        select(_item.c.state, _item.c.payee, func.sum(_item.c.amount_usdc))
        .where(_item.c.batch_id == batch_id)
        .group_by(_item.c.state, _item.c.payee)
    ).all()
    return {(str(state), str(payee)): int(amount_usdc) for state, payee, amount_usdc in rows}


_ENDS: Final = {"Paid": "paid", "PayoutCredited": "credited"}


def _sum_events(
    connection: Connection, batch_id: str, block_number: int
) -> dict[tuple[str, str], int]:
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for event in _load_paid_events(connection, batch_id, block_number):
        if event.name in _ENDS:
            sums[_ENDS[event.name], event.text("payee")] += event.integer("amount")
    return dict(sums)
