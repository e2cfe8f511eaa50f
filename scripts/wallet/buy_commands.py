"""``current buy …``: credit at a market, models and APIs paid with it, for scripts."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contracts.errors import Fatal
from scripts.market_asking import BUYER_KEY_VARIABLE, Market, read_answer, read_key
from scripts.wallet.market_keys import add_key_command
from scripts.wallet.market_options import (
    KEY_FILE,
    buyer_key_option,
    site_options,
    tell,
    url_option,
)
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
from serving.process.terminal_text import clean_lines

if TYPE_CHECKING:
    import httpx

    from scripts.wallet.signed_payments import Payer

pay_to_option = click.option(
    "--pay-to", help="The only payee.  [default: the deployment's payouts contract]"
)


class BodyInvalid(Fatal):
    """What was given to be sent is no JSON."""


@group("buy")
def buy() -> None:
    """Buy on a market: credit by a signed transfer of USDC (x402), models, APIs, and back again.

    Nothing is signed but a transfer of the deployment's own USDC to its own payouts contract, of
    the amount that was named, and sign-ins of that market. Amounts are USDC, such as 12.5; in
    --json they are 1e-6 USDC.
    """


def _open_payer(
    private_key_file: Path | None,
    keyfile: Path | None,
    password_file: Path | None,
    *,
    pay_to: str | None,
    dry_run: bool,
    **chain: Any,
) -> "Payer":
    from scripts.wallet.signed_payments import Payer

    account = open_account(private_key_file, keyfile, password_file)
    return Payer(open_chain(account, **chain), pay_to=pay_to, dry_run=dry_run)


def _find_key(key_file: Path | None) -> str | None:
    """Return the buyer's key where there is one: some commands do without."""
    import os

    if key_file is None and not os.environ.get(BUYER_KEY_VARIABLE, "").strip():
        return None
    return read_key(BUYER_KEY_VARIABLE, key_file)


def _open(market_url: str, key_file: Path | None) -> Market:
    return Market(market_url, read_key(BUYER_KEY_VARIABLE, key_file))


add_key_command(buy, "buyer")


@buy.command("topup")
@argument("amount", type=AMOUNT, help="How much credit, USDC.")
@pay_to_option
@key_options
@chain_options
@url_option
@buyer_key_option
@dry_run_option
@json_option
def topup(
    amount: int, market_url: str, key_file: Path | None, as_json: bool, **places: Any
) -> None:
    """Pay credit in, by one signed transfer (EIP-3009) that the market submits: no gas.

    It is credit of the key's account, and without a key of the wallet's own.
    """
    from contracts.units import format_usdc

    payer = _open_payer(**places)
    answer = payer.send(
        Market(market_url, _find_key(key_file)),
        "POST",
        "/v1/buyer/credit/topup",
        {"amount_usd": format_usdc(amount)},
        usdc_max=amount,
        is_exact=True,
    )
    if places["dry_run"] and payer.paid_usdc is not None:
        tell({"would_pay_usdc": payer.paid_usdc, "dry_run": True}, as_json=as_json)
        return
    done = read_answer(answer)
    payment = done["payment"]
    told = {
        "paid_usdc": payment["value_usdc"],
        "credited_usdc": payment["credited_usdc"],
        "available_usdc": done["available_usdc"],
        "account_id": done["account_id"],
        "tx_hash": payment["transaction"],
    }
    tell(told, as_json=as_json)


@buy.command("balance")
@url_option
@buyer_key_option
@json_option
def balance(market_url: str, key_file: Path | None, as_json: bool) -> None:
    """Show the credit, what may be withdrawn, and payments that are not settled yet."""
    market = _open(market_url, key_file)
    account = market.ask("GET", "/v1/buyer/account")
    back = market.ask("GET", "/v1/buyer/withdrawals")
    open_usdc = sum(
        one["value_usdc"] for one in account["payments"] if one["state"] in ("verified", "sent")
    )
    names = ("available_usdc", "reserved_usdc", "spent_usdc", "credited_usdc")
    told = {
        **{name: account[name] for name in names},
        "on_its_way_usdc": open_usdc,
        "withdrawable_usdc": back["withdrawable_usdc"],
    }
    if as_json:
        told |= {"payments": account["payments"], "withdrawals": back["withdrawals"]}
    tell(told, as_json=as_json)


