"""What the keeper does with payments: what is due, and what the chain says became of it.

See ``ledger.payments.records``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, exists, func, select, text, update

from ledger.intents.record import IntentRecord, IntentState, load_intent
from ledger.payments.records import OPEN, PaymentRecord, get_payment, read_payment, set_credit
from ledger.tables import PAYMENT_OPEN, PAYMENT_YOUNG, Block, Intent, X402Payment, table_of

_block = table_of(Block)
_intent = table_of(Intent)
_payment = table_of(X402Payment)

_FIRST_REST_S: Final = 4
_REST_DOUBLINGS_MAX: Final = 8


def load_due_payments(
    connection: Connection,
    *,
    now_s: int,
    limit: int,
    state: str | None = None,
    has_failed: bool | None = None,
) -> list[PaymentRecord]:
    """Return open payments that are to be looked at, those that rested longest first.

    ``state`` (``verified`` or ``sent``) and ``has_failed``, tried or sent, choose among them.
    """
    chosen: list[ColumnElement[bool]] = [_payment.c.look_at_s <= now_s]
    if state is not None:
        chosen.append(_payment.c.state == state)
    if has_failed is not None:
        chosen.append(_payment.c.failures > 0 if has_failed else _payment.c.failures == 0)
    rows = connection.execute(
        select(_payment)
        .where(text(PAYMENT_OPEN), *chosen)
        .order_by(_payment.c.look_at_s, _payment.c.payment_id)
        .limit(limit)
    ).mappings()
    return [read_payment(row) for row in rows]


def mark_payments_sent(
    connection: Connection, payment_ids: Iterable[str], *, intent_id: str, now_s: int
) -> None:
    """Note the intent that carries payments. Belongs in the transaction that plans it."""
    connection.execute(
        update(_payment)
        .where(_payment.c.payment_id.in_(list(payment_ids)), _payment.c.state == "verified")
        .values(state="sent", intent_id=intent_id, error=None, updated_at_s=now_s)
    )


def rest_payments(
    connection: Connection, refusals: Mapping[str, str], *, was_sent: bool, now_s: int
) -> None:
    """Let payments rest that failed, or would fail. ``refusals``: the reason of each, by its id.

    A rest doubles with each failure in a row. A payment that was sent counts as unsent again.
    """
    for payment_id, reason in sorted(refusals.items()):
        state = "sent" if was_sent else "verified"
        is_it = (_payment.c.payment_id == payment_id) & (_payment.c.state == state)
        failures = connection.execute(
            select(_payment.c.failures).where(is_it).with_for_update()
        ).scalar()
        if failures is None:
            continue
        rest_s = _FIRST_REST_S << min(int(failures), _REST_DOUBLINGS_MAX)
        connection.execute(
            update(_payment)
            .where(is_it)
            .values(
                state="verified",
                error=reason,
                failures=int(failures) + 1,
                look_at_s=now_s + rest_s,
                updated_at_s=now_s,
            )
        )


def blame_payers(connection: Connection, payment_ids: Iterable[str], *, now_s: int) -> None:
    """Note that payments failed in a block by their payers' doing, who can pay nothing for a day.

    See ``ledger.payments.claims``.
    """
    connection.execute(
        update(_payment)
        .where(_payment.c.payment_id.in_(list(payment_ids)))
        .values(failed_in_block_s=now_s, updated_at_s=now_s)
    )


PAYER_BURNT: Final = (
    "a payment of this payer failed in its block, alone: nothing more of the payer is sent"
)


def end_payers(connection: Connection, payment_ids: Iterable[str], *, now_s: int) -> dict[str, int]:
    """End what is not on its way of the payers of ``payment_ids``; return what is lost, by id.

    Those on their way are ended by what the chain says of them.
    """
    payers = select(_payment.c.payer).where(_payment.c.payment_id.in_(list(payment_ids)))
    found = connection.execute(
        select(_payment.c.payment_id)
        .where(_payment.c.payer.in_(payers), _payment.c.state == "verified")
        .order_by(_payment.c.payment_id)
    ).scalars()
    return {
        str(id_): end_payment(connection, str(id_), state="failed", error=PAYER_BURNT, now_s=now_s)
        for id_ in list(found)
    }


def load_attempts(connection: Connection, payment_ids: Iterable[str]) -> dict[str, IntentRecord]:
    """Return the newest transaction that carried each payment, where there is one."""
    rows = connection.execute(
        select(_payment.c.payment_id, _payment.c.intent_id).where(
            _payment.c.payment_id.in_(list(payment_ids))
        )
    ).all()
    named = {str(intent_id) for _, intent_id in rows if intent_id is not None}
    found = {intent_id: load_intent(connection, intent_id) for intent_id in sorted(named)}
    return {
        str(payment_id): intent
        for payment_id, intent_id in rows
        if intent_id is not None and (intent := found[str(intent_id)]) is not None
    }


def set_payments_aside(
    connection: Connection, reasons: Mapping[str, str | None], *, rest_s: int, now_s: int
) -> None:
    """Look at payments again ``rest_s`` from now that nothing is wrong with: by id, why they wait.

    Unlike a failure it does not count against a payment, and its payer is told why. None: nothing
    is to be told, it waits for its turn, and counts as waiting.
    """
    for payment_id, reason in sorted(reasons.items()):
        connection.execute(
            update(_payment)
            .where(_payment.c.payment_id == payment_id, _payment.c.state == "verified")
            .values(error=reason, look_at_s=now_s + rest_s, updated_at_s=now_s)
        )


def free_unsent(connection: Connection, payment_ids: Iterable[str], *, now_s: int) -> list[str]:
    """Let payments be sent again whose intent was given up unsigned; return the ids of the others.

    The others were in a block, and failed there: theirs is the intent that they keep.
    """
    wanted = sorted(payment_ids)
    if not wanted:
        return []
    is_given_up = exists().where(
        _intent.c.intent_id == _payment.c.intent_id,
        _intent.c.state.in_([IntentState.ABANDONED.value, IntentState.REPLACED.value]),
    )
    freed = connection.execute(
        update(_payment)
        .where(
            _payment.c.payment_id.in_(wanted),
            _payment.c.state == "sent",
            is_given_up,
        )
        .values(state="verified", intent_id=None, look_at_s=now_s, updated_at_s=now_s)
        .returning(_payment.c.payment_id)
    ).scalars()
    return sorted(set(wanted) - {str(payment_id) for payment_id in freed})


def settle_payment(
    connection: Connection,
    payment_id: str,
    *,
    tx_hash: str,
    block_number: int,
    block_hash: str,
    now_s: int,
) -> bool:
    """Note that a payment's money came, and give the credit; tell whether that is new."""
    changed = connection.execute(
        update(_payment)
        .where(_payment.c.payment_id == payment_id, _payment.c.state.in_(OPEN))
        .values(
            state="settled",
            error=None,
            tx_hash=tx_hash,
            settled_block=block_number,
            settled_block_hash=block_hash,
            updated_at_s=now_s,
        )
    )
    if changed.rowcount != 1:
        return False
    payment = get_payment(connection, payment_id)
    set_credit(connection, payment, payment.authorization.value_usdc, now_s=now_s)
    return True


