"""The market's secret is rotated: what the old secret signed holds while it is among the previous.

::

    a challenge, a job's token, an idempotency key of an offer and of a job
    ├── the old secret is a previous one: they hold as before
    └── it is taken out: they hold no more
"""

from pathlib import Path
from typing import Any, Final

import httpx
from eth_account.messages import encode_defunct

from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.market import (
    PRICES,
    SECRET,
    SELLER,
    RunningMarket,
    bearer,
    make_settings,
    run_market,
)
from tests.support.media import MEDIA_PRICES, VIDEO_MODEL

NEW: Final = "0e5f7a9c3b1d2846f7a1c3e5097b6d8e"
SUBMIT: Final = "/v1/video/generations"
OFFER: Final = {
    "model": VIDEO_MODEL,
    "api_key": "sk-seller",
    "unit": "second",
    "price_per_unit": "0.1",
}


async def sign_challenge(market: RunningMarket) -> dict[str, str]:
    """Return a challenge as a wallet has signed it."""
    answer = await market.client.get(f"/v1/seller/auth/challenge?address={SELLER.address}")
    message = answer.json()["message"]
    signed = SELLER.sign_message(encode_defunct(text=message)).signature.to_0x_hex()
    return {"message": message, "signature": signed}


async def submit(market: RunningMarket, key: str, prompt: str = "a cat") -> httpx.Response:
    """Submit a job with an idempotency key."""
    body = {"model": VIDEO_MODEL, "prompt": prompt, "seconds": "8"}
    headers = {**bearer(key), "idempotency-key": "once"}
    return await market.client.post(SUBMIT, json=body, headers=headers)


async def list_offer(market: RunningMarket, key: str, url: str, **changes: Any) -> httpx.Response:
    """List an offer with an idempotency key."""
    body = {**OFFER, "seller_base_url": url, **changes}
    headers = {**bearer(key), "idempotency-key": "once"}
    return await market.client.post("/v1/seller/offers", json=body, headers=headers)


async def test_secret__rotated__what_the_old_one_signed_holds_while_it_is_a_previous_one(
    tmp_path: Path,
) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    (tmp_path / "prices.toml").write_text(PRICES + MEDIA_PRICES)
    async with FakeEndpoint() as studio:
        async with run_market(make_settings(tmp_path), engine) as market:
            seller, buyer = await market.get_key(), await market.get_buyer_key()
            offer = (await list_offer(market, seller, studio.url)).json()
            job = (await submit(market, buyer)).json()
            challenge, late_challenge = await sign_challenge(market), await sign_challenge(market)
        path = f"{SUBMIT}/{job['id']}"

        rotated = make_settings(tmp_path, secret=NEW, secrets_previous=SECRET)
        async with run_market(rotated, engine) as market:
            signed_in = await market.client.post("/v1/seller/auth/keys", json=challenge)
            assert signed_in.status_code == 201, signed_in.text
            assert (await list_offer(market, seller, studio.url)).json()["id"] == offer["id"]
            other = await list_offer(market, seller, studio.url, price_per_unit="0.2")
            assert other.json()["error"]["code"] == "idempotency_conflict"
            assert (await submit(market, buyer)).json()["id"] == job["id"]
            changed = await submit(market, buyer, "a dog")
            assert changed.json()["error"]["code"] == "idempotency_conflict"
            assert len(studio.requests) == 1
            known = await market.client.get(path, headers=bearer(job["job_token"]))
            assert known.status_code == 200
            assert known.json()["job_token"] != job["job_token"], "the new secret signs"

        async with run_market(make_settings(tmp_path, secret=NEW), engine) as market:
            signed_in = await market.client.post("/v1/seller/auth/keys", json=late_challenge)
            assert (signed_in.status_code, signed_in.json()["error"]["code"]) == (
                401,
                "challenge_expired",
            )
            unknown = await market.client.get(path, headers=bearer(job["job_token"]))
            assert unknown.status_code == 401
            # Keys are stored as hashes: they need no secret.
            assert (await market.client.get(path, headers=bearer(buyer))).status_code == 200
    engine.dispose()
