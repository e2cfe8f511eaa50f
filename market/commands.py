"""``current market``: serve, and what the operator agrees with sellers and buyers."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

import click

from contracts.units import BPS_ONE, parse_usdc
from serving.process.command_line import Parsed, argument, group

if TYPE_CHECKING:
    from sqlalchemy import Engine

SETTINGS: Final = (
    "MARKET_RPC_URL",
    "MARKET_LEDGER_URL",
    "MARKET_DEPLOYMENT_FILE",
    "MARKET_SECRET",
    "MARKET_KMS",
)


def _parse_credit_usdc(text: str) -> int:
    amount_usdc = parse_usdc(text)
    if amount_usdc == 0:
        raise ValueError("an amount of 0 USDC credits nothing")
    return amount_usdc


def _parse_address(text: str) -> str:
    from market.identity.keys import is_address

    if not is_address(text):
        raise ValueError(f"not an address (0x and 40 hex digits): {text!r}")
    return text


_address = argument("address", type=Parsed("address", _parse_address), help="The seller's wallet.")


def _opened_ledger() -> "AbstractContextManager[Engine]":
    from ledger.database.schema import opened_ledger
    from market.settings import MarketSettings

    return opened_ledger(MarketSettings.from_environment().ledger_url.get_secret_value())


@group("market", invoke_without_command=True, settings=SETTINGS, is_service=True)
def market() -> None:
    """Serve sellers, and buyers through the router, until stopped."""
    from market.main import build
    from market.settings import MarketSettings
    from serving.http.run import run

    run(MarketSettings, build)


@market.command("operator-key", settings=SETTINGS)
def operator_key() -> None:
    """Print a new API key of the operator's own account, shown only now."""
    from market.operator import issue_operator_key

    with _opened_ledger() as engine:
        click.echo(issue_operator_key(engine))


@market.command("credit", settings=SETTINGS)
@argument("account", help="An account's id, `operator`, or a buyer's wallet.")
@argument(
    "usdc",
    type=Parsed("usdc", _parse_credit_usdc),
    help="The amount in USDC, up to six decimals, e.g. 12.5.",
)
@argument("credit_id", help="Any name; money is added once for each.")
def credit(account: str, usdc: int, credit_id: str) -> None:
    """Add prepaid money to an account, once for each CREDIT_ID."""
    from market.operator import credit as add

    with _opened_ledger() as engine:
        click.echo(add(engine, account, usdc, credit_id))


@market.command("seller-fee", settings=SETTINGS)
@_address
@argument(
    "bps",
    type=click.IntRange(0, BPS_ONE),
    help=f"The fee in 1/10,000 of the seller's price, 0 to {BPS_ONE:,}.",
)
def seller_fee(address: str, bps: int) -> None:
    """Agree a fee with a seller, for sales to come."""
    from market.operator import agree_fee

    with _opened_ledger() as engine:
        click.echo(agree_fee(engine, address, bps))


@market.command("seller-trust", settings=SETTINGS)
@_address
@argument("answer", type=click.Choice(["yes", "no"]), help="Whether the seller is trusted.")
def seller_trust(address: str, answer: str) -> None:
    """Say whether a seller counts as trusted, from now on."""
    from market.operator import agree_trust

    with _opened_ledger() as engine:
        click.echo(agree_trust(engine, address, is_trusted=answer == "yes"))


@market.command("offer-resume", settings=SETTINGS)
@argument("offer_id", help="The id of an offer that the market has suspended.")
def offer_resume(offer_id: str) -> None:
    """Let a suspended or doubted offer serve as any other; older evidence counts no more."""
    from market.operator import resume_offer

    with _opened_ledger() as engine:
        click.echo(resume_offer(engine, offer_id))


@market.group("convictions", invoke_without_command=True, settings=SETTINGS)
def convictions() -> None:
    """List convicted offers with what was refunded; overturn a conviction."""
    from market.operator import list_convictions

    with _opened_ledger() as engine:
        for line in list_convictions(engine):
            click.echo(line)


@convictions.command("overturn", settings=SETTINGS)
@argument("conviction_id", help="As `current market convictions` shows it.")
def overturn_conviction(conviction_id: str) -> None:
    """Take a conviction back: its offer serves again, and its seller gets what it had earned.

    Buyers keep what they were refunded; the market bears that.
    """
    from market.operator import overturn_conviction as overturn

    with _opened_ledger() as engine:
        click.echo(overturn(engine, conviction_id))


@market.command("probe", settings=SETTINGS)
@argument("offer_id", help="The offer to test.")
@click.option("--key-file", required=True, help="A file with a buyer's key, which pays.")
@click.option("--url", required=True, help="The market's own address, without /v1.")
@click.option("--reference", help="The offer to hold it against; without it: any of grade A.")
@click.option(
    "--method",
    type=click.Choice(["border", "first_token"]),
    default="border",
    show_default=True,
    help="border: choices at temperature 0; first_token: free words at temperature 1.",
)
def probe(offer_id: str, key_file: str, url: str, reference: str | None, method: str) -> None:
    """Test whether an offer serves the model that it names, and write the evidence down.

    It asks 256 short questions, half of them of the reference. One method that convicts makes the
    offer doubted: others go before it; two suspend it.
    """
    from pathlib import Path

    from market.evidence.prober import ProbeWish, probe_offer
    from market.evidence.verdicts import Method
    from market.settings import MarketSettings

    key = Path(key_file).read_text(encoding="utf-8").strip()
    wish = ProbeWish(url.rstrip("/"), key, offer_id, reference, Method(method))
    secret = MarketSettings.from_environment().list_secrets()[0]
    with _opened_ledger() as engine:
        click.echo(probe_offer(engine, wish, secret=secret))


