"""Buyers' own providers: before the market or after it, exempt from the discount, not charged.

::

    priority ── serves first, also below /min{N}, streamed, without credit; failing, the market does
    fallback ── only when the market cannot: no offer, none cheap enough, all failed, no credit
    health ── one that failed rests; a request that it calls wrong is told when nobody else serves
    theirs only ── of another account nothing is seen, used or changed
    keys ── sealed: in no answer, log or byte of the database
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.answers import MODEL
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import Databases, make_ledger
from tests.support.market import OUTSIDER, RunningMarket, bearer, make_settings, run_market

OWN_KEY = "sk-own-9876543210-unmistakable-too"
DISCOUNT_PATH = "/min60/v1/chat/completions"


@pytest.fixture
async def seller() -> AsyncIterator[FakeEndpoint]:
    """A seller's endpoint."""
    async with FakeEndpoint() as seller:
        yield seller


@pytest.fixture
async def own() -> AsyncIterator[FakeEndpoint]:
    """The buyer's own provider."""
    async with FakeEndpoint(text="From one's own provider.") as own:
        yield own


async def add_provider(
    market: RunningMarket, key: str, own: FakeEndpoint, position: str, **changes: Any
) -> dict[str, Any]:
    """Add a provider of the buyer's own."""
    body = {
        "base_url": own.url,
        "api_key": OWN_KEY,
        "models": {MODEL: "own-name"},
        "position": position,
        **changes,
    }
    answer = await market.client.post("/v1/buyer/providers", json=body, headers=bearer(key))
    assert answer.status_code == 201, answer.text
    described: dict[str, Any] = answer.json()
    return described


def get_text(answer: Any) -> str:
    """Return what a completion says."""
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


async def test_priority__serves_first__exempt_and_free(
    databases: Databases, tmp_path: Path, seller: FakeEndpoint, own: FakeEndpoint
) -> None:
    async with run_market(make_settings(tmp_path), databases.open_ledger()) as market:
        await market.list_offer(await market.get_key(), seller.url)
        key = await market.get_buyer_key(credit_usdc=0)
        provider = await add_provider(market, key, own, "priority")

        plain = await market.chat(key)
        below = await market.chat(key, path=DISCOUNT_PATH)
        streamed = await market.chat(key, stream=True)

        assert get_text(plain) == get_text(below) == own.text
        assert "own " in streamed.text
        assert plain.headers["x-market-own-provider"] == provider["id"]
        assert plain.headers["x-market-cost-usdc"] == "0"
        assert "x-market-offer" not in plain.headers
        assert own.requests[0]["model"] == "own-name"
        assert own.keys == [f"Bearer {OWN_KEY}"] * 3
        assert seller.requests == []
        assert market.sales() == []


async def test_priority__that_fails__the_market_serves_and_it_rests(
    market: RunningMarket, seller: FakeEndpoint, own: FakeEndpoint
) -> None:
    await market.list_offer(await market.get_key(), seller.url)
    key = await market.get_buyer_key()
    await add_provider(market, key, own, "priority")
    own.behaviour = "status_500"

    first = await market.chat(key)
    own.behaviour = "normal"
    second = await market.chat(key)

    assert get_text(first) == get_text(second) == seller.text
    assert len(own.requests) == 1, "it rests"
    listed = (await market.client.get("/v1/buyer/providers", headers=bearer(key))).json()
    assert listed["providers"][0]["health"] == "backing_off"
    assert listed["fee_usdc_per_request"] == 0
    metrics = (await market.client.get("/metrics")).text
    assert 'current_market_byok_requests_total{cause="server"} 1.0' in metrics


async def test_fallback__only_when_the_market_cannot_serve(
    market: RunningMarket, seller: FakeEndpoint, own: FakeEndpoint
) -> None:
    key = await market.get_buyer_key()
    await add_provider(market, key, own, "fallback")
    nobody_sells = await market.chat(key)
    await market.list_offer(await market.get_key(), seller.url)

    cheap_enough = await market.chat(key, path="/min50/v1/chat/completions")
    too_dear = await market.chat(key, path=DISCOUNT_PATH)
    seller.behaviour = "status_500"
    failed = await market.chat(key)
    poor = await market.get_key(OUTSIDER, "buyer")
    other = await market.chat(poor, path=DISCOUNT_PATH)

    assert get_text(nobody_sells) == own.text
    assert get_text(cheap_enough) == seller.text
    assert get_text(too_dear) == get_text(failed) == own.text
    assert other.status_code == 503, "nobody else's request goes there"
    assert len(own.requests) == 3
    assert [sale["state"] for sale in market.sales()] == ["posted", "voided"]


