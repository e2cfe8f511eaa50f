"""Rests: how often an item failed in a row, and until when the keeper leaves it alone.

A row is about one item of one kind of transaction, or about the kind as a whole (``WHOLE_KIND``).
Rests are kept in the ledger and not in the keeper's memory, so that a keeper that cron starts each
minute, or a standby that takes over, goes on where the last keeper was. The clock is the wall's.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from ledger.tables import KeeperRest, table_of

_rest = table_of(KeeperRest)

WHOLE_KIND: Final = ""
CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Rest:
    """Failures in a row, and when the next try may be (Unix seconds)."""

    failures: int
    until_s: int


def load_rests(connection: Connection) -> dict[tuple[str, str], Rest]:
    """Return what failed and has not succeeded since, by (kind, subject)."""
    rows = connection.execute(
        select(_rest.c.kind, _rest.c.subject, _rest.c.failures, _rest.c.until_s)
    ).all()
    return {
        (str(kind), str(subject)): Rest(int(failures), int(until_s))
        for kind, subject, failures, until_s in rows
    }


def note_failure(
    connection: Connection, kind: str, subject: str, *, decide_until_s: Callable[[int], int]
) -> Rest:
    """Count a failure; ``decide_until_s`` says, from the failures in a row, when it is over."""
    is_it = (_rest.c.kind == kind) & (_rest.c.subject == subject)
    before = connection.execute(select(_rest.c.failures).where(is_it)).scalar()
    failures = 1 if before is None else int(before) + 1
    until_s = decide_until_s(failures)
    values = {"failures": failures, "until_s": until_s}
    if before is None:
        connection.execute(insert(_rest).values(kind=kind, subject=subject, **values))
    else:
        connection.execute(update(_rest).where(is_it).values(values))
    return Rest(failures, until_s)


def forget_failures(connection: Connection, kind: str, subjects: Iterable[str]) -> None:
    """Forget what failed: it has succeeded. Idempotent."""
    wanted = sorted(subjects)
    for start in range(0, len(wanted), CHUNK):
        chunk = wanted[start : start + CHUNK]
        connection.execute(delete(_rest).where(_rest.c.kind == kind, _rest.c.subject.in_(chunk)))


def forget_all_failures(connection: Connection) -> int:
    """Forget everything, so that it is tried at once; return how much there was."""
    return connection.execute(delete(_rest)).rowcount


def drop_rests(connection: Connection, *, ended_before_s: int) -> None:
    """Forget items whose rest ended before ``ended_before_s``: they were not tried since."""
    connection.execute(
        delete(_rest).where(_rest.c.until_s < ended_before_s, _rest.c.subject != WHOLE_KIND)
    )