def end_payment(
    connection: Connection, payment_id: str, *, state: str, error: str, now_s: int
) -> int:
    """Note that a payment can never come (``failed``, ``expired``); return what is lost by that.

    Credit that it had brought before a reorg took it, or in advance, is taken back as far as it is
    not spent; the rest is the operator's loss.
    """
    assert state in ("failed", "expired")
    changed = connection.execute(
        update(_payment)
        .where(_payment.c.payment_id == payment_id, _payment.c.state.in_(OPEN))
        .values(state=state, error=error, updated_at_s=now_s)
    )
    if changed.rowcount != 1:
        return 0
    set_credit(connection, get_payment(connection, payment_id), 0, now_s=now_s)
    return get_payment(connection, payment_id).credited_usdc


def reopen_reorged(connection: Connection, *, now_s: int) -> list[str]:
    """Open settled payments again whose block is not on the mirrored chain; return their ids.

    Their credit stays meanwhile: as a rule the same transfer lands again.
    """
    is_gone = exists().where(
        _block.c.number == _payment.c.settled_block,
        _block.c.block_hash != _payment.c.settled_block_hash,
    )
    reopened = connection.execute(
        update(_payment)
        .where(text(PAYMENT_YOUNG), is_gone)
        .values(
            state="sent",
            tx_hash=None,
            settled_block=None,
            settled_block_hash=None,
            look_at_s=now_s,
            updated_at_s=now_s,
        )
        .returning(_payment.c.payment_id)
    ).scalars()
    return sorted(str(payment_id) for payment_id in reopened)


def mark_payments_final(connection: Connection, *, until_block: int) -> None:
    """Note that payments in blocks up to ``until_block`` cannot be taken back any more."""
    connection.execute(
        update(_payment)
        .where(
            text(PAYMENT_YOUNG),
            _payment.c.settled_block <= until_block,
        )
        .values(is_final=True)
    )


WAITING_MAX: Final = 1_000
"""Of so many waiting payments, the oldest, it is told since when they wait."""


@dataclass(frozen=True, slots=True)
class WaitingPayments:
    """The payments that wait for the keeper and are not known to fail: all of them together
    (1e-6 USDC), and since when the oldest wait (Unix seconds), by id."""

    value_usdc: int
    since_s: dict[int | str, int]


def load_waiting_payments(connection: Connection) -> WaitingPayments:
    """Return how much of what was signed waits to be settled, and since when."""
    is_waiting = and_(text(PAYMENT_OPEN), _payment.c.error.is_(None))
    value_usdc = connection.execute(
        select(func.coalesce(func.sum(_payment.c.value_usdc), 0)).where(is_waiting)
    ).scalar_one()
    rows = connection.execute(
        select(_payment.c.payment_id, _payment.c.created_at_s)
        .where(is_waiting)
        .order_by(_payment.c.created_at_s, _payment.c.payment_id)
        .limit(WAITING_MAX)
    )
    return WaitingPayments(int(value_usdc), {str(id_): int(at_s) for id_, at_s in rows})
