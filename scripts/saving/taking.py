"""Taking a backup of a ledger that is in use."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, select, text

from contracts.errors import Fatal, Retryable
from ledger.chain.mirror import load_mirror
from ledger.database.clock import ask_now_s
from ledger.database.engine import open_engine, read
from ledger.database.restore_mark import check_not_restoring
from ledger.database.schema import load_revision
from ledger.spending.debts import load_posted
from ledger.tables import Deployment, table_of
from scripts.saving.backups import PREFIX, Backup, find_backups

PAGES_AT_ONCE: Final = 4_096
"""SQLite copies so many pages between two looks at what was written meanwhile."""
DUMP_TIMEOUT_S: Final = 6 * 3_600
_deployment = table_of(Deployment)


class NothingToSave(Fatal):
    """There is no ledger at the URL, or none that belongs to a deployment."""


class ToolMissing(Fatal):
    """A program of PostgreSQL is not installed; the message says what to do instead."""


class NotSaved(Retryable):
    """The copy could not be made; the message says why."""


def take_backup(ledger_url: str, folder: Path, *, keep: int | None = None) -> Backup:
    """Copy a ledger into ``folder`` while processes work with it; return the backup.

    The copy is of one moment, and written whole or not at all. ``keep``: older backups beyond so
    many are deleted afterwards. Raises ``NothingToSave``, ``ToolMissing``, ``NotSaved``.
    """
    engine = open_engine(ledger_url)
    try:
        path = engine.url.database or ""
        is_sqlite = engine.dialect.name == "sqlite"
        if is_sqlite and not Path(path).is_file():
            raise NothingToSave(f"there is no ledger at {path}")
        taken_at_s = ask_now_s(engine)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{PREFIX}{datetime.fromtimestamp(taken_at_s, UTC):%Y%m%dT%H%M%SZ}"
        draft = folder / f".{name}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        try:
            copy = _copy_sqlite if is_sqlite else _dump_postgres
            backup = copy(engine, draft, taken_at_s)
            backup.save_manifest()
            _sync(draft)
            draft.rename(folder / name)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    finally:
        engine.dispose()
    if keep is not None:
        for old in find_backups(folder)[:-keep]:
            shutil.rmtree(old.path)
    return Backup(**{**_as_facts(backup), "path": folder / name})


def _copy_sqlite(engine: Engine, draft: Path, taken_at_s: int) -> Backup:
    target = draft / "ledger.sqlite3"
    try:
        with (
            closing(sqlite3.connect(f"file:{engine.url.database}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy, pages=PAGES_AT_ONCE)
            # The copy is one file: what is in a log beside it could be left behind.
            copy.execute("PRAGMA journal_mode = DELETE")
            (found,) = copy.execute("PRAGMA quick_check").fetchone()
    except sqlite3.Error as error:
        raise NotSaved(f"the ledger could not be copied: {error}") from error
    if found != "ok":
        raise NotSaved(f"the copy is damaged: {found}")
    target.chmod(0o600)
    copied = open_engine(f"sqlite:///{target}")
    try:
        with read(copied) as connection:
            facts = _read_facts(connection)
    finally:
        copied.dispose()
    for left in ("-wal", "-shm"):
        Path(f"{target}{left}").unlink(missing_ok=True)
    return _describe(draft, target, "sqlite", taken_at_s, facts)


def _dump_postgres(engine: Engine, draft: Path, taken_at_s: int) -> Backup:
    target = draft / "ledger.dump"
    with read(engine) as connection:
        facts = _read_facts(connection)
        snapshot = str(connection.scalar(text("SELECT pg_export_snapshot()")))
        # The dump is of the very moment that the manifest tells of.
        arguments = ["--format=custom", "--no-owner", f"--snapshot={snapshot}"]
        run_tool("pg_dump", engine.url, [*arguments, f"--file={target}"])
    target.chmod(0o600)
    return _describe(draft, target, "postgresql", taken_at_s, facts)


def run_tool(name: str, url: URL, arguments: list[str]) -> None:
    """Run one of PostgreSQL's programs on a database. No password is among its arguments.

    Raises ``ToolMissing`` and ``NotSaved``.
    """
    program = shutil.which(name)
    if program is None:
        raise ToolMissing(
            f"{name} is not installed on this host: install the client of PostgreSQL (Debian:"
            " postgresql-client), or archive the server with pg_basebackup and its WAL"
        )
    host = str(url.query.get("host") or url.host or "")
    environment = {**os.environ, "PGDATABASE": url.database or "", "PGHOST": host}
    for variable, value in (
        ("PGUSER", url.username),
        ("PGPASSWORD", None if url.password is None else str(url.password)),
        ("PGPORT", None if url.port is None else str(url.port)),
    ):
        if value is not None:
            environment[variable] = value
    done = subprocess.run(
        [program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DUMP_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise NotSaved(f"{name}: {lines[0]}")


def _read_facts(connection: Connection) -> dict[str, Any]:
    check_not_restoring(connection)
    revision = load_revision(connection)
    row = None
    if revision is not None:
        row = connection.execute(select(_deployment)).mappings().one_or_none()
    if row is None:
        raise NothingToSave("the ledger belongs to no deployment yet: there is nothing to save")
    mirror = load_mirror(connection)
    return {
        "schema": revision,
        "chain_id": int(row["chain_id"]),
        "position": str(row["position"]),
        "block_number": None if mirror is None else mirror.block_number,
        "posted_usdc": sum(one.amount_usdc for one in load_posted(connection).values()),
    }


def _describe(
    draft: Path, target: Path, kind: str, taken_at_s: int, facts: dict[str, Any]
) -> Backup:
    digest, size = hash_file(target)
    return Backup(draft, taken_at_s, kind, target.name, digest, size, **facts)


def _as_facts(backup: Backup) -> dict[str, Any]:
    return {name: getattr(backup, name) for name in Backup.__dataclass_fields__}


def hash_file(path: Path) -> tuple[str, int]:
    """Return a file's SHA-256 in hex, and its length in bytes."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(1024**2):
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size


def _sync(folder: Path) -> None:
    """Have everything in a folder on disk before its name says that it is whole."""
    for path in [*folder.iterdir(), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
