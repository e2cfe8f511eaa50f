"""``current marketplace api``: an owner's connections, by the market's HTTP and a seller's key."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from contracts.errors import Rejected
from scripts.market_asking import MARKET_URL, Market, MarketRefused, read_key
from scripts.market_asking import SELLER_KEY_VARIABLE as KEY_VARIABLE
from serving.process.command_line import HTTP_URL, argument, group
from serving.process.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

PATH: Final = "/v1/seller/connections"

_url = click.option(
    "--market-url",
    type=HTTP_URL,
    envvar="CURRENT_MARKET_URL",
    default=MARKET_URL,
    help="The market, also by CURRENT_MARKET_URL.",
)
_key = click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"A file that holds the seller's key; without it: {KEY_VARIABLE} of the environment.",
)


class Owner:
    """Asks a market as the owner of connections."""

    def __init__(self, market_url: str, key_file: Path | None) -> None:
        """Raises ``MarketKeyMissing``."""
        self._market = Market(market_url, read_key(KEY_VARIABLE, key_file))

    def ask(self, method: str, path: str = "", body: object = None) -> Any:
        """Return what the market answers. Raises ``MarketSilent``, ``MarketRefused``."""
        return self._market.ask(method, PATH + path, body)

    def load(self) -> dict[str, dict[str, Any]]:
        """Return the connections by name."""
        return {one["name"]: one for one in self.ask("GET")["connections"]}

    def find(self, name: str) -> dict[str, Any]:
        """Return a connection by name. Raises ``MarketRefused``."""
        found = self.load()
        if name not in found:
            known = ", ".join(sorted(found)) or "none"
            raise MarketRefused(f"there is no connection {name!r}; there are: {known}")
        return found[name]


@group("marketplace")
def marketplace() -> None:
    """What you sell on the market."""


@marketplace.group("api")
def api() -> None:
    """Unused quota of APIs that you pay for, sold by the call."""


def _each(names: tuple[str, ...], known: dict[str, Any], act: "Callable[[Any], Any]") -> int:
    """Do something to connections; print a line each. Return the exit code."""
    failed = False
    for name in names or sorted(known):
        try:
            if name not in known:
                raise MarketRefused("there is no such connection")
            shown = act(known[name])
            click.echo(f"{name}: {shown['status']}, calls at {shown['url']}/…")
        except Rejected as error:
            failed = True
            click.echo(f"{name}: {error}", err=True)
    return ExitCode.FAILED if failed else ExitCode.DONE


@api.command("enable")
@argument(
    "file",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    required=False,
    help="YAML with `api_connections:`; without it, what is disabled goes on sale again.",
)
@_url
@_key
def enable(file: Path | None, market_url: str, key_file: Path | None) -> int:
    """Put connections on sale: those of FILE, new or changed, else all that there are."""
    from market.resale.connection_files import read_connection_file

    owner = Owner(market_url, key_file)
    known = owner.load()
    if file is None:
        return _each((), known, lambda one: _set_status(owner, one, "enabled"))
    entries = {entry["name"]: entry for entry in read_connection_file(file)}

    def put(entry: dict[str, Any]) -> Any:
        body = _as_json(entry)
        stored = known.get(entry["name"])
        if stored is None:
            return owner.ask("POST", "", body)
        del body["name"]
        body.pop("payout_address", None)
        return owner.ask("PATCH", f"/{stored['id']}", {**body, "status": "enabled"})

    return _each((), entries, put)


def _as_json(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry without what JSON has no word for: YAML reads instants as such."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in entry.items()
    }


@api.command("disable")
@argument("names", nargs=-1, help="Names of connections; without any, all.")
@_url
@_key
def disable(names: tuple[str, ...], market_url: str, key_file: Path | None) -> int:
    """Take connections off sale. What is being served is finished."""
    owner = Owner(market_url, key_file)
    return _each(names, owner.load(), lambda one: _set_status(owner, one, "disabled"))


def _set_status(owner: Owner, one: dict[str, Any], status: str) -> Any:
    return owner.ask("PATCH", f"/{one['id']}", {"status": status})


@api.command("status")
@_url
@_key
def status(market_url: str, key_file: Path | None) -> None:
    """Show each connection's present period: quota, sold, left, revenue, fee, net."""
    owner = Owner(market_url, key_file)
    found = owner.load()
    if not found:
        click.echo("No connections. `current marketplace api enable FILE` makes some.")
    for name, one in sorted(found.items()):
        click.echo(format_status(name, one, owner.ask("GET", f"/{one['id']}/status")))


def format_status(name: str, one: dict[str, Any], figures: dict[str, Any]) -> str:
    """Return a connection's figures as a table of lines. Amounts in US dollars."""
    unit = figures["unit"]
    net = figures["net_usdc"]
    revenue, share = figures["revenue_usdc"], figures["your_share_usdc"]
    part = f" ({round(100 * share / revenue)}%)" if revenue else ""
    suspended = one["suspended_for"]
    lines = [
        f"{name}  {one['status']}{', suspended: ' + suspended if suspended else ''}  {one['url']}",
        f"  Quota                {figures['quota']:>12,} {unit}",
        f"  Reserved             {figures['reserved']:>12,}",
        f"  Buffer               {figures['buffer']:>12,}",
        f"  Your own use         {figures['own_use']:>12,}",
        f"  Sold                 {figures['sold']:>12,}",
        f"  Left for sale        {figures['left']:>12,}",
        f"  Days to reset        {figures['days_to_reset']:>12,}",
        f"  Revenue              {_usd(revenue):>12}",
        f"  {'Your share' + part:20} {_usd(share):>12}",
        f"  Fee                  {_usd(figures['fee_usdc']):>12}",
        f"  Subscription cost    {_usd(-figures['subscription_usdc']):>12}",
        f"  Net                  {('+' if net > 0 else '') + _usd(net):>12}",
    ]
    return "\n".join(lines + [f"  ! {warning}" for warning in figures["warnings"]])


def _usd(amount_usdc: int) -> str:
    whole, rest = divmod(abs(amount_usdc), 1_000_000)
    cents = f"{rest:06d}".rstrip("0").ljust(2, "0") if rest else ""
    return ("-" if amount_usdc < 0 else "") + f"{whole:,}" + (f".{cents}" if cents else "")


@api.command("test")
@argument("name", help="The connection's name.")
@_url
@_key
def test(name: str, market_url: str, key_file: Path | None) -> int:
    """Call an API once with its credential, not charged; 0 if it answers."""
    owner = Owner(market_url, key_file)
    tried = owner.ask("POST", f"/{owner.find(name)['id']}/test")
    if tried["ok"]:
        click.echo(f"{name}: {tried['operation']} answered {tried['status']}, {tried['api_ms']} ms")
        return ExitCode.DONE
    reason = tried["error"] or f"HTTP status {tried['status']}"
    click.echo(f"{name}: {tried['operation']} failed: {reason}", err=True)
    return ExitCode.FAILED
