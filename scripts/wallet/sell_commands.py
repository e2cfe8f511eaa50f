"""``current sell …``: a seller's offers, earnings and payouts, for scripts."""

import json
import os
from pathlib import Path
from typing import Any, Final

import click

from contracts.errors import Fatal
from scripts.wallet.market_keys import add_key_command
from scripts.wallet.market_options import (
    KEY_FILE,
    seller_key_option,
    tell_rows,
    url_option,
)
from scripts.wallet.options import AMOUNT, json_option
from scripts.wallet.sell_earnings import earnings, open_seller, payouts
from serving.process.command_line import HTTP_URL, argument, group

PROVIDER_KEY_VARIABLE: Final = "CURRENT_PROVIDER_KEY"

_offer = argument("offer_id", help="The offer's id.")
_provider_url = click.option(
    "--provider-url",
    type=HTTP_URL,
    required=True,
    help="The provider's API, up to and with /v1.",
)
_provider_key = click.option(
    "--provider-key-file",
    type=KEY_FILE,
    help=f"A file with the key to it; without it: {PROVIDER_KEY_VARIABLE}.",
)
_prices = (
    click.option("--input", "input_price", type=AMOUNT, help="USD for 1M prompt tokens."),
    click.option("--output", "output_price", type=AMOUNT, help="USD for 1M answered tokens."),
    click.option("--cached-input", "cached_price", type=AMOUNT, help="USD for 1M cached tokens."),
    click.option("--multiplier", type=AMOUNT, help="Of the reference price instead, such as 0.5."),
    click.option("--cap-day", type=AMOUNT, help="Most to sell in a day (UTC), USD."),
    click.option("--quota", type=AMOUNT, help="Most to sell in all, USD."),
)
PRICE_FIELDS: Final = {
    "input_price": "price_input_per_1m",
    "output_price": "price_output_per_1m",
    "cached_price": "price_cached_input_per_1m",
    "multiplier": "cost_multiplier",
    "cap_day": "cap_daily_usd",
    "quota": "quota_total_usd",
}


class ProviderKeyMissing(Fatal):
    """No key of a provider was given."""


@group("sell")
def sell() -> None:
    """Sell what a provider's key can serve on a market: offers, prices, earnings, payouts.

    Prices are US dollars, such as 12.5; amounts in --json that end in `_usdc` are 1e-6 USDC. Quota
    of other APIs is sold by `current marketplace api`.
    """


def _with_prices(function: Any) -> Any:
    for option in reversed(_prices):
        function = option(function)
    return function


def _read_prices(given: dict[str, int | None]) -> dict[str, str]:
    """Return what was named of prices, caps and quota, as the market takes it."""
    from contracts.units import format_usdc

    return {
        PRICE_FIELDS[name]: format_usdc(amount)
        for name, amount in given.items()
        if amount is not None
    }


def _read_provider_key(path: Path | None) -> str:
    text = os.environ.get(PROVIDER_KEY_VARIABLE, "")
    if path is not None:
        text = path.read_text(encoding="utf-8")
    if not text.strip():
        raise ProviderKeyMissing(
            f"no provider's key: name --provider-key-file, or set {PROVIDER_KEY_VARIABLE}"
        )
    return text.strip()


add_key_command(
    sell, "seller", note="Earnings are paid to that wallet unless an offer names another address."
)


