"""Processes of two versions beside one schema: what only adds stops nobody, what takes away does.

::

    a newer version migrated, it only adds      an older process that starts goes on
    ├── a migration takes something away        refused, as long as this version needs it
    └── a schema without any promise            refused
    an upgrade that is pending                  said, with whom it stops
    each migration that takes something away says from which revision on code lives without it
"""

import re
import shutil
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from ledger.database.engine import read, write
from ledger.database.migrating import list_pending
from ledger.database.schema import MIGRATIONS, get_head, migrate
from ledger.errors import SchemaUnknown
from tests.support.ledgers import Databases

ADDS = """
'''A table that only the next version knows.'''
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "9001", "{head}", None, None
def upgrade():
    op.create_table("novelty", sa.Column("novelty_id", sa.Integer(), primary_key=True))
def downgrade():
    op.drop_table("novelty")
"""
TAKES = """
'''The table that nobody needs since 9001.'''
from alembic import op
revision, down_revision, branch_labels, depends_on = "9002", "9001", None, None
oldest_revision = "9001"
def upgrade():
    op.drop_table("upstream_list")
def downgrade():
    pass
"""
TAKING = re.compile(
    r"op\.(drop_|rename_|alter_column|execute)|batch_op\.(drop_|alter_)|new_column_n"
)


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """Return the migrations of a version that is one ahead, and only adds."""
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "9001_adds.py").write_text(ADDS.format(head=get_head()))
    return folder


@pytest.fixture
def engine(databases: Databases) -> Engine:
    return databases.open_unbound()


def test_migrate__newer_schema_that_only_adds__older_process_goes_on(
    engine: Engine, newer: Path
) -> None:
    assert migrate(engine, migrations=newer) == "9001"

    assert migrate(engine) == "9001"

    with read(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM novelty")).scalar_one() == 0


def test_migrate__newer_schema_that_takes_away__older_process_is_refused(
    engine: Engine, newer: Path
) -> None:
    (newer / "versions" / "9002_takes.py").write_text(TAKES)
    migrate(engine, migrations=newer)

    with pytest.raises(SchemaUnknown, match="9002"):
        migrate(engine)


def test_migrate__newer_schema_without_a_promise__refused(engine: Engine, newer: Path) -> None:
    migrate(engine, migrations=newer)
    with write(engine) as connection:
        connection.execute(text("DELETE FROM schema_promise"))

    with pytest.raises(SchemaUnknown, match="9001"):
        migrate(engine)


def test_pending__of_a_newer_version__says_what_it_does_and_whom_it_stops(
    engine: Engine, newer: Path
) -> None:
    (newer / "versions" / "9002_takes.py").write_text(TAKES)
    with read(engine) as connection:
        found = list_pending(connection, newer)
        nothing = list_pending(connection, MIGRATIONS)

    assert nothing == []
    assert [(one.revision, one.oldest_revision) for one in found] == [
        ("9001", None),
        ("9002", "9001"),
    ]
    assert found[0].says == "A table that only the next version knows."


def test_migrations__since_the_first_promise__say_from_when_on_code_lives_without() -> None:
    silent = []
    for path in sorted((MIGRATIONS / "versions").glob("[0-9]*.py")):
        source = path.read_text(encoding="utf-8")
        forward = source.partition("def upgrade")[2].partition("def downgrade")[0]
        if path.name > "0056" and TAKING.search(forward) and "oldest_revision =" not in source:
            silent.append(path.name)

    assert silent == [], "processes of the version before may stop: say `oldest_revision`"
