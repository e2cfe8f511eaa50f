"""Running the migrations. Loaded only where there is one to run."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from ledger.errors import SchemaUnknown


def upgrade(connection: Connection, migrations: Path) -> None:
    """Bring the schema to the newest revision within the connection's transaction.

    Raises ``SchemaUnknown`` for a database that a newer version has migrated.
    """
    config = Config()
    config.set_main_option("script_location", str(migrations))
    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise SchemaUnknown(f"the ledger has schema {current}, newer than this version's")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
