"""How often something may be tried, counted for all processes together."""

from sqlalchemy import Connection, delete, select, update

from ledger.database.engine import is_postgres
from ledger.database.statements import insert_or_ignore
from ledger.tables import SupplierThrottle, table_of

_throttle = table_of(SupplierThrottle)


def take_try(
    connection: Connection, subject: str, *, tries_max: int, window_s: int, now_s: int
) -> int | None:
    """Count a try; return None if it may be made, else in how many seconds the next may be.

    At most ``tries_max`` are made in a window, which begins with its first try. What is refused is
    not counted.
    """
    values = {"subject": subject, "tries": 0, "started_at_s": now_s, "ends_at_s": now_s + window_s}
    insert_or_ignore(connection, _throttle, values)
    query = select(_throttle).where(_throttle.c.subject == subject)
    if is_postgres(connection):
        query = query.with_for_update()
    row = connection.execute(query).mappings().one()
    is_it = _throttle.c.subject == subject
    # A clock that was set back must not shut anybody out for longer than a window.
    if row["ends_at_s"] <= now_s or row["started_at_s"] > now_s:
        connection.execute(update(_throttle).where(is_it).values({**values, "tries": 1}))
        return None
    if row["tries"] >= tries_max:
        return int(row["ends_at_s"]) - now_s
    connection.execute(update(_throttle).where(is_it).values(tries=row["tries"] + 1))
    return None


def forget_tries(connection: Connection, subject: str) -> None:
    """Begin again for a subject: it was right."""
    connection.execute(delete(_throttle).where(_throttle.c.subject == subject))


def purge_throttles(connection: Connection, before_s: int, limit: int) -> int:
    """Forget windows that ended before ``before_s``."""
    old = select(_throttle.c.subject).where(_throttle.c.ends_at_s < before_s).limit(limit)
    return connection.execute(delete(_throttle).where(_throttle.c.subject.in_(old))).rowcount
