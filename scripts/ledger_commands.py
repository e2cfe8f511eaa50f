"""``current ledger``: the schema of a ledger, and the archive of its old usage."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serving.process.command_line import Failed, argument, command, group
from serving.process.exit_codes import ExitCode

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ledger.database.migrating import Pending

CODES = {
    ExitCode.DONE: "the schema is this version's, or works with it",
    ExitCode.FAILED: "--check: an upgrade is due; or the ledger is away",
    ExitCode.UNUSABLE: "wrong arguments, or the schema is newer than this version can use",
}

ledger_option = click.option(
    "--ledger-url",
    envvar="CURRENT_LEDGER_URL",
    show_envvar=True,
    required=True,
    help="SQLAlchemy URL of the ledger.",
)


@group("ledger")
def ledger() -> None:
    """The ledger's schema, and the archive of its old usage."""


@command("upgrade", exit_codes=CODES)
@ledger_option
@click.option("--check", is_flag=True, help="Change nothing; say what an upgrade would do.")
def upgrade(ledger_url: str, check: bool) -> ExitCode:
    """Bring the ledger to this version's schema; an empty database becomes a new ledger.

    Every process does it by itself when it starts. Processes of the version before go on beside the
    new schema, restarts included, unless --check says that they do not.
    """
    from ledger.database.engine import open_engine
    from ledger.database.schema import migrate

    engine = open_engine(ledger_url)
    try:
        if check:
            return _check(engine)
        click.echo(f"the ledger has schema {migrate(engine)}")
    finally:
        engine.dispose()
    return ExitCode.DONE


folder_argument = argument(
    "folder", type=click.Path(file_okay=False, path_type=Path), help="The archive's folder."
)


@command("archive")
@folder_argument
@ledger_option
@click.option(
    "--before",
    type=click.DateTime(["%Y-%m-%d"]),
    required=True,
    help="Move what is older than this UTC day; 32 days ago at the latest.",
)
def archive(folder: Path, ledger_url: str, before: datetime) -> ExitCode:
    """Move usage that is settled for good, and voided usage, into compressed files.

    Their receipts are had from there: `current receipt show`, and the proxy with
    PROXY_ARCHIVE_FOLDER. Sums by day, key, model, user and metadata stay in the ledger. May be
    stopped at any time and run again, while everything else runs.
    """
    from contracts.units import format_usdc
    from ledger.database.schema import opened_ledger
    from ledger.spending.archive_files import ArchiveFolder
    from ledger.spending.archiving import archive_usage

    with opened_ledger(ledger_url) as engine:
        done = archive_usage(
            engine,
            ArchiveFolder(folder),
            before_s=int(before.replace(tzinfo=UTC).timestamp()),
            now_s=int(time.time()),
        )
    click.echo(
        f"archived {done.requests} requests of {done.batches} batches"
        f" ({format_usdc(done.cost_usdc)} USDC), and {done.voided} that were never charged"
    )
    return ExitCode.DONE


@command("check-archive")
@folder_argument
@click.option(
    "--ledger-url",
    envvar="CURRENT_LEDGER_URL",
    show_envvar=True,
    help="SQLAlchemy URL of the ledger: finds files that lack, too.",
)
def check_archive(folder: Path, ledger_url: str | None) -> ExitCode:
    """Read every file of an archive, compare it with its checksum and root, and index it again.

    Exit code 1: with --ledger-url, a batch's file lacks or is another one.
    """
    from ledger.database.engine import read
    from ledger.database.schema import opened_ledger
    from ledger.spending.archive_files import ArchiveFolder, hash_body
    from ledger.spending.archiving import load_archived_batches

    found: dict[str, str] = {}
    requests = 0
    for one in ArchiveFolder(folder).check():
        requests += len(one.rows)
        if one.batch is not None:
            found[one.batch["batch_id"]] = hash_body(one.body)
    expected: dict[str, str] = {}
    if ledger_url is not None:
        with opened_ledger(ledger_url) as engine, read(engine) as connection:
            expected = load_archived_batches(connection)
    lacking = [batch_id for batch_id, sha256 in expected.items() if found.get(batch_id) != sha256]
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise Failed(
            f"{folder} lacks the ledger's batches {', '.join(lacking[:3])}{more}:"
            " bring their files back from a copy of the folder",
            ExitCode.FAILED,
        )
    click.echo(f"{len(found)} batches with {requests} requests are whole")
    return ExitCode.DONE


for one in (upgrade, archive, check_archive):
    ledger.add_command(one)


def _check(engine: "Engine") -> ExitCode:
    from ledger.database.engine import read
    from ledger.database.migrating import list_pending
    from ledger.database.schema import MIGRATIONS, get_head, is_promised, load_revision

    with read(engine) as connection:
        now = load_revision(connection)
        if now is not None and is_promised(connection, now):
            click.echo(f"the ledger has schema {now} of a newer version, which works with this one")
            return ExitCode.DONE
        pending = list_pending(connection, MIGRATIONS)
    if not pending:
        click.echo(f"the ledger has schema {now}: nothing to do")
        return ExitCode.DONE
    click.echo(f"the ledger has {now or 'no schema'}; this version's is {get_head()}. To be run:")
    for one in pending:
        click.echo(f"  {one.revision}  {one.says}{_describe_break(one)}")
    if now is not None:
        click.echo(_describe_processes(now, pending))
    return ExitCode.FAILED


def _describe_break(one: "Pending") -> str:
    if one.oldest_revision is None:
        return ""
    return f"  [stop processes of versions before {one.oldest_revision} first]"


def _describe_processes(now: str, pending: "list[Pending]") -> str:
    """Say what an upgrade means for the processes that the ledger's present schema is made for."""
    if any(one.oldest_revision is not None and one.oldest_revision > now for one in pending):
        return f"stop every process of schema {now} first: it does not work on the new schema"
    return f"processes of schema {now} may go on beside it: replace one after the other"
