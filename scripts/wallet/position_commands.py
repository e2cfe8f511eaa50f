"""``current position …``: what an owner does, for scripts: tried before it is sent."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scripts.wallet.options import (
    AMOUNT,
    chain_options,
    dry_run_option,
    json_option,
    key_options,
    open_account,
    open_chain,
)
from serving.process.command_line import argument, group

if TYPE_CHECKING:
    from scripts.wallet.positions_at_work import Positions

_token = argument("token_id", type=click.IntRange(0), help="The position.")


@group("position")
def position() -> None:
    """Positions: opened, filled, emptied and looked at.

    Every transaction is tried by a call before it is signed, so that a refusal costs nothing and
    says what to do. Amounts are USDC, such as 12.5; in --json they are 1e-6 USDC.
    """


def _open(
    private_key_file: Path | None,
    keyfile: Path | None,
    password_file: Path | None,
    *,
    dry_run: bool,
    **chain: Any,
) -> "Positions":
    from scripts.wallet.positions_at_work import Positions

    account = open_account(private_key_file, keyfile, password_file)
    return Positions(open_chain(account, **chain), dry_run=dry_run)


def _tell(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found))
        return
    from contracts.units import format_usdc

    for name, value in found.items():
        if name.endswith("_usdc"):
            click.echo(f"{name.removesuffix('_usdc').replace('_', ' ')}: {format_usdc(value)} USDC")
        elif isinstance(value, Mapping):
            click.echo(f"{name.replace('_', ' ')}: {value['tx_hash']}")
        else:
            click.echo(f"{name.replace('_', ' ')}: {value}")


@position.command("open")
@argument("amount", type=AMOUNT, help="The first deposit, USDC.")
@click.option("--vault", help="An ERC-4626 vault of USDC.  [default: the deployment's]")
@click.option(
    "--smoothing-bps",
    type=click.IntRange(1, 10_000),
    default=10_000,
    help="The part of a day's opening credit that may be spent that day, 1/10000.",
)
@click.option(
    "--interval-minutes",
    type=click.IntRange(30, 360),
    default=30,
    help="How often yield is harvested.",
)
@key_options
@chain_options
@dry_run_option
@json_option
def open_position(
    amount: int,
    vault: str | None,
    smoothing_bps: int,
    interval_minutes: int,
    as_json: bool,
    **places: Any,
) -> None:
    """Open a position with a deposit: one transaction, with a permit where USDC takes one."""
    found = _open(**places).open(
        amount, vault=vault, smoothing_bps=smoothing_bps, interval_minutes=interval_minutes
    )
    _tell(found, as_json=as_json)


@position.command("deposit")
@_token
@argument("amount", type=AMOUNT, help="How much, USDC.")
@key_options
@chain_options
@dry_run_option
@json_option
def deposit(token_id: int, amount: int, as_json: bool, **places: Any) -> None:
    """Add to a position's principal."""
    _tell(_open(**places).deposit(token_id, amount), as_json=as_json)


@position.command("withdraw")
@_token
@argument("amount", type=AMOUNT, required=False, help="How much, USDC; all of it unless named.")
@click.option("--yield", "is_yield", is_flag=True, help="Credit that is not spent, not principal.")
@click.option("--at-least", type=AMOUNT, default="0", help="Refuse to be paid less, USDC.")
@key_options
@chain_options
@dry_run_option
@json_option
def withdraw(
    token_id: int,
    amount: int | None,
    is_yield: bool,
    at_least: int,
    as_json: bool,
    **places: Any,
) -> None:
    """Take principal out; or, with --yield, all credit that is neither spent nor held."""
    if is_yield and (amount is not None or at_least):
        raise click.UsageError("--yield takes all that is free: name no amount")
    positions = _open(**places)
    if is_yield:
        _tell(positions.cash_out(token_id), as_json=as_json)
    else:
        _tell(positions.withdraw(token_id, amount, least_usdc=at_least), as_json=as_json)


@position.command("release")
@_token
@key_options
@chain_options
@dry_run_option
@json_option
def release(token_id: int, as_json: bool, **places: Any) -> None:
    """Ask the keeper to settle what is due and free the hold; then `withdraw --yield`."""
    _tell(_open(**places).release(token_id), as_json=as_json)


@position.command("harvest")
@_token
@key_options
@chain_options
@dry_run_option
@json_option
def harvest(token_id: int, as_json: bool, **places: Any) -> None:
    """Turn the vault's yield into credit now; any wallet may do it."""
    _tell(_open(**places).harvest(token_id), as_json=as_json)


@position.command("status")
@_token
@chain_options
@json_option
def status(token_id: int, as_json: bool, **chain: Any) -> None:
    """Show a position as the contracts have it now; needs no key and no proxy."""
    from scripts.wallet.positions_at_work import Positions

    positions = Positions(open_chain(None, **chain), dry_run=True)
    _tell(positions.show(token_id), as_json=as_json)
