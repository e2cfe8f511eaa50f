"""Options and printing that ``current sell`` and ``current buy`` share."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from scripts.market_asking import BUYER_KEY_VARIABLE, MARKET_URL, SELLER_KEY_VARIABLE
from serving.process.command_line import HTTP_URL
from serving.process.terminal_text import clean_line

KEY_FILE = click.Path(dir_okay=False, path_type=Path)

url_option = click.option(
    "--market-url",
    type=HTTP_URL,
    envvar="CURRENT_MARKET_URL",
    default=MARKET_URL,
    help="The market, also by CURRENT_MARKET_URL.",
)
seller_key_option = click.option(
    "--key-file",
    type=KEY_FILE,
    help=f"A file with the seller's key; without it: {SELLER_KEY_VARIABLE}.",
)
buyer_key_option = click.option(
    "--key-file",
    type=KEY_FILE,
    help=f"A file with the buyer's key; without it: {BUYER_KEY_VARIABLE}.",
)


def site_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what the market's messages may name: fields of ``SignInSite``."""
    for option in (
        click.option(
            "--chain-id",
            type=click.IntRange(1),
            help="The chain of its sign-ins.  [default: Base; the devnet at a local address]",
        ),
        click.option(
            "--domain",
            help="The host, with its port, of its sign-ins.  [default: those of the market's URL]",
        ),
    ):
        function = option(function)
    return function


def tell(found: Mapping[str, Any], *, as_json: bool) -> None:
    """Print figures, a line each; amounts that are counted in 1e-6 USDC as USDC."""
    if as_json:
        click.echo(json.dumps(found))
        return
    from contracts.units import format_usdc

    for name, value in found.items():
        shown, said = name.replace("_", " "), value
        if name.endswith("_usdc") and isinstance(value, int):
            shown = shown.removesuffix(" usdc")
            said = f"{format_usdc(value)} USDC"
        click.echo(clean_line(f"{shown}: {said}"))


def tell_rows(rows: Iterable[Mapping[str, Any]], columns: Iterable[str], *, nothing: str) -> None:
    """Print a table of the named columns; ``nothing`` where there are no rows."""
    names = list(columns)
    table = [
        ["" if row[name] is None else clean_line(str(row[name])) for name in names] for row in rows
    ]
    if not table:
        click.echo(nothing)
        return
    heads = [name.replace("_", " ") for name in names]
    widths = [max(map(len, column)) for column in zip(heads, *table, strict=True)]
    for line in (heads, *table):
        padded = (word.ljust(width) for word, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())
