"""The ``current`` command: every process and every tool of the project."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from indexer.commands import indexer
from keeper.commands import keeper
from market.commands import market
from market.review_commands import review
from proxy.commands import proxy
from scripts.checks import audit, evidence, receipt
from scripts.doctor.commands import doctor
from scripts.folder.commands import init
from scripts.ledger_commands import ledger
from scripts.marketplace import marketplace
from scripts.overview.commands import status
from scripts.saving.commands import backup, restore
from scripts.wallet.buy_commands import buy
from scripts.wallet.key_commands import api_url_option, key
from scripts.wallet.position_commands import position
from scripts.wallet.sell_commands import sell
from serving.process.command_line import ALL_CODES, Failed, argument, group
from serving.process.exit_codes import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

like_option = click.option(
    "--like",
    type=click.Choice(["base"]),
    show_default="a plain local chain",
    help="Let the chain look like Base: 2 s blocks, deposits, L1 fees, late finality.",
)


@group("current", exit_codes=ALL_CODES)
def commands() -> None:
    """Pay for AI with the yield of savings: every process and every tool of the project.

    `current COMMAND --help` says what a command takes. The indexer, keeper, proxy and market are
    the processes; they read their settings from the environment.
    """


for process in (indexer, keeper, market, proxy):
    commands.add_command(process)
commands.add_command(review)
for check in (audit, receipt, evidence):
    commands.add_command(check)
for tool in (backup, buy, doctor, init, key, ledger, marketplace, position, restore, sell, status):
    commands.add_command(tool)


@commands.command("mcp")
@api_url_option
@click.option(
    "--key", envvar="CURRENT_API_KEY", show_envvar=True, required=True, help="The API key."
)
@click.option(
    "--market-url",
    envvar="CURRENT_MARKET_URL",
    show_envvar=True,
    default="",
    help="A market whose APIs can be called.",
)
@click.option(
    "--market-key",
    envvar="CURRENT_MARKET_KEY",
    show_envvar=True,
    help="A buyer's key of that market; without it calls are paid by x402.",
)
@click.option("--create-keys", is_flag=True, help="Let the root key make child keys.")
def mcp(api_url: str, key: str, market_url: str, market_key: str | None, create_keys: bool) -> None:
    """Give an agent this proxy's tools, by the Model Context Protocol over standard input.

    Only `chat` and `call_api` spend, and never more than the `max_usdc` that they are called with.
    """
    from scripts.mcp_server import StdioRules, serve_stdio

    serve_stdio(StdioRules(api_url, key, market_url, market_key, create_keys))


@commands.command("demo")
@click.option("--pages/--no-pages", default=True, help="Walk through the pages too, in a browser.")
@like_option
def demo(pages: bool, like: str | None) -> None:
    """Walk the whole journey on a fresh local stack; 0 only if every step held."""
    from scripts.stack.demo import run_demo

    with _on_terminal() as console:
        run_demo(console, is_like_base=like is not None, with_pages=pages)


@commands.command("up")
@click.option("--fresh", is_flag=True, help="Forget the earlier chain and ledger of this name.")
@click.option("--name", default="devnet", help="The stack's folder in .current/.")
@click.option("--open", "is_opened", is_flag=True, help="Open the pages in a browser.")
@like_option
def up(fresh: bool, name: str, is_opened: bool, like: str | None) -> None:
    """Start the local stack, or resume it, and leave it running until Ctrl-C."""
    import webbrowser

    from scripts.stack.up import run_up

    with _on_terminal() as console:
        run_up(
            console,
            fresh=fresh,
            name=name,
            is_like_base=like is not None,
            open_pages=webbrowser.open if is_opened else None,
        )


@commands.command("mail")
@click.option("--name", default="devnet", help="The stack's folder in .current/.")
@click.option("--to", default=None, help="Only mails to this address.")
def mail(name: str, to: str | None) -> None:
    """Print what the devnet's mail server was sent, the oldest first."""
    from scripts.stack.mail_server import describe_mail, find_mailbox, read_mails

    found = [one for one in read_mails(find_mailbox(name)) if to is None or one["To"] == to]
    click.echo("\n\n".join(describe_mail(one) for one in found) or "no mail")


@contextmanager
def _on_terminal() -> "Iterator[Console]":
    """Lend a console to a local stack; what is not installed is a sentence, too."""
    from rich.console import Console

    try:
        yield Console(highlight=False)
    except (LookupError, ModuleNotFoundError) as error:
        if type(error) not in (LookupError, ModuleNotFoundError):
            raise  # a wrong key or index is a bug
        raise Failed(f"{error}; `make setup` installs what is missing", ExitCode.FAILED) from error


@position.command("show")
@argument("token_id", type=click.IntRange(0), help="The position.")
@api_url_option
def show(token_id: int, api_url: str) -> None:
    """Print a position as the proxy shows it, as JSON. Amounts are in 1e-6 USDC."""
    import json

    from scripts.asking import get_json

    click.echo(json.dumps(get_json(f"{api_url}/positions/{token_id}"), indent=2))


def main() -> None:
    """Run the command line."""
    commands(prog_name="current")


def atlas() -> None:
    """Run the same command line by its second name."""
    commands(prog_name="atlas")


if __name__ == "__main__":
    main()
