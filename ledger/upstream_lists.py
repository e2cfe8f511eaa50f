"""The list of models and prices that an upstream was last heard to say, one for each upstream."""

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from ledger.database.engine import is_postgres
from ledger.tables import UpstreamList, table_of

_list = table_of(UpstreamList)


@dataclass(frozen=True, slots=True)
class HeardList:
    """What an upstream said, as JSON, and when it was heard (Unix seconds)."""

    upstream_digest: str
    models: str
    prices: str
    heard_at_s: int


def save_list(connection: Connection, heard: HeardList) -> None:
    """Keep a list in place of an older one. One that was heard earlier changes nothing."""
    dialect = postgresql if is_postgres(connection) else sqlite
    values = asdict(heard)
    insert = dialect.insert(_list).values(values)
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=[_list.c.upstream_digest],
            set_={name: insert.excluded[name] for name in ("models", "prices", "heard_at_s")},
            where=_list.c.heard_at_s <= insert.excluded.heard_at_s,
        )
    )


def load_list(connection: Connection, upstream_digest: str) -> HeardList | None:
    """Return the list that was last heard from an upstream, or None."""
    row = connection.execute(
        select(_list).where(_list.c.upstream_digest == upstream_digest)
    ).one_or_none()
    return None if row is None else HeardList(**row._mapping)
