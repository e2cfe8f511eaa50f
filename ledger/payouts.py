"""Payout batches: which payouts of the market are paid by which on-chain ``pay``.

States of an item: ``planned`` → ``sent`` → ``paid``, or ``credited`` where the payee could not
receive and may claim it from the contract; ``freed`` where its batch can never be paid any more. A
payout is in one batch that is not freed at most, by a unique index; a batch id pays once, on chain.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, Select, exists, func, insert, select, update

from ledger.batches import next_batch_id
from ledger.intents import IntentState
from ledger.mirror import load_batch_events
from ledger.tables import Event, Intent, MarketPayout, PayoutBatch, PayoutItem, table_of

_batch = table_of(PayoutBatch)
_event = table_of(Event)
_intent = table_of(Intent)
_item = table_of(PayoutItem)
_payout = table_of(MarketPayout)

INTENT_PREFIX = "payout:"
_OPEN = ("planned", "sent")


class PayoutSource(Protocol):
    """Where payouts come from. The market writes them; this is all that the keeper asks."""

    def select_payable(self, *, now_s: int) -> Select[Any]:
        """Return a query of ``payout_id``, ``payee``, ``amount_usdc`` and ``payable_at_s``.

        Of every payout that may be paid at ``now_s`` on this chain, whether or not a batch pays it
        already; ids are never used again. The payee is 0x hex, the amount positive.
        """


class MarketPayouts:
    """The market's payouts to addresses of this chain."""

    def select_payable(self, *, now_s: int) -> Select[Any]:
        return select(
            _payout.c.payout_id,
            _payout.c.payee,
            _payout.c.amount_usdc,
            _payout.c.planned_at_s.label("payable_at_s"),
        ).where(_payout.c.planned_at_s <= now_s, _payout.c.payee.like("0x" + 40 * "_"))


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


def load_payable(
    connection: Connection, source: PayoutSource, *, now_s: int, limit: int
) -> list[Payable]:
    """Return at most ``limit`` payouts that no batch pays, the oldest first."""
    payable = source.select_payable(now_s=now_s).subquery()
    is_taken = exists().where(_item.c.payout_id == payable.c.payout_id, _item.c.state != "freed")
    rows = connection.execute(
        select(payable.c.payout_id, payable.c.payee, payable.c.amount_usdc, payable.c.payable_at_s)
        .where(~is_taken)
        .order_by(payable.c.payable_at_s, payable.c.payout_id)
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


def is_payout_abandoned(connection: Connection, batch_id: str) -> bool:
    """Tell whether a batch was given up: its payouts may be in another one."""
    state = connection.execute(select(_batch.c.state).where(_batch.c.batch_id == batch_id)).scalar()
    return state == "abandoned"


def follow_payouts(connection: Connection) -> int:
    """Bring open batches as far as their intents and the mirrored chain are; return how many ended.

    What was paid and what credited is read from the batch's events, once its block is final. A
    batch whose nonce a transaction of somebody else used, yet that is on chain, ends here too.
    """
    rows = connection.execute(
        select(_batch.c.batch_id, _intent.c.state, _intent.c.mined_block)
        .join(_intent, _intent.c.intent_id == INTENT_PREFIX + _batch.c.batch_id)
        .where(_batch.c.state.in_(_OPEN))
    ).all()
    ended = 0
    for batch_id, intent_state, mined_block in rows:
        if intent_state in (IntentState.SENT, IntentState.MINED):
            _mark(connection, batch_id, "sent")
            continue
        if intent_state == IntentState.REPLACED:
            mined_block = _find_block(connection, batch_id)
        elif intent_state != IntentState.CONFIRMED:
            continue
        if mined_block is not None and _close(connection, batch_id, block_number=int(mined_block)):
            ended += 1
    return ended


def _find_block(connection: Connection, batch_id: str) -> int | None:
    """Return the block that paid a batch, whoever sent it there."""
    return connection.execute(
        select(_event.c.block_number).where(
            _event.c.token_id.is_(None),
            _event.c.name == "BatchPaid",
            # The only topic comes first among an event's words.
            func.substr(_event.c.words, 1, 32) == bytes.fromhex(batch_id[2:]),
        )
    ).scalar_one_or_none()


def _close(connection: Connection, batch_id: str, *, block_number: int) -> bool:
    events = load_batch_events(connection, batch_id=batch_id, block_number=block_number)
    paid = [event for event in events if event.name == "BatchPaid"]
    if not paid:
        return False  # not mirrored yet
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
        .values(state="paid", paid_block=block_number, paid_tx_hash=paid[0].tx_hash)
    )
    return True


def _mark(connection: Connection, batch_id: str, state: str) -> None:
    connection.execute(update(_batch).where(_batch.c.batch_id == batch_id).values(state=state))
    connection.execute(update(_item).where(_item.c.batch_id == batch_id).values(state=state))
