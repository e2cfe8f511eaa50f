"""Running the migrations, and what they promise to older versions. Loaded only where needed."""

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, delete, insert

from ledger.errors import SchemaUnknown
from ledger.tables import SchemaPromise, table_of

_promise = table_of(SchemaPromise)


@dataclass(frozen=True, slots=True)
class Pending:
    """A migration that an upgrade would run."""

    revision: str
    says: str
    """Its first sentence."""
    oldest_revision: str | None
    """Processes of older revisions than this stop working; None: all go on."""


def upgrade(connection: Connection, migrations: Path) -> None:
    """Bring the schema to the newest revision within the connection's transaction.

    Raises ``SchemaUnknown`` for a database that a newer version has migrated.
    """
    config = _configure(migrations)
    list_pending(connection, migrations)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    _promise_to_older(connection, _scripts(config))


def list_pending(connection: Connection, migrations: Path) -> list[Pending]:
    """Return what ``upgrade`` would run, in its order. Raises ``SchemaUnknown`` as it does."""
    scripts = _scripts(_configure(migrations))
    current = MigrationContext.configure(connection).get_current_revision()
    names = [script.revision for script in scripts]
    if current is not None and current not in names:
        raise SchemaUnknown(f"the ledger has schema {current}, newer than this version's")
    pending = scripts if current is None else scripts[names.index(current) + 1 :]
    return [
        Pending(script.revision, (script.doc or "").partition("\n")[0], _oldest_of(script))
        for script in pending
    ]


def _promise_to_older(connection: Connection, scripts: list[Script]) -> None:
    told = [oldest for script in scripts if (oldest := _oldest_of(script)) is not None]
    if told:
        connection.execute(delete(_promise))
        connection.execute(insert(_promise).values(promise_id=1, oldest_revision=max(told)))


def _oldest_of(script: Script) -> str | None:
    told: str | None = getattr(script.module, "oldest_revision", None)
    return told


def _configure(migrations: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations))
    return config


def _scripts(config: Config) -> list[Script]:
    """Return all migrations, the oldest first."""
    return list(ScriptDirectory.from_config(config).walk_revisions())[::-1]
