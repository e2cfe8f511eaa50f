"""From a released version's ledger to this one's and back, while old processes work on it.

::

    a released version's ledger              --check says what is due, the upgrade keeps all of it
    ├── what the upgrade promises            holds: no column that older code names is gone, and
    │                                        none that it does not know must be given
    └── a migration that breaks older code   --check names whom to stop, older code is refused
    an upgrade is killed half-way            nothing of it is there, the older process goes on
    └── it is run again                      the older process goes on, restarts included, and
                                             a newer one beside it
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, inspect, text

from ledger.audit import find_violations
from ledger.database.engine import read
from ledger.database.schema import get_head, load_revision, migrate
from ledger.errors import LedgerUnavailable, SchemaUnknown
from scripts.cli import commands
from tests.support.ledgers import Databases
from tests.support.released_ledgers import (
    copy_next_migrations,
    find_released,
    load_released,
    use,
)
from tests.support.waiting import wait_until

VERSION = "0.1.0"
BREAKS = """
'''What older code cannot live with.'''
from alembic import op
revision, down_revision, branch_labels, depends_on = "9002", "9001", None, None
oldest_revision = "9001"
def upgrade():
    op.drop_table("upstream_list")
def downgrade():
    pass
"""
MIGRATE = (
    "import sys; from pathlib import Path; from ledger.database.engine import open_engine;"
    " from ledger.database.schema import migrate;"
    " migrate(open_engine(sys.argv[1]), migrations=Path(sys.argv[2]))"
)
Columns = dict[tuple[str, str], Any]


@pytest.fixture
def next_version(tmp_path: Path) -> Path:
    """Return the migrations of the version after this one."""
    return copy_next_migrations(tmp_path)


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def check_upgrade(engine: Engine) -> tuple[int, str]:
    """Run ``current ledger upgrade --check``; return its exit code and what it says."""
    url = ["--ledger-url", url_of(engine)]
    done = CliRunner().invoke(commands, ["ledger", "upgrade", "--check", *url])
    return done.exit_code, done.output


def load_columns(engine: Engine) -> Columns:
    inspector = inspect(engine)
    return {
        (table, column["name"]): column
        for table in inspector.get_table_names()
        for column in inspector.get_columns(table)
    }


def load_rows(engine: Engine, columns: Columns) -> dict[str, list[tuple[Any, ...]]]:
    """Return ids and amounts of all rows, in no order that a database chose."""
    names: dict[str, list[str]] = {}
    for table, column in columns:
        kept = names.setdefault(table, ["1"])
        if column.endswith(("_usdc", "_id")):
            kept.append(f'"{column}"')
    del names["alembic_version"], names["schema_promise"]
    with read(engine) as connection:
        found = {
            table: connection.execute(text(f'SELECT {", ".join(kept)} FROM "{table}"')).all()
            for table, kept in names.items()
        }
    return {table: sorted(map(tuple, rows), key=repr) for table, rows in found.items()}


def load_promise(engine: Engine) -> str:
    with read(engine) as connection:
        told = connection.execute(text("SELECT oldest_revision FROM schema_promise"))
        return str(told.scalar_one())


def find_broken_promises(before: Columns, after: Columns) -> list[str]:
    """Return what code that knows only ``before`` could not do on ``after``."""
    gone = [f"{table}.{column} is gone" for table, column in before.keys() - after.keys()]
    known = {table for table, _ in before}
    demanded = [
        f"{table}.{column} must be given"
        for (table, column), told in after.items()
        if table in known
        and (table, column) not in before
        and not told["nullable"]
        and told["default"] is None
    ]
    narrower = [
        f"{table}.{column} must be given now"
        for (table, column), told in after.items()
        if before.get((table, column), {}).get("nullable") and not told["nullable"]
    ]
    return sorted([*gone, *demanded, *narrower])


@pytest.mark.parametrize("version", find_released())
def test_upgrade__ledger_of_a_release__is_kept_and_older_code_goes_on_as_promised(
    databases: Databases, version: str
) -> None:
    engine = load_released(version, databases)
    before = load_columns(engine)
    with read(engine) as connection:
        released = load_revision(connection)
    assert released is not None
    rows = load_rows(engine, before)

    code, said = check_upgrade(engine)
    assert code == (0 if released == get_head() else 1), said
    migrate(engine)

    after = load_columns(engine)
    if load_promise(engine) <= released:
        assert find_broken_promises(before, after) == []
        assert load_rows(engine, before) == rows
    assert check_upgrade(engine)[0] == 0
    use(engine, "after", token_id=1)
    with read(engine) as connection:
        found = find_violations(connection)
    # No event is mirrored here.
    assert [one for one in found if "unlike the chain" not in one.detail] == []


def test_promises__column_that_must_be_given__is_found(databases: Databases) -> None:
    before = load_columns(load_released(VERSION, databases))
    after = {**before, ("usage", "novelty"): {"nullable": False, "default": None}}
    del after["child_key", "label"]
    after["usage", "cost_usdc"] = {"nullable": False, "default": None}

    assert find_broken_promises(before, after) == [
        "child_key.label is gone",
        "usage.cost_usdc must be given now",
        "usage.novelty must be given",
    ]


def test_check__upgrade_that_breaks_older_code__names_whom_to_stop_and_older_code_is_refused(
    databases: Databases, next_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_released(VERSION, databases)
    migrate(engine)
    now = get_head()
    with monkeypatch.context() as patch:
        patch.setattr("ledger.database.schema.MIGRATIONS", next_version)
        patch.setattr(get_head, "__defaults__", (next_version,))
        code, said = check_upgrade(engine)
        assert (code, f"processes of schema {now} may go on beside it" in said) == (1, True), said
        (next_version / "versions" / "9002_breaks.py").write_text(BREAKS)
        code, said = check_upgrade(engine)
        assert code == 1
        assert f"stop every process of schema {now} first" in said

    migrate(engine, migrations=next_version)

    with pytest.raises(SchemaUnknown, match="9002"):
        migrate(engine)
    code, said = check_upgrade(engine)
    assert (code, "9002" in said) == (2, True), said


class OldProcess:
    """A process of this version that serves one request after the other, restarted for each."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = threading.Thread(target=self._work)
        self._stop = threading.Event()
        self.served = 0
        self.refused = 0
        self.schemas: set[str] = set()
        self.raised: list[BaseException] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()
        assert self.raised == []

    def serve_more(self, count: int = 3) -> None:
        """Wait until it has served so many more."""
        aim = self.served + count
        wait_until(lambda: self.served >= aim or self.raised, f"{aim} requests are served")

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    self.schemas.add(migrate(self._engine))
                    use(self._engine, f"old-{self.served}")
                except LedgerUnavailable:
                    self.refused += 1
                else:
                    self.served += 1
        except BaseException as error:
            self.raised.append(error)


