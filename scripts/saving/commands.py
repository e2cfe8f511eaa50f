"""``current backup`` and ``current restore``, with their arguments."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serving.process.command_line import HTTP_URL, argument, command
from serving.process.exit_codes import ExitCode

if TYPE_CHECKING:
    from scripts.saving.restoring import Restored

ledger_option = click.option(
    "--ledger-url",
    envvar="CURRENT_LEDGER_URL",
    show_envvar=True,
    required=True,
    help="SQLAlchemy URL of the ledger.",
)


@command("backup")
@argument(
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where backups are kept; best on another disk.",
)
@ledger_option
@click.option("--keep", type=click.IntRange(1), help="Delete older ones beyond so many.")
def backup(folder: Path, ledger_url: str, keep: int | None) -> None:
    """Copy the ledger while it is in use: SQLite's own backup, or pg_dump.

    The copy is of one moment, and is there whole or not at all. It holds no key that signs, yet
    usage, receipts, credit, sealed keys and suppliers' data: keep it as you keep the ledger.
    """
    from scripts.saving.taking import take_backup

    taken = take_backup(ledger_url, folder, keep=keep)
    click.echo(f"{taken.path}  {taken.bytes:,} bytes, at block {taken.block_number}")


@command("restore")
@argument(
    "path",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="One backup, such as /var/backups/current/current-20270101T031700Z.",
)
@ledger_option
@click.option(
    "--rpc-url",
    type=HTTP_URL,
    envvar="CURRENT_RPC_URL",
    show_envvar=True,
    required=True,
    help="A node with the whole history since the backup.",
)
@click.option(
    "--deployment-file",
    envvar="CURRENT_DEPLOYMENT_FILE",
    show_envvar=True,
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The record that the deploy script wrote.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as one JSON line.")
def restore(
    path: Path, ledger_url: str, rpc_url: str, deployment_file: Path, as_json: bool
) -> ExitCode:
    """Bring a backup back into an empty database, and say what is lost.

    Stop all processes first. Where it was cut off, no process starts on the ledger, and the same
    command again goes on. The chain is asked what was settled and paid since: none of it is
    charged or paid again. Every key that can be ended off chain is ended, as which ones were is
    lost; depositors' root keys go on by the key epoch on chain.
    """
    import time

    from contracts.chain import open_web3
    from contracts.deployment import load_deployment
    from scripts.saving.backups import load_backup
    from scripts.saving.restoring import restore as bring_back

    taken = load_backup(path)
    done = bring_back(
        taken,
        ledger_url,
        open_web3(rpc_url),
        load_deployment(deployment_file),
        now_s=int(time.time()),
        say=lambda text: click.echo(text, err=True),
    )
    if as_json:
        click.echo(json.dumps(asdict(done)))
    else:
        _tell(done)
    return ExitCode.DONE


def _tell(done: "Restored") -> None:
    from contracts.units import format_usdc

    click.echo(f"restored, and mirrored from block {done.from_block:,} to {done.to_block:,}")
    for name, count in done.ended_keys.items():
        click.echo(f"ended: {count:,} {name}; their owners need new ones")
    for one in done.settlements:
        known = format_usdc(one.known_usdc)
        how = "its receipts are proven" if one.is_proven else "given up here, without receipts"
        click.echo(
            f"settled since: {format_usdc(one.cost_usdc)} USDC of position {one.token_id}, of which"
            f" {known} are known ({how}) and {format_usdc(one.lost_usdc)} lost"
        )
    for paid in done.payouts:
        click.echo(
            f"paid since: {format_usdc(paid.amount_usdc)} USDC to {paid.payee}, of which"
            f" {format_usdc(paid.lost_usdc)} for sales that are lost"
        )
    for taken in done.taken_back:
        click.echo(
            f"withdrawn since: {format_usdc(taken.amount_usdc)} USDC left account"
            f" {taken.account_id} again, as its wallet {taken.wallet} was paid it"
        )
    for convicted in done.open_convictions:
        click.echo(
            f"convicted when the backup was taken: offer {convicted.offer_id} of"
            f" {convicted.seller}, {format_usdc(convicted.held_usdc)} USDC held back for its"
            " buyers. The market refunds them when it starts. Where it was"
            " overturned since, do that again before, unless its seller was paid for it since"
            " (see above):"
            f" `current market convictions overturn {convicted.conviction_id}`"
        )
    reserved = done.open_usage
    if reserved.requests:
        click.echo(
            f"open when the backup was taken: {reserved.requests} requests, reserved"
            f" {format_usdc(reserved.ceiling_usdc)} USDC: what they cost is lost"
        )
    click.echo(
        f"lost in all, as far as the chain tells: {format_usdc(done.lost_charges_usdc)} USDC of"
        f" requests without a record, {format_usdc(done.lost_payouts_usdc)} USDC of sales. Requests"
        " that were served and not settled, credit bought at the market, offers and suppliers'"
        " changes since the backup are lost too. Suppliers' days whose address was paid for"
        " something lost are not paid by themselves: they need the operator, who knows them by"
        " their reason and says `current market payout-sent`, or `payout-failed` and"
        " `payout-retry`. Before the market starts: compare what NOWPayments has paid since, or"
        " leave its key out (USDT is paid by hand then); then `current audit`."
    )