@market.group("sellers", invoke_without_command=True, settings=SETTINGS)
@click.option("--pending", is_flag=True, help="Only those that wait for a decision.")
def sellers(pending: bool) -> None:
    """List sellers with what became of their sales; approve, revoke or note one."""
    from market.operator import list_sellers

    with _opened_ledger() as engine:
        for line in list_sellers(engine, only_pending=pending):
            click.echo(line)


@sellers.command("approve", settings=SETTINGS)
@_address
def approve_seller(address: str) -> None:
    """Approve a seller: requests go to it from now on."""
    from market.operator import agree_trust

    with _opened_ledger() as engine:
        click.echo(agree_trust(engine, address, is_trusted=True))


@sellers.command("revoke", settings=SETTINGS)
@_address
def revoke_seller(address: str) -> None:
    """Refuse a seller, or take its approval back."""
    from market.operator import agree_trust

    with _opened_ledger() as engine:
        click.echo(agree_trust(engine, address, is_trusted=False))


@sellers.command("note", settings=SETTINGS)
@_address
@argument("text", help="What to write down; empty words clear it.")
def note_seller(address: str, text: str) -> None:
    """Write down what is known of a seller, for operators."""
    from market.operator import note_seller as note

    with _opened_ledger() as engine:
        click.echo(note(engine, address, text[:1_000]))


@market.group("api-names", invoke_without_command=True, settings=SETTINGS)
def api_names() -> None:
    """List who may sell calls under an API's own name; approve or revoke one."""
    from market.operator import list_api_names

    with _opened_ledger() as engine:
        for line in list_api_names(engine):
            click.echo(line)


_api_name = argument("name", help="The API's own name, such as nansen.")


@api_names.command("approve", settings=SETTINGS)
@_api_name
@_address
def approve_api_name(name: str, address: str) -> None:
    """Let a seller sell its connection of that name under the API's own name."""
    from market.operator import approve_api_name as approve

    with _opened_ledger() as engine:
        click.echo(approve(engine, name, address))


@api_names.command("revoke", settings=SETTINGS)
@_api_name
@_address
def revoke_api_name(name: str, address: str) -> None:
    """Take that back: the connection is sold under its owner's name only."""
    from market.operator import revoke_api_name as revoke

    with _opened_ledger() as engine:
        click.echo(revoke(engine, name, address))


def _parse_date(text: str) -> int:
    from market.suppliers.settling_days import parse_day

    return parse_day(text)


_payout = argument("payout_id", help="The id of a supplier's payout.")


@market.command("settle", settings=SETTINGS)
@click.option(
    "--date",
    "day",
    type=Parsed("date", _parse_date),
    required=True,
    help="A UTC day that is over, such as 2026-03-31.",
)
def settle(day: int) -> None:
    """Settle suppliers' sales of a day, and of days before it that are not settled."""
    from market.settings import MarketSettings
    from market.suppliers.payout_desk import settle_date

    terms = MarketSettings.from_environment().settlement_terms()
    with _opened_ledger() as engine:
        click.echo(settle_date(engine, terms, day))


@market.command("supplier-fee", settings=SETTINGS)
@argument("supplier_id", help="The supplier's account, as `current review queue` shows it.")
@argument(
    "bps",
    type=click.IntRange(0, BPS_ONE),
    help=f"The fee in 1/10,000 of the supplier's gross, 0 to {BPS_ONE:,}.",
)
def supplier_fee(supplier_id: str, bps: int) -> None:
    """Agree a fee with a supplier, for days that are not settled yet."""
    from market.suppliers.payout_desk import agree_fee

    with _opened_ledger() as engine:
        click.echo(agree_fee(engine, supplier_id, bps))


@market.command("payouts-by-hand", settings=SETTINGS)
def payouts_by_hand() -> None:
    """Print suppliers' payouts that wait to be sent by hand, as CSV."""
    from market.suppliers.payout_desk import export_manual

    with _opened_ledger() as engine:
        click.echo(export_manual(engine).decode(), nl=False)


@market.command("payout-sent", settings=SETTINGS)
@_payout
@argument("tx_hash", help="The hash of the transaction that paid it.")
def payout_sent(payout_id: str, tx_hash: str) -> None:
    """Note that a supplier's payout was sent: by hand, or one that failed or needed somebody."""
    from market.suppliers.payout_desk import mark_sent

    with _opened_ledger() as engine:
        click.echo(mark_sent(engine, payout_id, tx_hash))


@market.command("payout-failed", settings=SETTINGS)
@_payout
@argument("reason", help="Why it certainly was not and will not be sent, for the supplier too.")
def payout_failed(payout_id: str, reason: str) -> None:
    """Note that a supplier's payout certainly was not and will not be sent.

    For one that needs the operator or is sent by hand. Whoever pays must have cancelled it first.
    """
    from market.suppliers.payout_desk import mark_failed

    with _opened_ledger() as engine:
        click.echo(mark_failed(engine, payout_id, reason))


@market.command("payout-retry", settings=SETTINGS)
@_payout
def payout_retry(payout_id: str) -> None:
    """Let a supplier's payout that failed be sent again, to the address that counts now."""
    from market.suppliers.payout_desk import send_again

    with _opened_ledger() as engine:
        click.echo(send_again(engine, payout_id))