async def test_discount__no_route_of_ones_own_applies__is_told_as_ever(
    market: RunningMarket, seller: FakeEndpoint, own: FakeEndpoint
) -> None:
    await market.list_offer(await market.get_key(), seller.url)
    key = await market.get_buyer_key()
    await add_provider(market, key, own, "fallback", models={"another-model": "x"})
    provider = await add_provider(market, key, own, "fallback")
    path = f"/v1/buyer/providers/{provider['id']}"
    paused = await market.client.patch(path, json={"status": "paused"}, headers=bearer(key))

    answer = await market.chat(key, path=DISCOUNT_PATH)

    assert paused.json()["status"] == "paused"
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "minimum_discount_not_met"


async def test_fallback__for_a_buyer_without_credit__serves(
    market: RunningMarket, seller: FakeEndpoint, own: FakeEndpoint
) -> None:
    await market.list_offer(await market.get_key(), seller.url)
    key = await market.get_buyer_key(credit_usdc=0)
    assert (await market.chat(key)).status_code == 402
    await add_provider(market, key, own, "fallback")
    assert get_text(await market.chat(key)) == own.text


async def test_rejected__by_the_own_provider_alone__its_words_are_told(
    market: RunningMarket, own: FakeEndpoint
) -> None:
    key = await market.get_buyer_key()
    await add_provider(market, key, own, "priority")
    own.behaviour = "status_400"

    answer = await market.chat(key)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert own.url not in answer.text
    own.behaviour = "normal"
    assert get_text(await market.chat(key)) == own.text, "being refused is no failure"


async def test_explain__with_a_key__shows_ones_own_providers_and_no_others(
    market: RunningMarket, seller: FakeEndpoint, own: FakeEndpoint
) -> None:
    await market.list_offer(await market.get_key(), seller.url)
    key = await market.get_buyer_key()
    provider = await add_provider(market, key, own, "priority", label="mine")
    path = f"/v1/route/explain?model={MODEL}"

    mine = (await market.client.get(path, headers=bearer(key))).json()
    other = await market.get_key(OUTSIDER, "buyer")
    theirs = (await market.client.get(path, headers=bearer(other))).json()
    public = (await market.client.get(path)).json()

    assert mine["own_providers"] == [
        {
            "provider_id": provider["id"],
            "label": "mine",
            "position": "priority",
            "health": "healthy",
            "estimated_cost_usdc": 0,
        }
    ]
    assert theirs["own_providers"] == []
    assert public["own_providers"] is None
    assert len(mine["ranked"]) == len(public["ranked"]) == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"base_url": "http://10.0.0.1/v1"}, "base_url_refused"),
        ({"base_url": "https://169.254.169.254/v1"}, "base_url_refused"),
        ({"base_url": "https://u:p@example.com/v1"}, "base_url_refused"),
        ({"api_key": "two\nlines"}, "invalid_type"),
        ({"models": {}}, "invalid_type"),
        ({"models": {"a": 1}}, "invalid_type"),
        ({"models": [["a", "b"]]}, "invalid_type"),
        ({"position": "first"}, "invalid_type"),
        ({"position": ["priority"]}, "invalid_type"),
        ({"secret": 1}, "unknown_field"),
    ],
)
@pytest.mark.sampled(3)
async def test_create__nonsense__is_refused(
    market: RunningMarket, own: FakeEndpoint, changes: dict[str, Any], code: str
) -> None:
    key = await market.get_buyer_key(credit_usdc=0)
    body = {
        "base_url": own.url,
        "api_key": OWN_KEY,
        "models": {MODEL: MODEL},
        "position": "priority",
        **changes,
    }
    answer = await market.client.post("/v1/buyer/providers", json=body, headers=bearer(key))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


