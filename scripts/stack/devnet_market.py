"""The devnet's market: the local model is what one seller lists, the proxy the first buyer."""

import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount

from contracts.units import USDC_ONE
from ledger.database.engine import open_engine
from market.operator import (
    OPERATOR_ACCOUNT,
    agree_trust,
    approve_api_name,
    credit,
    issue_operator_key,
)
from scripts.asking import answers_well
from scripts.stack.devnet_api import API_NAME, connect_api, start_api
from scripts.stack.mail_server import MAILBOX
from scripts.stack.model import MODEL_ID
from scripts.stack.ports import port_is_free, preferred_port
from scripts.stack.processes import Stack
from scripts.stack.run_directory import keep_secret

MAIL_PORT: Final = 8425
MODEL_API_KEY: Final = "the-local-model-asks-for-none"
ROOT: Final = Path(__file__).resolve().parents[2]
OPERATOR_CREDIT_USDC: Final = 1_000_000 * USDC_ONE
COST_MULTIPLIER: Final = "0.5"
"""The seller asks for half of the reference price."""


def start_market(
    stack: Stack,
    *,
    common: Mapping[str, str],
    prices: Path,
    model_url: str,
    seller: LocalAccount,
    port: int,
    restart: bool,
) -> tuple[str, Path]:
    """Start a market that sells the local model; return its URL and the file with the buyer's key.

    Again over the same folder, the same seller, offer and key are used. Raises ``HTTPError`` where
    the market refuses the seller.
    """
    folder, url = stack.directory.path, f"http://127.0.0.1:{port}"
    secret = keep_secret(folder / "market_secret", secrets.token_hex(32))
    kms = keep_secret(folder / "market_kms", f"devnet {secrets.token_hex(32)}")
    mail_port = preferred_port(MAIL_PORT)
    stack.start(
        "mail",
        [
            sys.executable,
            "-m",
            "scripts.stack.mail_server",
            str(mail_port),
            str(folder / MAILBOX),
        ],
        ready=lambda: not port_is_free(mail_port),
        cwd=ROOT,
        usual_s=1,
        restart=restart,
    )
    stack.start(
        "market",
        [sys.executable, "-m", "market"],
        env={
            **common,
            "MARKET_PORT": str(port),
            "MARKET_PUBLIC_URL": url,
            "MARKET_SECRET_FILE": str(secret),
            "MARKET_KMS": f"file:{kms}",
            "MARKET_PRICES_FILE": str(prices),
            "MARKET_ALLOW_LOOPBACK": "true",
            "MARKET_SMTP_URL": f"smtp://127.0.0.1:{mail_port}",
            # The local model answers on a processor that others may be using too.
            "MARKET_READ_TIMEOUT_S": "170",
            "MARKET_PAYOUT_INTERVAL_S": "2",
            "MARKET_PAYOUT_MINIMUM_USDC": "1",
            # Its model is of grade D, and its seller is to be seen paid.
            "MARKET_VESTING_S": "0",
        },
        ready=lambda: answers_well(f"{url}/readyz"),
        cwd=ROOT,
        usual_s=5,
        restart=restart,
    )
    key_file, seller_key_file = folder / "market_buyer_key", folder / "market_seller_key"
    with httpx.Client(base_url=url, timeout=20) as client:
        if not seller_key_file.exists():
            keep_secret(seller_key_file, _sign_in(client, seller))
        engine = open_engine(common["MARKET_LEDGER_URL"])
        if not key_file.exists():
            key = issue_operator_key(engine)
            credit(engine, OPERATOR_ACCOUNT, OPERATOR_CREDIT_USDC, "devnet")
            keep_secret(key_file, key)
        # Before its offer is listed: then the market need not look again to know.
        agree_trust(engine, seller.address, is_trusted=True)
        approve_api_name(engine, API_NAME, seller.address)
        engine.dispose()
        client.headers["authorization"] = f"Bearer {seller_key_file.read_text(encoding='ascii')}"
        _list_model(client, model_url)
        api_url, api_key = start_api(stack, common=common, restart=restart)
        connect_api(client, url=api_url, api_key=api_key)
    return url, key_file


def _list_model(client: httpx.Client, model_url: str) -> None:
    """List the model by the seller's client, or say where it is this time."""
    offers = _read(client.get("/v1/seller/offers"))["offers"]
    if offers:
        # A new place is told the provider's key again: the market sends it nowhere else.
        changes = {"seller_base_url": model_url, "api_key": MODEL_API_KEY}
        _read(client.patch(f"/v1/seller/offers/{offers[0]['id']}", json=changes))
        return
    offer = {
        "model": MODEL_ID,
        "api_key": MODEL_API_KEY,
        "seller_base_url": model_url,
        "cost_multiplier": COST_MULTIPLIER,
        "label": "local-model",
    }
    _read(client.post("/v1/seller/offers", json=offer))


def _sign_in(client: httpx.Client, seller: LocalAccount) -> str:
    challenge = _read(client.get(f"/v1/seller/auth/challenge?address={seller.address}"))
    message = challenge["message"]
    signature = seller.sign_message(encode_defunct(text=message)).signature.to_0x_hex()
    body = {"message": message, "signature": signature, "label": "devnet"}
    return str(_read(client.post("/v1/seller/auth/keys", json=body))["api_key"])


def _read(answer: httpx.Response) -> dict[str, Any]:
    answer.raise_for_status()
    read: dict[str, Any] = answer.json()
    return read
