"""``current init``, with its arguments."""

import re
import sys
from pathlib import Path

import click

from serving.process.command_line import HTTP_URL, Failed, Parsed, argument, command
from serving.process.exit_codes import ExitCode


def _parse_domain(text: str) -> str:
    if re.fullmatch(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z0-9]+", text) is None:
        raise ValueError("a host name without scheme and path, such as ai.example")
    return text


def _parse_contact(text: str) -> str:
    if not text.startswith(("mailto:", "https://")):
        raise ValueError("mailto:… or https://…")
    return text


DOMAIN = Parsed("domain", _parse_domain)


@command("init")
@argument(
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to make it, such as /etc/current.",
)
@click.option("--domain", type=DOMAIN, help="The host that buyers reach the proxy by.")
@click.option("--market-domain", type=DOMAIN, help="The host of a market; without: none is run.")
@click.option("--rpc-url", "rpc_urls", multiple=True, type=HTTP_URL, help="A node; up to three.")
@click.option("--heads-url", help="A WebSocket endpoint that tells of new blocks.")
@click.option(
    "--deployment-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The record that the deploy script wrote; it is copied.",
)
@click.option(
    "--ledger-url",
    default="sqlite:////var/lib/current/ledger.sqlite3",
    help="SQLAlchemy URL of the ledger.",
)
@click.option("--upstream-url", type=HTTP_URL, help="Who serves models, if not the market here.")
@click.option(
    "--contact",
    type=Parsed("url", _parse_contact),
    help="Where weaknesses are reported, mailto:… or https://….  [default: security@DOMAIN]",
)
@click.option("--user", default="current", help="The system's user that runs the processes.")
@click.option("--proxies", type=click.IntRange(1, 16), default=1, help="Proxies on this host.")
@click.option(
    "--containers", is_flag=True, help="A compose file too, with PostgreSQL: --ledger-url is its."
)
def init(
    folder: Path,
    domain: str | None,
    market_domain: str | None,
    rpc_urls: tuple[str, ...],
    heads_url: str | None,
    deployment_file: Path | None,
    ledger_url: str,
    upstream_url: str | None,
    contact: str | None,
    user: str,
    proxies: int,
    containers: bool,
) -> ExitCode:
    """Make a deployment folder: settings, secrets, systemd units, balancer, monitoring, next steps.

    Asks for what is missing on a terminal. Writes over nothing: made again, a folder gets what it
    lacks. Secrets are random, and their files nobody else's to read.
    """
    from scripts.folder.compose import DATABASE, find_database_password
    from scripts.folder.making import find_keeper_address, make_folder
    from scripts.folder.steps import list_steps
    from scripts.folder.wishes import Wishes

    domain = domain or _ask("--domain", "The host that buyers reach the proxy by", DOMAIN)
    urls = rpc_urls or tuple(
        _ask("--rpc-url", "Nodes of the chain, separated by spaces (best three)").split()
    )
    path = deployment_file or Path(
        _ask("--deployment-file", "The record that the deploy script wrote")
    )
    if upstream_url is None and market_domain is None:
        upstream_url = _ask("--upstream-url or --market-domain", "Who serves models, a URL to /v1")
    password = find_database_password(folder) if containers else None
    if password is not None:
        ledger_url = DATABASE.format(password=password)
    if proxies > 1 and ledger_url.startswith("sqlite:"):
        raise click.UsageError(
            "--proxies above 1 need PostgreSQL: --ledger-url postgresql+psycopg…"
        )
    executable = Path(sys.argv[0]).absolute()
    if executable.name not in ("current", "atlas"):
        executable = Path(sys.executable).with_name("current")
    wishes = Wishes(
        domain=domain,
        market_domain=market_domain,
        rpc_urls=urls,
        heads_url=heads_url,
        deployment_file=path,
        ledger_url=ledger_url,
        upstream_url=upstream_url,
        contact=contact or f"mailto:security@{domain}",
        user=user,
        executable=executable,
        proxies=proxies,
        database_password=password,
    )
    made = make_folder(folder, wishes)
    for one in made:
        word = click.style("made", fg="green") if one.is_new else click.style("kept", fg="yellow")
        click.echo(f"{word}  {one.path}")
    address = find_keeper_address(folder)
    if address is not None:
        click.echo(f"\nThe keeper's address is {address}.")
    click.echo("\nNext, as root:\n")
    for step in list_steps(folder.resolve(), wishes):
        click.echo(f"  {step}")
    click.echo(f"\n{folder.resolve() / 'README.md'} says what everything is.")
    return ExitCode.DONE


def _ask(option: str, text: str, kind: Parsed | None = None) -> str:
    """Return what a person answers. Raises ``Failed`` where nobody can be asked."""
    if not sys.stdin.isatty():
        raise Failed(f"{option} is missing, and nobody is there to be asked", ExitCode.UNUSABLE)
    return str(click.prompt(text, type=kind))