@sell.command("models")
@_provider_url
@_provider_key
@url_option
@seller_key_option
@json_option
def models(
    provider_url: str,
    provider_key_file: Path | None,
    market_url: str,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """List the models that a provider's key can serve, with reference prices. Keeps nothing."""
    wish = {"api_key": _read_provider_key(provider_key_file), "seller_base_url": provider_url}
    found = open_seller(market_url, key_file).ask("POST", "/v1/seller/discover", wish)
    if as_json:
        click.echo(json.dumps(found))
        return
    rows = [{"model": one["model"], **_describe(one["reference"])} for one in found["models"]]
    tell_rows(rows, ("model", "input_usd", "output_usd"), nothing="The key lists no models.")


def _describe(reference: dict[str, Any] | None) -> dict[str, Any]:
    told = reference or {}
    return {
        "input_usd": told.get("price_input_per_1m"),
        "output_usd": told.get("price_output_per_1m"),
    }


@sell.command("offer")
@argument("model", help="The model's name, as buyers ask for it.")
@_provider_url
@_provider_key
@_with_prices
@click.option("--upstream-model", help="The provider's own name of it.")
@click.option("--payout-address", help="Who is paid.  [default: the seller's wallet]")
@click.option("--label", help="What you call the endpoint.")
@click.option("--idempotency-key", help="Repeated with the same, it is one offer.")
@url_option
@seller_key_option
@json_option
def offer(
    model: str,
    provider_url: str,
    provider_key_file: Path | None,
    upstream_model: str | None,
    payout_address: str | None,
    label: str | None,
    idempotency_key: str | None,
    market_url: str,
    key_file: Path | None,
    as_json: bool,
    **prices: int | None,
) -> None:
    """List an offer: two prices, or a multiplier of the reference price. The key is sealed."""
    told = {"upstream_model": upstream_model, "payout_address": payout_address, "label": label}
    wish = {
        "model": model,
        "seller_base_url": provider_url,
        "api_key": _read_provider_key(provider_key_file),
        **_read_prices(prices),
        **{name: value for name, value in told.items() if value is not None},
    }
    headers = {} if idempotency_key is None else {"idempotency-key": idempotency_key}
    market = open_seller(market_url, key_file)
    made = market.ask("POST", "/v1/seller/offers", wish, headers=headers)
    _tell_offer(made, as_json=as_json)


@sell.command("offers")
@url_option
@seller_key_option
@json_option
def offers(market_url: str, key_file: Path | None, as_json: bool) -> None:
    """List the offers, the oldest first, with what they sold and how they stand."""
    found = open_seller(market_url, key_file).ask("GET", "/v1/seller/offers")
    if as_json:
        click.echo(json.dumps(found))
        return
    rows = [{**one, **_describe(one), "stands": _describe_standing(one)} for one in found["offers"]]
    columns = ("id", "model", "input_usd", "output_usd", "cost_multiplier", "used_today_usd")
    tell_rows(rows, (*columns, "stands"), nothing="No offers. `current sell offer` lists one.")


def _describe_standing(one: dict[str, Any]) -> str:
    if one["suspended_for"]:
        return f"suspended: {one['suspended_for']}"
    if one["status"] != "active":
        return str(one["status"])
    return str(one["health"]["standing"]) if one["health"] else "active"


def _tell_offer(one: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(one))
    else:
        click.echo(f"offer {one['id']} of {one['model']}: {_describe_standing(one)}")


def _change(
    market_url: str, key_file: Path | None, offer_id: str, body: dict[str, Any], *, as_json: bool
) -> None:
    changed = open_seller(market_url, key_file).ask("PATCH", f"/v1/seller/offers/{offer_id}", body)
    _tell_offer(changed, as_json=as_json)


@sell.command("price")
@_offer
@_with_prices
@url_option
@seller_key_option
@json_option
def price(
    offer_id: str,
    market_url: str,
    key_file: Path | None,
    as_json: bool,
    **prices: int | None,
) -> None:
    """Change an offer's prices, cap or quota; what is not named stays."""
    body = _read_prices(prices)
    if not body:
        raise click.UsageError("name a price, --cap-day or --quota")
    _change(market_url, key_file, offer_id, body, as_json=as_json)


@sell.command("pause")
@_offer
@url_option
@seller_key_option
@json_option
def pause(offer_id: str, market_url: str, key_file: Path | None, as_json: bool) -> None:
    """Take an offer off sale until `resume`. What is being served is finished."""
    _change(market_url, key_file, offer_id, {"status": "paused"}, as_json=as_json)


@sell.command("resume")
@_offer
@url_option
@seller_key_option
@json_option
def resume(offer_id: str, market_url: str, key_file: Path | None, as_json: bool) -> None:
    """Put a paused offer on sale again."""
    _change(market_url, key_file, offer_id, {"status": "active"}, as_json=as_json)


@sell.command("rotate")
@_offer
@_provider_key
@url_option
@seller_key_option
@json_option
def rotate(
    offer_id: str,
    provider_key_file: Path | None,
    market_url: str,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Give an offer another key of its provider; the old one is erased."""
    body = {"api_key": _read_provider_key(provider_key_file)}
    _change(market_url, key_file, offer_id, body, as_json=as_json)


@sell.command("remove")
@_offer
@url_option
@seller_key_option
@json_option
def remove(offer_id: str, market_url: str, key_file: Path | None, as_json: bool) -> None:
    """Take an offer down for good; its provider's key is erased."""
    done = open_seller(market_url, key_file).ask("DELETE", f"/v1/seller/offers/{offer_id}")
    click.echo(json.dumps(done) if as_json else f"offer {offer_id} is removed")


sell.add_command(earnings)
sell.add_command(payouts)
