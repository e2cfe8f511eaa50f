"""``current key …``: API keys of positions, for scripts."""

import json
from pathlib import Path
from typing import Any

import click

from scripts.checks import api_key_options
from scripts.wallet.options import (
    AMOUNT,
    chain_options,
    dry_run_option,
    json_option,
    key_options,
    open_account,
    open_chain,
)
from serving.process.command_line import HTTP_URL, group

API_URL = "http://127.0.0.1:8402/api/current"

api_url_option = click.option(
    "--api-url",
    type=HTTP_URL,
    envvar="CURRENT_API_URL",
    default=API_URL,
    help="The proxy's API, also by CURRENT_API_URL.",
)


@group("key")
def key() -> None:
    """API keys of positions."""


@key.command("issue")
@click.option("--token-id", type=click.IntRange(0), default=0, help="The position.")
@key_options
@api_url_option
@json_option
def issue(
    token_id: int,
    private_key_file: Path | None,
    keyfile: Path | None,
    password_file: Path | None,
    api_url: str,
    as_json: bool,
) -> None:
    """Sign in with a wallet's key (EIP-4361) and print an API key for its position.

    The key is shown once and stored nowhere.
    """
    from scripts.wallet.key_sign_in import issue_key

    account = open_account(private_key_file, keyfile, password_file)
    issued = issue_key(api_url, account, token_id)
    click.echo(json.dumps(issued) if as_json else issued["apiKey"])


@key.command("child")
@click.option("--label", default="", help="What it is for, as lists show it.")
@click.option("--model", "models", multiple=True, help="Only this model; may be repeated.")
@click.option("--request-max", type=AMOUNT, help="Most that one request may cost, USDC.")
@click.option("--day-max", type=AMOUNT, help="Most in a day (UTC), USDC.")
@click.option("--month-max", type=AMOUNT, help="Most in a month (UTC), USDC.")
@click.option("--lifetime-max", type=AMOUNT, help="Most in all, USDC.")
@click.option("--expires-at", help="When it ends: an ISO 8601 time.")
@api_key_options("The root key that it is made under.")
@api_url_option
@json_option
def child(
    label: str,
    models: tuple[str, ...],
    expires_at: str | None,
    api_key: str | None,
    api_key_file: Path | None,
    api_url: str,
    as_json: bool,
    **limits: int | None,
) -> None:
    """Make a child key with limits under a root key, and print it."""
    from scripts.asking import post_json

    terms: dict[str, Any] = {"label": label}
    if models:
        terms["models"] = list(models)
    if expires_at is not None:
        terms["expires_at"] = expires_at
    for name, amount_usdc in limits.items():
        if amount_usdc is not None:
            terms[f"{name.removesuffix('_max')}_usdc_max"] = amount_usdc
    root = _read_api_key(api_key, api_key_file)
    made = post_json(f"{api_url}/keys/children", terms, api_key=root)
    click.echo(json.dumps(made) if as_json else made["apiKey"])


@key.command("revoke")
@click.option("--child", "child_id", help="End this child key only, by its id: at the proxy.")
@click.option("--token-id", type=click.IntRange(0), help="End all keys of this position: on chain.")
@api_key_options("With --child: the root key.")
@key_options
@chain_options
@api_url_option
@dry_run_option
@json_option
def revoke(
    child_id: str | None,
    token_id: int | None,
    api_key: str | None,
    api_key_file: Path | None,
    private_key_file: Path | None,
    keyfile: Path | None,
    password_file: Path | None,
    api_url: str,
    dry_run: bool,
    as_json: bool,
    **chain: Any,
) -> None:
    """End one child key, or, by one transaction, every key ever issued for a position."""
    from scripts.asking import delete
    from scripts.wallet.positions_at_work import Positions

    if (child_id is None) == (token_id is None):
        raise click.UsageError("name --child or --token-id")
    if child_id is not None:
        root = _read_api_key(api_key, api_key_file)
        if not dry_run:
            delete(f"{api_url}/keys/children/{child_id}", api_key=root)
        told = {"keyId": child_id, **({"dry_run": True} if dry_run else {})}
        click.echo(json.dumps(told) if as_json else f"child key {child_id} is ended")
        return
    assert token_id is not None
    account = open_account(private_key_file, keyfile, password_file)
    done = Positions(open_chain(account, **chain), dry_run=dry_run).revoke(token_id)
    if as_json:
        click.echo(json.dumps(done))
    else:
        click.echo(f"all keys of position {token_id} end: its key epoch is {done['key_epoch']}")


def _read_api_key(api_key: str | None, path: Path | None) -> str:
    if api_key is None and path is not None:
        api_key = path.read_text(encoding="utf-8").strip()
    if not api_key:
        raise click.UsageError("no root key: --api-key-file, or CURRENT_API_KEY")
    return api_key