@buy.command("ask")
@argument("model", help="The model.")
@argument("text", help="What to ask it; - reads standard input.")
@click.option("--tokens-max", type=click.IntRange(1), default=500, help="Most tokens to answer.")
@url_option
@buyer_key_option
@json_option
def ask(
    model: str,
    text: str,
    tokens_max: int,
    market_url: str,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Ask a model once, from the key's credit, and print its answer; the cost to stderr."""
    if text == "-":
        text = click.get_text_stream("stdin").read()
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens_max,
    }
    answer = _open(market_url, key_file).send("POST", "/v1/chat/completions", body)
    read = read_answer(answer)
    if as_json:
        click.echo(json.dumps(read))
        return
    click.echo(clean_lines(str(read["choices"][0]["message"]["content"])))
    _tell_cost(answer)


@buy.command("call")
@argument("path", help="A path of the market, such as /x402/chainstats/v1/blocks/latest.")
@click.option("--method", help="GET, POST …  [default: POST with a body, else GET]")
@click.option("--body", help="JSON to send.")
@click.option("--body-file", type=KEY_FILE, help="A file with JSON to send.")
@click.option("--pay-max", type=AMOUNT, help="Pay this call alone by x402, at most so much, USDC.")
@pay_to_option
@key_options
@chain_options
@url_option
@buyer_key_option
@dry_run_option
def call(
    path: str,
    method: str | None,
    body: str | None,
    body_file: Path | None,
    pay_max: int | None,
    market_url: str,
    key_file: Path | None,
    **places: Any,
) -> None:
    """Call an API or any path that sells, and print the answer; the cost to stderr.

    With a buyer's key it is paid from credit. With --pay-max a wallet pays it, without an account.
    """
    if not path.startswith("/"):
        raise click.UsageError("PATH begins with /")
    if places["dry_run"] and pay_max is None:
        # What is paid from credit is paid at the market, whatever this command would like to try.
        raise click.UsageError("--dry-run goes with --pay-max")
    sent = _read_body(body, body_file)
    chosen = (method or ("GET" if sent is None else "POST")).upper()
    if pay_max is None:
        answer = Market(market_url, _find_key(key_file)).send(chosen, path, sent)
    else:
        payer = _open_payer(**places)
        answer = payer.send(Market(market_url, None), chosen, path, sent, usdc_max=pay_max)
        if places["dry_run"] and payer.paid_usdc is not None:
            tell({"would_pay_usdc": payer.paid_usdc, "dry_run": True}, as_json=True)
            return
    if answer.is_error:
        read_answer(answer)
    click.echo(clean_lines(answer.text) if _is_terminal() else answer.text)
    _tell_cost(answer)


def _is_terminal() -> bool:
    return click.get_text_stream("stdout").isatty()


def _read_body(body: str | None, body_file: Path | None) -> Any:
    if body is not None and body_file is not None:
        raise click.UsageError("name --body or --body-file")
    text = body if body_file is None else body_file.read_text(encoding="utf-8")
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise BodyInvalid(f"the body is no JSON: {error}") from None


def _tell_cost(answer: "httpx.Response") -> None:
    from contracts.units import format_usdc

    cost = answer.headers.get("x-market-cost-usdc", "")
    if cost.isdigit():
        click.echo(f"cost: {format_usdc(int(cost))} USDC", err=True)


@buy.command("withdraw")
@argument("amount", type=AMOUNT, required=False, help="How much, USDC; all of it unless named.")
@key_options
@url_option
@site_options
@dry_run_option
@json_option
def withdraw(
    amount: int | None,
    private_key_file: Path | None,
    keyfile: Path | None,
    password_file: Path | None,
    market_url: str,
    dry_run: bool,
    as_json: bool,
    **site: Any,
) -> None:
    """Take unused credit back to the wallet that signs, whoever's key bought with it."""
    from scripts.wallet.market_sign_in import SignInSite, withdraw_credit

    account = open_account(private_key_file, keyfile, password_file)
    done = withdraw_credit(
        Market(market_url, None), account, amount, dry_run=dry_run, site=SignInSite(**site)
    )
    tell(done, as_json=as_json)
