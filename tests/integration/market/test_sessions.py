"""Conversations that stay with one seller, over HTTP.

::

    turns       of one conversation go to one seller, in any process
    a seller    that rests, or is too dear, has no session
    credit      that pays for the cheapest only buys from it
    explain     says why an offer comes before the cheapest
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.support.answers import MODEL
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.market import (
    OUTSIDER,
    SELLER,
    RunningMarket,
    bearer,
    make_settings,
    run_market,
)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    yield engine
    engine.dispose()


@pytest.fixture
async def market(engine: Engine, tmp_path: Path) -> AsyncIterator[RunningMarket]:
    """A market whose sellers of a conversation may be 5 % dearer."""
    async with run_market(make_settings(tmp_path, session_premium_pct=5), engine) as running:
        yield running


@pytest.fixture
async def seller() -> AsyncIterator[FakeEndpoint]:
    async with FakeEndpoint() as seller:
        yield seller


async def list_two(
    market: RunningMarket, seller: FakeEndpoint, dearer: str = "20.9"
) -> tuple[str, str]:
    """List an offer of each of two sellers; return their ids, the cheaper one first."""
    cheap = await market.list_offer(await market.get_key(SELLER), seller.url)
    dear = await market.list_offer(
        await market.get_key(OUTSIDER), seller.url, price_output_per_1m=dearer
    )
    return cheap["id"], dear["id"]


async def ask(market: RunningMarket, key: str, **changes: Any) -> str:
    """Return the offer that served."""
    answer = await market.chat(key, **changes)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-market-offer"]


def say(number: int, turns: int = 1) -> list[dict[str, Any]]:
    """Return the messages of a conversation after some turns."""
    messages = [{"role": "user", "content": f"Conversation {number}."}]
    for turn in range(1, turns):
        messages += [{"role": "assistant", "content": "Hello."}]
        messages += [{"role": "user", "content": f"Turn {turn}."}]
    return messages


async def find_name(market: RunningMarket, key: str, offer_id: str) -> str:
    """Return the name of a session that an offer's seller has."""
    for number in range(64):
        params = {"model": MODEL, "session": f"name-{number}"}
        answer = await market.client.get("/v1/route/explain", params=params, headers=bearer(key))
        if answer.json()["ranked"][0]["offer_id"] == offer_id:
            return params["session"]
    raise AssertionError("of 64 sessions not one goes to this seller")


async def test_conversations__of_several_turns__stay_with_one_seller_in_any_process(
    market: RunningMarket, engine: Engine, seller: FakeEndpoint, tmp_path: Path
) -> None:
    both = set(await list_two(market, seller))
    key = await market.get_buyer_key()
    settings = make_settings(tmp_path, session_premium_pct=5)
    async with run_market(settings, engine) as other:
        first = [await ask(market, key, messages=say(number)) for number in range(12)]
        second = [await ask(other, key, messages=say(number, 2)) for number in range(12)]
    third = [await ask(market, key, messages=say(number, 3)) for number in range(12)]

    assert first == second == third
    assert set(first) == both, "each seller has some of the conversations"


async def test_conversations__premium_of_0__all_go_to_the_cheapest(
    engine: Engine, seller: FakeEndpoint, tmp_path: Path
) -> None:
    async with run_market(make_settings(tmp_path, session_premium_pct=0), engine) as market:
        cheap, _ = await list_two(market, seller)
        key = await market.get_buyer_key()
        served = {await ask(market, key, messages=say(number)) for number in range(12)}
    assert served == {cheap}


async def test_session__named_in_any_way__goes_where_explain_says_and_says_why(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    cheap, dear = await list_two(market, seller)
    key = await market.get_buyer_key()
    name = await find_name(market, key, dear)

    params = {"model": MODEL, "session": name}
    explained = (
        await market.client.get("/v1/route/explain", params=params, headers=bearer(key))
    ).json()["ranked"]
    assert [(one["offer_id"], one["why"]) for one in explained] == [
        (dear, "stays with its session's seller"),
        (cheap, None),
    ]
    anonymous = (await market.client.get("/v1/route/explain", params=params)).json()["ranked"]
    assert [one["offer_id"] for one in anonymous] == [cheap, dear]

    assert await ask(market, key, prompt_cache_key=name) == dear
    assert await ask(market, key, user=name) == dear
    by_header = await market.client.post(
        "/v1/chat/completions",
        json={"model": MODEL, "messages": say(1), "max_tokens": 100, "stream": True},
        headers={**bearer(key), "x-session-id": name},
    )
    assert by_header.headers["x-market-offer"] == dear
    assert "x-session-id" not in seller.headers[-1]


async def test_session__seller_that_fails__the_next_one_serves_while_it_rests(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    cheap, dear = await list_two(market, seller)
    key = await market.get_buyer_key()
    name = await find_name(market, key, dear)
    seller.script.append("status_500")

    failed_over = await market.chat(key, user=name)

    assert failed_over.headers["x-market-offer"] == cheap
    assert failed_over.headers["x-market-attempts"] == "2"
    assert await ask(market, key, user=name) == cheap
    market.front.app.state.services.book.end(dear, well=True)
    assert await ask(market, key, user=name) == dear


async def test_session__rules_that_keep_its_seller_out__hold(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    cheap, dear = await list_two(market, seller)
    key = await market.get_buyer_key()
    name = await find_name(market, key, dear)

    assert await ask(market, key, user=name, routing={"max_price_output_per_1m": 20}) == cheap
    # Half of 10 and 40: the cheap offer is 50 % below, the dear one less.
    discounted = await market.chat(key, path="/min50/v1/chat/completions", user=name)
    assert discounted.headers["x-market-offer"] == cheap
    path = f"/v1/seller/offers/{dear}"
    headers = bearer(await market.get_key(OUTSIDER))
    dearer = {"price_output_per_1m": "21.2"}
    await market.client.patch(path, json=dearer, headers=headers)
    assert await ask(market, key, user=name) == cheap, "it is more than 5 % dearer now"


async def test_session__credit_for_the_cheapest_only__buys_from_the_cheapest(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    cheap, dear = await list_two(market, seller)
    key = await market.get_buyer_key(credit_usdc=0)
    name = await find_name(market, key, dear)
    refused = (await market.chat(key, routing={"only": [cheap]}, user=name)).json()
    needed_usdc = refused["required_usdc"]
    assert refused["error"]["code"] == "credit_spent"
    await market.get_buyer_key(credit_usdc=needed_usdc)

    assert await ask(market, key, user=name) == cheap
    short = await market.chat(key, user=name)
    assert short.json()["error"]["code"] == "credit_spent"
    assert short.json()["required_usdc"] == needed_usdc, "what the cheapest takes"
