"""``current ledger``: the schema of a ledger, seen and upgraded."""

from typing import TYPE_CHECKING

import click

from serving.process.command_line import command, group
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
    """The ledger's schema."""


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


ledger.add_command(upgrade)


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
