"""``current sell key`` and ``current buy key``: the same sign-in, for either role."""

import json
from pathlib import Path
from typing import Any

import click

from scripts.market_asking import Market
from scripts.wallet.market_options import site_options, url_option
from scripts.wallet.options import json_option, key_options, open_account
from serving.process.terminal_text import clean_lines


def add_key_command(commands: click.Group, role: str, *, note: str = "") -> None:
    """Add the command that gets a key of a role. ``note`` ends its help."""

    @commands.command(
        "key",
        help=f"Sign in with a wallet's key (EIP-4361) and print a {role}'s key, shown this once."
        f"\n\n{note}",
    )
    @click.option("--label", default="", help="What the key is for, as lists show it.")
    @key_options
    @url_option
    @site_options
    @json_option
    def key(
        label: str,
        private_key_file: Path | None,
        keyfile: Path | None,
        password_file: Path | None,
        market_url: str,
        as_json: bool,
        **site: Any,
    ) -> None:
        from scripts.wallet.market_sign_in import SignInSite, issue_market_key

        account = open_account(private_key_file, keyfile, password_file)
        issued = issue_market_key(
            Market(market_url, None), account, role, label=label, site=SignInSite(**site)
        )
        click.echo(json.dumps(issued) if as_json else clean_lines(issued["api_key"]))
