"""A stolen API key of a seller or a buyer carries no provider's key off to another address.

::

    PATCH of a base URL ── an offer's, an own provider's
    ├── another place, without the provider's key: 400, nothing is changed, nothing is called
    ├── the same place in another spelling: taken, and the provider's key is still sent there only
    └── another place, with a key: that key goes there, the old one is erased
"""

from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.answers import MODEL, PROVIDER_KEY
from tests.support.endpoint import FakeEndpoint
from tests.support.market import RunningMarket, bearer

EVIL_KEY: Final = "sk-of-the-thief"
KINDS: Final = ("offer", "own provider")


class Listing:
    """An offer or an own provider, as whoever holds the account's API key changes it."""

    def __init__(self, market: RunningMarket, path: str, key: str, field: str) -> None:
        self._market = market
        self._path = path
        self._headers = bearer(key)
        self._field = field

    async def move(self, url: str, **more: Any) -> httpx.Response:
        body = {self._field: url, **more}
        return await self._market.client.patch(self._path, json=body, headers=self._headers)

    async def get_url(self) -> str:
        """Return the stored address: a change of nothing else shows it."""
        answer = await self._market.client.patch(
            self._path, json={"status": "active"}, headers=self._headers
        )
        return str(answer.json()[self._field])


async def list_as(kind: str, market: RunningMarket, url: str, buyer_key: str) -> Listing:
    if kind == "offer":
        seller_key = await market.get_key()
        offer = await market.list_offer(seller_key, url)
        return Listing(market, f"/v1/seller/offers/{offer['id']}", seller_key, "seller_base_url")
    body = {
        "base_url": url,
        "api_key": PROVIDER_KEY,
        "models": {MODEL: MODEL},
        "position": "priority",
    }
    made = await market.client.post("/v1/buyer/providers", json=body, headers=bearer(buyer_key))
    path = f"/v1/buyer/providers/{made.json()['id']}"
    return Listing(market, path, buyer_key, "base_url")


@pytest.mark.parametrize("kind", KINDS)
async def test_move__without_the_providers_key__goes_nowhere(
    market: RunningMarket, kind: str
) -> None:
    async with FakeEndpoint() as honest, FakeEndpoint() as evil:
        buyer_key = await market.get_buyer_key()
        listing = await list_as(kind, market, honest.url, buyer_key)
        port = urlsplit(honest.url).port
        moves = (
            evil.url,
            honest.url + "/deeper",
            honest.url.rpartition("/")[0],
            honest.url.upper().replace("HTTP://", "http://"),
            f"http://localhost:{port}/v1",
            f"http://[::1]:{port}/v1",
            f"https://127.0.0.1:{port}/v1",
            f"{honest.url}/../v1",
        )
        for url in moves:
            moved = await listing.move(url)
            assert (moved.status_code, moved.json()["error"]["param"]) == (400, "api_key"), url
            assert (await listing.move(url, api_key=None)).status_code == 400
        for url in (f"http://user:pass@127.0.0.1:{port}/v1", honest.url + "?x", honest.url + "#x"):
            assert (await listing.move(url)).status_code == 400, url

        assert await listing.get_url() == honest.url
        assert (await market.chat(buyer_key)).status_code == 200
        assert evil.keys == []
        assert honest.keys == [f"Bearer {PROVIDER_KEY}"]


@pytest.mark.parametrize("kind", KINDS)
async def test_move__to_the_same_place_in_another_spelling__is_no_move(
    market: RunningMarket, kind: str
) -> None:
    async with FakeEndpoint() as honest:
        buyer_key = await market.get_buyer_key()
        listing = await list_as(kind, market, honest.url, buyer_key)

        for url in (honest.url, honest.url + "/", honest.url.replace("http://", "HTTP://")):
            assert (await listing.move(url)).status_code == 200, url

        assert await listing.get_url() == honest.url
        assert (await market.chat(buyer_key)).status_code == 200
        assert honest.keys == [f"Bearer {PROVIDER_KEY}"]


@pytest.mark.parametrize("kind", KINDS)
async def test_move__with_a_key__takes_that_key_and_erases_the_old_one(
    market: RunningMarket, kind: str
) -> None:
    async with FakeEndpoint() as honest, FakeEndpoint() as evil:
        buyer_key = await market.get_buyer_key()
        listing = await list_as(kind, market, honest.url, buyer_key)

        moved = await listing.move(evil.url, api_key=EVIL_KEY)
        back = await listing.move(honest.url)

        assert moved.status_code == 200, moved.text
        assert back.json()["error"]["param"] == "api_key", "nor does the thief's follow"
        assert (await market.chat(buyer_key)).status_code == 200
        assert (honest.keys, evil.keys) == ([], [f"Bearer {EVIL_KEY}"])
