"""Which intents the keeper has to look at."""

from sqlalchemy import Connection, func, select, text

from ledger.intents.record import IntentRecord, IntentState, read_intent
from ledger.tables import (
    BATCH_OPEN,
    INTENT_OPEN,
    PAYOUT_BATCH_OPEN,
    Batch,
    Intent,
    PayoutBatch,
    table_of,
)

_batch = table_of(Batch)
_intent = table_of(Intent)
_payout_batch = table_of(PayoutBatch)


def load_open_intents(connection: Connection) -> list[IntentRecord]:
    """Return the intents whose outcome is not final: those with a nonce first, in its order."""
    rows = connection.execute(
        select(_intent)
        .where(text(INTENT_OPEN))
        .order_by(
            _intent.c.nonce.is_(None), _intent.c.nonce, _intent.c.created_at_s, _intent.c.intent_id
        )
    ).mappings()
    return [read_intent(row) for row in rows]


def load_senders(connection: Connection, *, limit: int = 10) -> list[str]:
    """Return the addresses that intents were signed by, by address, ``limit`` at most."""
    senders: list[str] = []
    while len(senders) < limit:
        # A step of the index each: there may be millions of intents, and a handful of keys.
        later = _intent.c.sender > (senders[-1] if senders else "")
        found = connection.execute(select(func.min(_intent.c.sender)).where(later)).scalar_one()
        if found is None:
            break
        senders.append(str(found))
    return senders


def load_confirmed_from_nonce(
    connection: Connection, *, sender: str, nonce: int
) -> list[IntentRecord]:
    """Return confirmed intents with a nonce that the chain counts as unused: a deep reorg's."""
    rows = connection.execute(
        select(_intent)
        .where(
            _intent.c.sender == sender,
            _intent.c.nonce >= nonce,
            _intent.c.state == IntentState.CONFIRMED.value,
        )
        .order_by(_intent.c.nonce)
    ).mappings()
    return [read_intent(row) for row in rows]


def find_taken_nonce(
    connection: Connection, *, sender: str, from_nonce: int, below_nonce: int
) -> int | None:
    """Return the lowest nonce in a range whose transaction counts as being in a block, or None.

    ``from_nonce`` is what the chain counts as unused, so that a reorg has taken what is found.
    """
    in_a_block = (IntentState.MINED, IntentState.CONFIRMED, IntentState.REVERTED)
    found = connection.execute(
        select(func.min(_intent.c.nonce)).where(
            _intent.c.sender == sender,
            _intent.c.nonce >= from_nonce,
            _intent.c.nonce < below_nonce,
            _intent.c.state.in_([state.value for state in in_a_block]),
        )
    ).scalar_one()
    return None if found is None else int(found)


def load_stranded(connection: Connection) -> list[IntentRecord]:
    """Return closed intents whose batch is open.

    Another sender's transaction carried the batch; or the intent's own did, in a block that a reorg
    took away, and another transaction has its nonce now. An intent with a batch is named after the
    batch. Right after a reorg the mirror may not yet show the effect of an intent that is returned
    here: check the chain before acting.
    """
    closed = [IntentState.CONFIRMED, IntentState.REVERTED, IntentState.REPLACED]
    found: list[IntentRecord] = []
    for prefix, table, is_open in (
        ("settle:", _batch, BATCH_OPEN),
        ("evidence:", _batch, BATCH_OPEN),
        ("payout:", _payout_batch, PAYOUT_BATCH_OPEN),
    ):
        rows = connection.execute(
            select(_intent)
            .join(table, _intent.c.intent_id == prefix + table.c.batch_id)
            .where(
                text(is_open),
                _intent.c.state.in_([state.value for state in closed]),
            )
            .order_by(_intent.c.intent_id)
        ).mappings()
        found += [read_intent(row) for row in rows]
    return found
