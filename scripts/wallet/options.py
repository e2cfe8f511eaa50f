"""Options that the commands of a wallet share: whose key, and which chain."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scripts.checks import deployment_option, name_option, rpc_option
from serving.process.command_line import Parsed

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from scripts.wallet.wallet_on_chain import Wallet

_file = click.Path(dir_okay=False, path_type=Path)


def _parse_amount(text: str) -> int:
    from contracts.units import parse_usdc

    return int(parse_usdc(text))


AMOUNT = Parsed("usdc", _parse_amount)
"""An amount of USDC as people write it, such as 12.5."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON line.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Try it by a call; send nothing.")


def key_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where a wallet's key is."""
    for option in (
        click.option(
            "--password-file",
            type=_file,
            help="The keyfile's password; without it: CURRENT_KEYFILE_PASSWORD.",
        ),
        click.option("--keyfile", type=_file, help="An encrypted key, version 3 JSON."),
        click.option(
            "--private-key-file",
            type=_file,
            help="A file with the private key (hex); without both: CURRENT_PRIVATE_KEY.",
        ),
    ):
        function = option(function)
    return function


def chain_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which chain and which contracts."""
    for option in (deployment_option, rpc_option, name_option):
        function = option(function)
    return function


def open_account(
    private_key_file: Path | None, keyfile: Path | None, password_file: Path | None
) -> "LocalAccount":
    """Return whose key was given. Raises ``WalletKeyMissing``."""
    from scripts.wallet.wallet_on_chain import load_account

    return load_account(
        private_key_file=private_key_file, keyfile=keyfile, password_file=password_file
    )


def open_chain(
    account: "LocalAccount | None", *, name: str, rpc_url: str | None, deployment_file: Path | None
) -> "Wallet":
    """Return an account on the chain that was named. Raises what ``open_wallet`` raises."""
    from scripts.wallet.wallet_on_chain import open_wallet

    if (rpc_url is None) != (deployment_file is None):
        raise click.UsageError("--rpc-url and --deployment-file go together")
    if rpc_url is None or deployment_file is None:
        from scripts.stack.up import load_stack_record

        record = load_stack_record(name)
        rpc_url, deployment_file = record.rpc_url, Path(record.deployment_file)
    return open_wallet(rpc_url, deployment_file, account)
