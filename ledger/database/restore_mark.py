"""The mark of a ledger that is being restored: set before anything else of it can be seen, and
cleared by the restore's last transaction. Every process refuses such a ledger at its start."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, insert, inspect, select, update

from ledger.errors import RestoreUnfinished
from ledger.tables import LedgerRestore, table_of

_restore = table_of(LedgerRestore)


@dataclass(frozen=True, slots=True)
class Mark:
    """A restore that has not ended. ``ended_keys`` is None where it had not come so far."""

    since_s: int
    backup_sha256: str
    ended_keys: dict[str, int] | None


def mark_restoring(connection: Connection, *, backup_sha256: str, now_s: int) -> None:
    """Say that the ledger is being restored; of any schema, also of one that has no such table."""
    _restore.create(connection, checkfirst=True)
    connection.execute(delete(_restore))
    connection.execute(
        insert(_restore).values(restore_id=1, since_s=now_s, backup_sha256=backup_sha256)
    )


def note_ended_keys(connection: Connection, ended: Mapping[str, int]) -> None:
    """Keep how many keys a restore ended, for the one that goes on where it was cut off."""
    connection.execute(update(_restore).values(ended_keys=json.dumps(dict(ended))))


def clear_mark(connection: Connection) -> None:
    """Say that the restore has ended."""
    connection.execute(delete(_restore))


def load_mark(connection: Connection) -> Mark | None:
    """Return the restore that has not ended, or None."""
    if not inspect(connection).has_table(_restore.name):
        return None
    row = connection.execute(select(_restore)).mappings().one_or_none()
    if row is None:
        return None
    told = row["ended_keys"]
    return Mark(
        since_s=int(row["since_s"]),
        backup_sha256=str(row["backup_sha256"]),
        ended_keys=None if told is None else json.loads(told),
    )


def check_not_restoring(connection: Connection) -> None:
    """Raise ``RestoreUnfinished`` where a restore has not ended."""
    mark = load_mark(connection)
    if mark is not None:
        since = datetime.fromtimestamp(mark.since_s, UTC)
        raise RestoreUnfinished(
            f"a restore into this ledger, since {since:%Y-%m-%d %H:%M} UTC, has not ended: run the"
            " same `current restore` again, which goes on, before anything else is started"
        )
