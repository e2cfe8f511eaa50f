"""Which positions to look at for a harvest, and what the keeper remembers of those that had none.

A position is looked at when its interval has passed and its rest is over. Both are in one indexed
expression, so that a look costs what is due, however many positions rest or are not due yet.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, case, select, text, update

from ledger.chain.event_rows import load_last_events
from ledger.chain.harvest_outlook import PrincipalStep
from ledger.database.engine import is_postgres
from ledger.database.locks import lock_positions
from ledger.tables import HAS_SHARES_POSTGRES, HAS_SHARES_SQLITE, Position, table_of

_position = table_of(Position)

STEPS_MAX: Final = 100
"""So many of the newest changes of a principal are read: an estimate needs no more."""

_due_at_s = _position.c.last_harvest_at_s + _position.c.harvest_interval_s
_look_at_s = case(
    (_position.c.harvest_look_at_s > _due_at_s, _position.c.harvest_look_at_s), else_=_due_at_s
)
"""Written as the index ``position_harvest_look`` has it, or the database would not use it."""


@dataclass(frozen=True, slots=True)
class DueHarvest:
    """A position with shares whose interval has passed. Times are the chain's."""

    token_id: int
    due_at_s: int
    """Equal to the adapter's ``harvestDueAt``."""
    last_harvest_at_s: int
    failures: int
    sent_at_s: int
    """When the keeper last sent its harvest, 0 for never."""


def load_principal_steps(connection: Connection, token_id: int) -> list[PrincipalStep]:
    """Return the newest principals of a position, oldest first; empty without a deposit."""
    names = ("Deposited", "PrincipalWithdrawn", "ExitedInKind")
    events = load_last_events(connection, token_id=token_id, names=names, limit=STEPS_MAX)
    return [
        PrincipalStep(
            event.block_timestamp_s,
            # What leaves in kind leaves nothing behind.
            0 if event.name == "ExitedInKind" else event.integer("principalAfter"),
        )
        for event in events
    ]


def load_due_harvests(connection: Connection, *, now_s: int, limit: int) -> list[DueHarvest]:
    """Return at most ``limit`` positions to look at, by when each was to be looked at."""
    has_shares = text(HAS_SHARES_POSTGRES if is_postgres(connection) else HAS_SHARES_SQLITE)
    rows = connection.execute(
        select(
            _position.c.token_id,
            _due_at_s,
            _position.c.last_harvest_at_s,
            _position.c.harvest_failures,
            _position.c.harvest_sent_at_s,
        )
        .where(_look_at_s <= now_s, has_shares)
        .order_by(_look_at_s, _position.c.token_id)
        .limit(limit)
    ).all()
    return [DueHarvest(*map(int, row)) for row in rows]


def rest_harvests(connection: Connection, rests: Sequence[tuple[int, int, int]]) -> None:
    """Write (token id, when to look again, failures in a row) of positions. Idempotent."""
    if not rests:
        return
    lock_positions(connection, [token_id for token_id, _, _ in rests])
    connection.execute(
        update(_position)
        .where(_position.c.token_id == bindparam("token"))
        .values(harvest_look_at_s=bindparam("look"), harvest_failures=bindparam("failed")),
        [{"token": token, "look": look, "failed": failed} for token, look, failed in sorted(rests)],
    )


def forget_harvest_failures(connection: Connection) -> int:
    """Have every position whose harvest failed looked at again at once; return how many.

    Reads all positions: for a person's command.
    """
    failed = connection.execute(
        select(_position.c.token_id).where(_position.c.harvest_failures > 0)
    ).scalars()
    tokens = [int(token_id) for token_id in failed]
    rest_harvests(connection, [(token_id, 0, 0) for token_id in tokens])
    return len(tokens)


def note_harvests_sent(connection: Connection, token_ids: Iterable[int], *, sent_at_s: int) -> None:
    """Note that the harvests of positions are in a block after the one at ``sent_at_s``."""
    wanted = sorted(token_ids)
    if not wanted:
        return
    lock_positions(connection, wanted)
    connection.execute(
        update(_position)
        .where(_position.c.token_id.in_(wanted))
        .values(harvest_sent_at_s=sent_at_s)
    )