async def test_providers__of_another_account__are_not_there(
    market: RunningMarket, own: FakeEndpoint
) -> None:
    key = await market.get_buyer_key(credit_usdc=0)
    provider = await add_provider(market, key, own, "priority")
    other = bearer(await market.get_key(OUTSIDER, "buyer"))
    path = f"/v1/buyer/providers/{provider['id']}"

    listed = await market.client.get("/v1/buyer/providers", headers=other)
    patched = await market.client.patch(path, json={"status": "paused"}, headers=other)
    deleted = await market.client.delete(path, headers=other)
    moved = await market.client.patch(
        path, json={"base_url": "https://example.com/v1"}, headers=bearer(key)
    )

    assert listed.json()["providers"] == []
    assert (patched.status_code, deleted.status_code) == (404, 404)
    assert moved.json()["error"]["param"] == "api_key", "a key does not follow to a new address"
    for _ in range(24):
        await add_provider(market, key, own, "fallback")
    body = {
        "base_url": own.url,
        "api_key": OWN_KEY,
        "models": {MODEL: MODEL},
        "position": "priority",
    }
    one_more = await market.client.post("/v1/buyer/providers", json=body, headers=bearer(key))
    assert (one_more.status_code, one_more.json()["error"]["code"]) == (409, "too_many_providers")


async def test_keys__of_own_providers__are_in_no_answer_and_no_byte_of_the_database(
    tmp_path: Path, own: FakeEndpoint
) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with run_market(make_settings(tmp_path), engine) as market:
        key = await market.get_buyer_key()
        provider = await add_provider(market, key, own, "priority")
        await market.chat(key)
        path = f"/v1/buyer/providers/{provider['id']}"
        answers = [
            (await market.client.get("/v1/buyer/providers", headers=bearer(key))).text,
            (await market.client.patch(path, json={"label": "x"}, headers=bearer(key))).text,
        ]
        assert OWN_KEY not in "".join(answers)
        files = [*tmp_path.glob("ledger.sqlite3*")]
        assert any(provider["id"].encode() in file.read_bytes() for file in files)
        assert not any(OWN_KEY.encode() in file.read_bytes() for file in files)
        with engine.connect() as connection:
            sealed = connection.exec_driver_sql(
                "SELECT ciphertext, wrapped_key FROM market_own_provider_key"
            ).one()
        longer = {"api_key": OWN_KEY + "0" * 200}
        changed = await market.client.patch(path, json=longer, headers=bearer(key))
        assert changed.status_code == 200, changed.text
        for part in sealed:
            assert not any(bytes(part) in file.read_bytes() for file in files), "replaced for good"
        with engine.connect() as connection:
            sealed = connection.exec_driver_sql(
                "SELECT ciphertext, wrapped_key FROM market_own_provider_key"
            ).one()
        assert (await market.client.delete(path, headers=bearer(key))).status_code == 200
        assert (await market.client.delete(path, headers=bearer(key))).status_code == 200
        for part in sealed:
            assert not any(bytes(part) in file.read_bytes() for file in files), "erased for good"
        assert (await market.chat(key)).status_code == 404
    engine.dispose()


async def test_own_provider__the_market_itself_by_another_name__ends_and_the_market_serves(
    tmp_path: Path, seller: FakeEndpoint
) -> None:
    """A loop is counted by the servers on its way, whatever the provider's address is."""
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with run_market(make_settings(tmp_path), engine) as market:
        await market.list_offer(await market.get_key(), seller.url)
        key = await market.get_buyer_key()
        body = {
            "base_url": str(market.client.base_url).rstrip("/") + "/v1",
            "api_key": key,
            "models": {MODEL: MODEL},
            "position": "priority",
        }
        made = await market.client.post("/v1/buyer/providers", json=body, headers=bearer(key))
        assert made.status_code == 201, made.text

        answer = await market.chat(key)

        assert answer.status_code == 200
        assert len(seller.requests) == 1
    engine.dispose()


async def test_own_provider__at_the_markets_own_url__is_refused(
    tmp_path: Path, own: FakeEndpoint
) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with run_market(make_settings(tmp_path, own_urls=own.url), engine) as market:
        key = await market.get_buyer_key()
        body = {
            "base_url": own.url,
            "api_key": OWN_KEY,
            "models": {MODEL: "own-name"},
            "position": "priority",
        }
        answer = await market.client.post("/v1/buyer/providers", json=body, headers=bearer(key))

        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "base_url_refused")
    engine.dispose()