def kill_half_way(engine: Engine, migrations: Path, mark: Path) -> None:
    """Run the upgrade in a process of its own, and kill it where it has changed half of it."""
    upgrading = subprocess.Popen(
        [sys.executable, "-c", MIGRATE, url_of(engine), str(migrations)],
        env={**os.environ, "HALF_WAY": str(mark)},
    )
    try:
        wait_until(lambda: mark.exists() or upgrading.poll() is not None, "the upgrade is half-way")
        assert upgrading.poll() is None
    finally:
        upgrading.kill()
        upgrading.wait()


def test_upgrade__killed_half_way_and_run_again__older_process_serves_throughout(
    databases: Databases, next_version: Path, tmp_path: Path
) -> None:
    engine = load_released(VERSION, databases)
    migrate(engine)
    old = OldProcess(engine)
    with old.running():
        old.serve_more()
        kill_half_way(engine, next_version, tmp_path / "half")
        old.serve_more()
        assert old.schemas == {get_head()}
        assert ("usage", "novelty") not in load_columns(engine)
        assert not inspect(engine).has_table("novelty")

        assert migrate(engine, migrations=next_version) == "9001"
        use(engine, "new", token_id=1)
        old.serve_more()

    assert old.schemas == {get_head(), "9001"}
    with read(engine) as connection:
        found = find_violations(connection)
        served = connection.execute(
            text("SELECT count(*) FROM usage WHERE request_id LIKE 'old-%' AND state = 'posted'")
        ).scalar_one()
    assert [one for one in found if "unlike the chain" not in one.detail] == []
    assert served == old.served
