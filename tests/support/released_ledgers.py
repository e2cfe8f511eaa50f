"""Ledgers as released versions left them, kept as SQL for both databases.

``python -m tests.support.released_ledgers`` writes those of the version that ``pyproject.toml``
names, from the migrations and the ledger's own functions of today. It is run when a version is cut,
and never for a version that is out: what that one's operators have does not change any more.
"""

import shutil
import sqlite3
import subprocess
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from ledger.database.engine import write
from ledger.database.schema import MIGRATIONS, get_head
from ledger.spending.admission import AdmissionRules
from ledger.spending.batches import plan_batch
from ledger.spending.keys import ChildTerms, create_child, revoke_child, save_issued_key
from ledger.spending.metering import Post, Reserve, Void
from ledger.tables.usage import Charge, Reservation
from scripts.stack.anvil_path import ROOT
from tests.support.folders import temporary_folder
from tests.support.ledgers import (
    NOW_S,
    POSTGRES,
    SQLITE,
    Databases,
    make_state,
    put_cursor,
    put_positions,
)
from tests.support.postgres import find_programs
from tests.support.supply import (
    put_address,
    put_buyer,
    put_supplier,
    put_supply_offer,
    sell,
)

FOLDER: Final = ROOT / "tests" / "corpus" / "ledgers"
RULES: Final = AdmissionRules(hold_margin_s=900, max_staleness_s=60, lease_s=300)
KINDS: Final = (SQLITE, POSTGRES)
_NEXT: Final = """
'''What the next version adds.'''
import os, time
from pathlib import Path
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "9001", "{head}", None, None
def upgrade():
    op.create_table("novelty", sa.Column("novelty_id", sa.Integer(), primary_key=True))
    op.add_column("usage", sa.Column("novelty", sa.Integer(), nullable=True))
    if "HALF_WAY" in os.environ:
        Path(os.environ["HALF_WAY"]).touch()
        time.sleep(600)
    op.execute("UPDATE usage SET novelty = 1")
def downgrade():
    pass
"""


def find_released() -> list[str]:
    """Return the versions whose ledgers are kept, in order of their names."""
    return sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


def load_released(version: str, databases: Databases) -> Engine:
    """Open a database with the ledger that a version left."""
    script = _path_of(version, databases.kind).read_text(encoding="utf-8")
    engine = databases.open(databases.create())
    raw = engine.raw_connection()
    try:
        driver = raw.driver_connection
        if isinstance(driver, sqlite3.Connection):
            driver.execute("PRAGMA foreign_keys = OFF")
            driver.executescript(script)
        else:
            assert driver is not None
            driver.execute(script.encode())
            driver.commit()
        # The script's own settings end with the connection.
        raw.detach()
        driver.close()
    finally:
        raw.close()
    return engine


def copy_next_migrations(folder: Path) -> Path:
    """Return the migrations of a version after this one, which only adds; its head is ``9001``.

    Where ``HALF_WAY`` is set, its own one touches that file half-way, and then hangs.
    """
    migrations = folder / "migrations"
    shutil.copytree(MIGRATIONS, migrations, ignore=shutil.ignore_patterns("__pycache__"))
    (migrations / "versions" / "9001_next.py").write_text(_NEXT.format(head=get_head()))
    return migrations


def use(engine: Engine, name: str, *, token_id: int = 0, cost_usdc: int = 7) -> None:
    """Reserve and post one request, as a proxy does. The clock stands at ``NOW_S``."""
    wish = Reservation(name, token_id, 0, "key", "model", 2 * cost_usdc, 1, 1)
    with write(engine) as connection:
        Reserve(wish, RULES, NOW_S)(connection)
    with write(engine) as connection:
        Post(name, Charge(cost_usdc, 1, 1), NOW_S)(connection)


def fill(engine: Engine) -> None:
    """Let a little of everything happen in a bound ledger."""
    with write(engine) as connection:
        put_positions(connection, *(make_state(token_id) for token_id in range(3)))
        put_cursor(connection)
        save_issued_key(connection, key_id="root", token_id=0, key_epoch=0, now_s=NOW_S)
        for key_id, day_usdc_max in (("live", 500), ("revoked", None)):
            terms = ChildTerms(label=key_id, models=["model"], day_usdc_max=day_usdc_max)
            create_child(
                connection, key_id=key_id, token_id=0, key_epoch=0, terms=terms, now_s=NOW_S
            )
        revoke_child(connection, "revoked", token_id=0, key_epoch=0, now_s=NOW_S)
        put_buyer(connection)
        put_supplier(connection)
        put_supply_offer(connection)
        put_address(connection)
        sell(connection, 1_000)
    use(engine, "settling", token_id=1)
    with write(engine) as connection:
        assert plan_batch(connection, limits_usdc={1: 1_000}, now_s=NOW_S) is not None
    use(engine, "posted")
    reserved = Reservation("reserved", 2, 0, "key", "model", 11, 1, 1)
    voided = Reservation("voided", 2, 0, "key", "model", 11, 1, 1)
    with write(engine) as connection:
        Reserve(reserved, RULES, NOW_S)(connection)
        Reserve(voided, RULES, NOW_S)(connection)
        Void("voided", "test", NOW_S)(connection)


def _path_of(version: str, kind: str) -> Path:
    return FOLDER / version / f"{kind}.sql"


def _dump(engine: Engine) -> str:
    if engine.dialect.name == SQLITE:
        raw = engine.raw_connection()
        try:
            driver = raw.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            return "\n".join(driver.iterdump()) + "\n"
        finally:
            raw.close()
    programs = find_programs()
    assert programs is not None
    # libpq knows no driver in the URL.
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    done = subprocess.run(
        [programs / "pg_dump", "--inserts", "--no-owner", "--no-privileges", url],
        capture_output=True,
        text=True,
        check=True,
    )
    return "\n".join(_keep_portable(done.stdout.splitlines())) + "\n"


def _keep_portable(lines: Iterable[str]) -> Iterable[str]:
    """Leave out what only psql or this server's own release understands, comments and gaps."""
    return (
        line
        for line in lines
        if line and not line.startswith(("\\", "--", "SET ", "SELECT pg_catalog.set_config"))
    )


def main() -> None:
    """Write the ledgers of the version that is about to be cut."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    version = told["project"]["version"]
    for kind in KINDS:
        with temporary_folder() as folder, Databases(kind, Path(folder)) as databases:
            engine = databases.open_ledger()
            fill(engine)
            path = _path_of(version, kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_dump(engine), encoding="utf-8")


if __name__ == "__main__":
    main()
