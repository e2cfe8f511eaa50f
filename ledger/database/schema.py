"""Creating and migrating the schema, and binding a database to one deployment."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Connection, Engine, RowMapping, insert, inspect, select, text

from contracts.deployment import Deployment as DeploymentRecord
from ledger.database.engine import open_engine, write
from ledger.database.locks import lock_schema
from ledger.database.pooling import check_sessions
from ledger.database.restore_mark import check_not_restoring
from ledger.errors import WrongDeployment
from ledger.tables import Deployment, SchemaPromise, table_of

log = structlog.get_logger("ledger")

MIGRATIONS: Final = Path(__file__).parents[1] / "migrations"
BATCH_PREFIX_BYTES: Final = 24

_deployment = table_of(Deployment)
_promise = table_of(SchemaPromise)


def migrate(engine: Engine, *, migrations: Path = MIGRATIONS, is_restore: bool = False) -> str:
    """Bring the schema to this version's revision, and return it. Idempotent.

    One transaction; of several processes that start at once, one migrates and the others wait.
    A schema that a newer version has migrated is left as it is, and its revision returned, where
    that version promises that this one's code works on it. Raises ``SchemaUnknown`` where it does
    not, ``SessionsShared`` for a database behind a pooler in transaction mode, and unless
    ``is_restore`` ``RestoreUnfinished`` for a ledger into which a restore has not ended.
    """
    check_sessions(engine)
    head = get_head(migrations)
    with write(engine) as connection:
        lock_schema(connection)
        if not is_restore:
            check_not_restoring(connection)
        revision = load_revision(connection)
        if revision is not None and is_promised(connection, revision, migrations):
            log.warning("schema_is_newer", schema=revision, of_this_version=head)
            return revision
        if revision != head:
            # Only now: most processes find their schema as it should be, and never need the tools.
            from ledger.database.migrating import upgrade

            upgrade(connection, migrations)
    return head


def get_head(migrations: Path = MIGRATIONS) -> str:
    """Return the newest revision that this version knows."""
    return max(list_revisions(migrations))


def list_revisions(migrations: Path = MIGRATIONS) -> set[str]:
    """Return the revisions that this version knows."""
    return {path.name.partition("_")[0] for path in (migrations / "versions").glob("[0-9]*.py")}


def is_promised(connection: Connection, revision: str, migrations: Path = MIGRATIONS) -> bool:
    """Tell whether a newer version's schema serves this version's code, as that version says."""
    if revision in list_revisions(migrations):
        return False
    if not inspect(connection).has_table(_promise.name):
        return False
    oldest = connection.scalar(select(_promise.c.oldest_revision))
    return oldest is not None and oldest <= get_head(migrations)


@contextmanager
def opened_ledger(url: str) -> Iterator[Engine]:
    """Open the ledger at an SQLAlchemy URL for a command, migrated. Raises as ``migrate`` does."""
    engine = open_engine(url)
    try:
        migrate(engine)
        yield engine
    finally:
        engine.dispose()


def load_revision(connection: Connection) -> str | None:
    """Return the schema's revision, None for a database without one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def bind_deployment(connection: Connection, record: DeploymentRecord) -> None:
    """Bind the database to one deployment for good. Idempotent.

    Raises ``WrongDeployment`` where the database belongs to other contracts.
    """
    stored = _load_deployment(connection)
    if stored is None:
        # Of several that start at once, the first one decides.
        lock_schema(connection)
        stored = _load_deployment(connection)
    facts = {
        "chain_id": record.chain_id,
        "position": record.position,
        "adapter": record.adapter,
        "payouts": record.payouts,
        "block_number": record.block_number,
        "block_hash": record.block_hash,
    }
    if stored is None:
        prefix = secrets.token_hex(BATCH_PREFIX_BYTES)
        row = {**facts, "batch_prefix": prefix, "next_batch_number": 0}
        connection.execute(insert(_deployment).values(row))
        return
    differing = [name for name, value in facts.items() if stored[name] != value]
    if differing:
        raise WrongDeployment(
            f"the ledger belongs to another deployment: {', '.join(differing)} differ"
        )


def _load_deployment(connection: Connection) -> RowMapping | None:
    return connection.execute(select(_deployment)).mappings().one_or_none()
