"""Batches that charge nobody and carry a day's evidence to the chain: its Merkle root.

``settle`` of the position contract takes a root and a list of items, which may be empty. A day's
batch id follows from the day alone, and the contract takes an id once: so a day has one root on
chain, for ever, and whoever knows the day finds it without asking anybody else. Days that follow
each other share a storage word of the contract (``contracts/batch_ids.vy``).

The batch is a row like any other's: closed, taken back after a reorg and audited like those that
charge usage. It has no items and no usage.
"""

from typing import Final

from eth_utils.crypto import keccak
from sqlalchemy import Connection, func, insert, select, update

from ledger.intents.lifecycle import plan_abandoned_again
from ledger.tables import Batch, Intent, MarketEvidence, table_of

_batch = table_of(Batch)
_evidence = table_of(MarketEvidence)
_intent = table_of(Intent)

KIND: Final = "evidence"
"""The kind of the intents that send these batches."""
RETRY_S: Final = 3_600
"""How long a batch that was given up rests before it is tried again, seconds."""

_DAY_DIGITS: Final = 16
_DOMAIN: Final = keccak(text="current: root of a day's evidence")[:24].hex()
FIRST_ID: Final = f"0x{_DOMAIN}{'0' * _DAY_DIGITS}"
LAST_ID: Final = f"0x{_DOMAIN}{'f' * _DAY_DIGITS}"
"""The ids of all such batches lie between these two, both included."""


def get_batch_id(day: int) -> str:
    """Return the batch id of a UTC day's root, 0x hex; ``day`` is days since 1970."""
    assert 0 <= day < 2**64
    return f"0x{_DOMAIN}{day:0{_DAY_DIGITS}x}"


def read_day(batch_id: str) -> int:
    """Return the day of an id that ``get_batch_id`` made."""
    assert FIRST_ID <= batch_id <= LAST_ID
    return int(batch_id[-_DAY_DIGITS:], 16)


def load_last_day(connection: Connection) -> int | None:
    """Return the newest day whose root is planned or on chain, None where there is none."""
    last = connection.execute(
        select(func.max(_batch.c.batch_id)).where(_batch.c.batch_id.between(FIRST_ID, LAST_ID))
    ).scalar_one()
    return None if last is None else read_day(str(last))


def find_due_day(connection: Connection, *, before_day: int, now_s: int) -> int | None:
    """Return the oldest day before ``before_day`` whose root is to be sent, None for none.

    A day whose transaction was given up is due again an hour later. Days without evidence have no
    root. Nothing is added to a day once its root is planned (``ledger.selling.evidence``).
    """
    given_up = connection.execute(
        select(func.min(_batch.c.batch_id))
        .join(_intent, _intent.c.intent_id == f"{KIND}:" + _batch.c.batch_id)
        .where(
            _batch.c.batch_id.between(FIRST_ID, LAST_ID),
            _batch.c.state == "abandoned",
            _intent.c.updated_at_s <= now_s - RETRY_S,
        )
    ).scalar_one()
    if given_up is not None:
        return read_day(str(given_up))
    last_day = load_last_day(connection)
    day = connection.execute(
        select(func.min(_evidence.c.day)).where(
            _evidence.c.day > (-1 if last_day is None else last_day),
            _evidence.c.day < before_day,
        )
    ).scalar_one()
    return None if day is None else int(day)


def plan_day_root(connection: Connection, *, day: int, root: str, now_s: int) -> str | None:
    """Write down the batch of a day's root; return its id, None where there is nothing to send.

    A batch that was given up is planned again with its own intent, which the next round sends.
    """
    batch_id = get_batch_id(day)
    state = connection.execute(
        select(_batch.c.state).where(_batch.c.batch_id == batch_id).with_for_update()
    ).scalar_one_or_none()
    if state is None:
        row = {"batch_id": batch_id, "state": "planned", "receipts_root": root}
        connection.execute(insert(_batch).values(**row, total_usdc=0, planned_at_s=now_s))
        return batch_id
    if state == "abandoned" and plan_abandoned_again(connection, f"{KIND}:{batch_id}", now_s=now_s):
        connection.execute(
            update(_batch)
            .where(_batch.c.batch_id == batch_id)
            .values(state="planned", given_up=False)
        )
    return None


def load_published(connection: Connection, day: int) -> tuple[str, int, str] | None:
    """Return (root, block, transaction) of a day's root on chain, None while it is not there.

    The root is what this ledger has planned; a transaction of another ledger could have stated
    another one for the day, which ``current evidence verify`` finds.
    """
    row = connection.execute(
        select(_batch.c.receipts_root, _batch.c.settled_block, _batch.c.settled_tx_hash).where(
            _batch.c.batch_id == get_batch_id(day), _batch.c.state == "settled"
        )
    ).one_or_none()
    return None if row is None else (str(row[0]), int(row[1]), str(row[2]))
