"""What a seller earned and was paid, as commands of ``current sell``."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import click

from scripts.market_asking import SELLER_KEY_VARIABLE, Market, read_key
from scripts.wallet.market_options import seller_key_option, tell, tell_rows, url_option
from scripts.wallet.options import json_option
from serving.process.command_line import command

PAGE: Final = 500


def open_seller(market_url: str, key_file: Path | None) -> Market:
    """Return a market, asked with a seller's key. Raises ``MarketKeyMissing``."""
    return Market(market_url, read_key(SELLER_KEY_VARIABLE, key_file))


@command("earnings")
@click.option("--from-s", type=click.IntRange(0), help="Only from this Unix second on.")
@click.option("--until-s", type=click.IntRange(0), help="Only before this Unix second.")
@url_option
@seller_key_option
@json_option
def earnings(
    from_s: int | None,
    until_s: int | None,
    market_url: str,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Add up what was sold: requests, charges, fee and earnings, also by model or API.

    The sales one by one: `GET /v1/seller/earnings.csv`.
    """
    found = dict.fromkeys(("requests", "cost_usdc", "fee_usdc", "earning_usdc"), 0)
    earned: Counter[str] = Counter()
    market = open_seller(market_url, key_file)
    for page in _pages(market, from_s=from_s, until_s=until_s):
        unpaid_usdc = page["totals"]["unpaid_usdc"]
        for sale in page["earnings"]:
            found["requests"] += 1
            for name in ("cost_usdc", "fee_usdc", "earning_usdc"):
                found[name] += sale[name]
            earned[sale["model"] or sale["connection"]] += sale["earning_usdc"]
    told = {**found, "unpaid_in_all_usdc": unpaid_usdc}
    if as_json:
        click.echo(json.dumps({**told, "by_model_usdc": dict(earned)}))
        return
    tell(told, as_json=False)
    tell({f"of {model}_usdc": amount for model, amount in sorted(earned.items())}, as_json=False)


@command("payouts")
@click.option("--policy", type=click.Choice(["at_once", "daily"]), help="Set when to be paid.")
@url_option
@seller_key_option
@json_option
def payouts(policy: str | None, market_url: str, key_file: Path | None, as_json: bool) -> None:
    """List payouts with their transactions, and what is not in one yet (`accrued`, `vesting`)."""
    market = open_seller(market_url, key_file)
    if policy is not None:
        market.ask("PATCH", "/v1/seller/account", {"payout_policy": policy})
    found: dict[tuple[str | None, ...], dict[str, Any]] = {}
    for page in _pages(market):
        for sale in page["earnings"]:
            # Without a payout some are accrued and some vest, and each offer has its own payee.
            row = found.setdefault(
                (sale["payout_id"], sale["payout_state"], sale["payout_address"]),
                {
                    "payout_id": sale["payout_id"],
                    "state": sale["payout_state"],
                    "payee": sale["payout_address"],
                    "transaction": sale["payout_tx_hash"],
                    "earning_usdc": 0,
                },
            )
            row["earning_usdc"] += sale["earning_usdc"]
    kept = market.ask("GET", "/v1/seller/account")["payout_policy"]
    rows = list(found.values())
    if as_json:
        click.echo(json.dumps({"policy": kept, "payouts": rows}))
        return
    from contracts.units import format_usdc

    click.echo(f"paid {'when the least is reached' if kept == 'at_once' else 'daily'}")
    shown = [{**row, "usdc": format_usdc(row["earning_usdc"])} for row in rows]
    columns = ("state", "usdc", "payee", "transaction")
    tell_rows(shown, columns, nothing="Nothing was sold yet.")


def _pages(market: Market, **bounds: int | None) -> Iterator[dict[str, Any]]:
    """Yield the pages of earnings; there is at least one."""
    query: dict[str, Any] = {name: at_s for name, at_s in bounds.items() if at_s is not None}
    query["limit"] = PAGE
    while True:
        page = market.ask("GET", f"/v1/seller/earnings?{urlencode(query)}")
        yield page
        if page["next_cursor"] is None:
            return
        query["cursor"] = page["next_cursor"]
