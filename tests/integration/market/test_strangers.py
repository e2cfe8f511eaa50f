"""The market among strangers: what a seller says or does costs nobody else anything.

::

    labels    pass no filter
    models    a known model is sold as what it is: a wrong name is refused when it is listed, and
              an answer of another model is a failed attempt, whole or streamed; three in a row
              suspend
    approval  a seller that the operator has not approved is sent nothing and listed nowhere, unless
              the request, its key or the market says otherwise; then its word counts for little
    lists     what strangers list is behind all others, a page at a time, and of one model bounded;
              an explanation counts them and looks at none
    failures  forty offers of one wallet are one seller; a change heals nothing; a loop is nobody's
    places    whoever has paid is served beside strangers who hold all that strangers may, also by
              a market that has just started
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from market.operator import agree_trust, list_sellers, note_seller, resume_offer
from tests.support.answers import MODEL
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.market import (
    BUYER,
    OUTSIDER,
    SELLER,
    RunningMarket,
    bearer,
    make_body,
    make_settings,
    run_market,
)
from tests.support.waiting import until

OPUS: Final = "claude-opus-4.6"
CHEAP: Final = {"price_input_per_1m": 1, "price_output_per_1m": 1}


@pytest.fixture
async def honest() -> AsyncIterator[FakeEndpoint]:
    """An honest seller's endpoint."""
    async with FakeEndpoint(text="An honest answer.") as endpoint:
        yield endpoint


@pytest.fixture
async def stranger() -> AsyncIterator[FakeEndpoint]:
    """A stranger's endpoint."""
    async with FakeEndpoint(text="A stranger's answer.") as endpoint:
        yield endpoint


async def test_places__strangers_hold_all_of_theirs__who_has_paid_is_served_after_a_restart(
    tmp_path: Path, honest: FakeEndpoint, stranger: FakeEndpoint
) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    settings = make_settings(tmp_path, requests_in_flight_max=4)
    async with run_market(settings, engine) as market:
        await market.list_offer(await market.get_key(), honest.url)
        key = await market.get_buyer_key()
        free = await market.get_key(OUTSIDER, "buyer")
        own = {
            "base_url": stranger.url,
            "api_key": "sk-own",
            "models": {MODEL: "own-name"},
            "position": "priority",
        }
        added = await market.client.post("/v1/buyer/providers", json=own, headers=bearer(free))
        assert added.status_code == 201

    stranger.behaviour = "slow"
    async with run_market(settings, engine) as market:
        held = [asyncio.create_task(market.chat(free)) for _ in range(3)]
        await until(lambda: len(stranger.requests) == 3, "the stranger's requests hang")
        refused, served = await market.chat(free), await market.chat(key)
        stranger.release.set()
        await asyncio.gather(*held)
    engine.dispose()

    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert served.status_code == 200


async def test_labels__of_a_stranger__pass_no_filter(
    market: RunningMarket, honest: FakeEndpoint, stranger: FakeEndpoint
) -> None:
    key = await market.get_buyer_key()
    offer = await market.list_offer(await market.get_key(), honest.url)
    seller = (await market.client.get("/feed")).json()["events"][0]
    assert (seller["provider"], seller["label"]) == ("127.0.0.1", "")
    outsider = await market.get_key(OUTSIDER)
    for field, label in (("provider", "openai"), ("label", offer["id"])):
        listed = await market.list_offer(outsider, stranger.url, **CHEAP, **{field: label})
        assert (listed["provider"], listed["label"]) == ("127.0.0.1", label)

    refused = await market.chat(key, routing={"only": ["openai"]})
    chosen = await market.chat(key, routing={"only": [f"offer:{offer['id']}"]})
    bare = await market.chat(key, routing={"only": [offer["id"]]})
    ignored = await market.chat(key, routing={"ignore": [f"seller:{OUTSIDER.address}"]})
    odd = await market.chat(key, routing={"only": ["label:openai"]})

    assert refused.json()["error"]["code"] == "no_seller_matches"
    assert {one.headers["x-market-offer"] for one in (chosen, bare, ignored)} == {offer["id"]}
    assert (odd.status_code, odd.json()["error"]["param"]) == (400, "routing.only")


@pytest.mark.parametrize("stream", [False, True])
async def test_model__another_one_answers__is_not_charged_and_suspends(
    market: RunningMarket, honest: FakeEndpoint, stranger: FakeEndpoint, stream: bool
) -> None:
    key, outsider = await market.get_buyer_key(), await market.get_key(OUTSIDER)
    good = await market.list_offer(await market.get_key(), honest.url, model=OPUS)
    bad = await market.list_offer(outsider, stranger.url, model=OPUS, **CHEAP)
    stranger.calls_itself = "gpt-4o-mini-2024-07-18"

    path = f"/v1/seller/offers/{bad['id']}"

    async def see_suspension() -> Any:
        shown = await market.client.get(path, headers=bearer(outsider))
        return shown.json()["suspended_for"]

    assert await see_suspension() is None
    served = await market.chat(key, model=OPUS, stream=stream)

    assert served.headers["x-market-offer"] == good["id"]
    assert (served.headers["x-market-grade"], served.headers["x-market-host"]) == ("D", "127.0.0.1")
    assert served.headers["x-market-seller"] == good["payout_address"].lower()
    sales = await market.settled_sales()
    told = [(sale["state"], sale["void_reason"], sale["is_seller_failure"]) for sale in sales]
    assert told == [("voided", "wrong_model", True), ("posted", None, False)]
    book = market.front.app.state.services.book
    place = book.get_live(bad["id"]).place
    assert book.find_health(bad["id"]).cause == "wrong_model"
    assert "gpt-4o-mini-2024-07-18" in await see_suspension()

    # Neither time nor a change of the offer lets it back, only the operator does.
    stranger.calls_itself = None
    changed = await market.client.patch(path, json={"cap_daily_usd": 5}, headers=bearer(outsider))
    assert changed.status_code == 200
    assert (await market.chat(key, model=OPUS)).headers["x-market-offer"] == good["id"]
    assert "lets" in resume_offer(market.engine, bad["id"])
    await book.refresh()
    book.health.succeed(place)
    assert (await market.chat(key, model=OPUS)).headers["x-market-offer"] == bad["id"]


async def test_grade__minimum_above_every_seller_s__is_told_and_listed_nowhere(
    market: RunningMarket, honest: FakeEndpoint
) -> None:
    key = await market.get_buyer_key()
    offer = await market.list_offer(await market.get_key(), honest.url)
    floor = {"x-market-min-grade": "b"}

    async def ask(headers: Any, **body: Any) -> Any:
        wish = {**make_body(), **body}
        path = "/v1/chat/completions"
        return await market.client.post(path, json=wish, headers={**bearer(key), **headers})

    by_body = await ask({}, routing={"minimum_grade": "B"})
    # The header of a gateway holds whatever the buyer wrote.
    by_header = await ask(floor, routing={"minimum_grade": "D"})
    odd = await ask({"x-market-min-grade": "E"})
    served = await ask({"x-market-min-grade": "D"})

    for refused in (by_body, by_header):
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_seller_of_grade")
        assert refused.json()["dropped"] == {"grade": 1}
    assert (odd.status_code, odd.json()["error"]["code"]) == (400, "invalid_header")
    assert (offer["grade"], served.headers["x-market-grade"]) == ("D", "D")
    listed = (await market.client.get("/v1/models")).json()["data"]
    assert [(one["id"], one["grades"]) for one in listed] == [(MODEL, ["D"])]
    for path in ("/v1/models", "/v1/prices"):
        assert (await market.client.get(path, headers=floor)).json()["data"] == []
    explained = await market.client.get(
        "/v1/route/explain", params={"model": MODEL, "minimum_grade": "B"}
    )
    dropped = explained.json()["dropped"]
    assert [(one["grade"], one["reason"]) for one in dropped] == [("D", "grade")]


async def test_lists__strangers_of_one_model__are_last_counted_and_bounded(
    tmp_path: Path, honest: FakeEndpoint, stranger: FakeEndpoint
) -> None:
    settings = make_settings(tmp_path, trusted_only=True, model_offers_max=3)
    async with run_market(settings, make_ledger(tmp_path / "ledger.sqlite3")) as market:
        good = await market.list_offer(await market.get_key(), honest.url)
        outsider = await market.get_key(OUTSIDER, is_approved=False)
        odd = [await market.list_offer(outsider, stranger.url, **CHEAP) for _ in range(3)]
        more = await market.client.post(
            "/v1/seller/offers",
            json={
                "model": MODEL,
                "api_key": "sk-more",
                "seller_base_url": stranger.url,
                **CHEAP,
            },
            headers=bearer(outsider),
        )
        assert (more.status_code, more.json()["error"]["code"]) == (409, "too_many_offers")
        # Another model, and the approved seller's own, are taken.
        await market.list_offer(outsider, stranger.url, model="o3-mini", **CHEAP)
        second = await market.list_offer(await market.get_key(), honest.url)

        shown: list[str] = []
        params: dict[str, Any] = {"limit": 2}
        while True:
            page = (await market.client.get(f"/api/markets/{MODEL}", params=params)).json()
            shown += [offer["offer_id"] for offer in page["offers"]]
            if page["next_cursor"] is None:
                break
            params["cursor"] = page["next_cursor"]
        wrong = await market.client.get(f"/api/markets/{MODEL}?cursor=nothing")
        explained = (await market.client.get(f"/v1/route/explain?model={MODEL}")).json()

    assert shown == [good["id"], second["id"], *(offer["id"] for offer in odd)]
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "invalid_cursor")
    assert [one["offer_id"] for one in explained["ranked"]] == shown[:2]
    assert (explained["dropped"], explained["not_shown"]) == ([], {"untrusted": 3})


async def test_model__a_stream_names_another_one_later__is_not_charged_and_suspends(
    market: RunningMarket, stranger: FakeEndpoint
) -> None:
    key, outsider = await market.get_buyer_key(), await market.get_key(OUTSIDER)
    bad = await market.list_offer(outsider, stranger.url, model=OPUS, **CHEAP)
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1}
    told = [
        {"model": OPUS, "choices": [{"index": 0, "delta": {"content": "Hello"}}]},
        {"model": "gpt-4o-mini", "choices": [{"index": 0, "delta": {"content": " there"}}]},
        {"model": OPUS, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    events = [b"data: " + json.dumps({**chunk, **one}).encode() + b"\n\n" for one in told]
    stranger.events = [*events, b"data: [DONE]\n\n"]

    answer = await market.chat(key, model=OPUS, stream=True)

    assert "Hello" in answer.text and '"cost_usdc":0' in answer.text
    sales = await market.settled_sales()
    assert [(sale["state"], sale["void_reason"]) for sale in sales] == [("voided", "wrong_model")]
    path = f"/v1/seller/offers/{bad['id']}"
    shown = await market.client.get(path, headers=bearer(outsider))
    assert "gpt-4o-mini" in shown.json()["suspended_for"]


async def test_model__listed_under_anothers_name__is_400(
    market: RunningMarket, stranger: FakeEndpoint
) -> None:
    headers = bearer(await market.get_key(OUTSIDER))
    body: dict[str, Any] = {
        "model": OPUS,
        "api_key": "k",
        "seller_base_url": stranger.url,
        **CHEAP,
    }

    async def list_as(upstream_model: str) -> Any:
        wish = {**body, "upstream_model": upstream_model}
        return await market.client.post("/v1/seller/offers", json=wish, headers=headers)

    refused = await list_as("gpt-4o-mini")
    dated = await list_as("claude-opus-4-6-20260205")
    path = f"/v1/seller/offers/{dated.json()['id']}"
    changed = await market.client.patch(path, json={"upstream_model": MODEL}, headers=headers)

    assert (refused.status_code, dated.status_code, changed.status_code) == (400, 201, 400)
    assert refused.json()["error"]["code"] == changed.json()["error"]["code"] == "model_mismatch"


async def test_approval__a_stranger__is_sent_nothing_unless_the_buyer_says_so(
    market: RunningMarket, honest: FakeEndpoint, stranger: FakeEndpoint
) -> None:
    key = await market.get_buyer_key()
    good = await market.list_offer(await market.get_key(), honest.url)
    outsider = await market.get_key(OUTSIDER, is_approved=False)
    own = await market.list_offer(outsider, stranger.url, **CHEAP)
    await market.list_offer(outsider, stranger.url, model="zz-anything", **CHEAP)
    issued = await market.issue_key(BUYER, "buyer", trusted_only=False)
    open_key = issued.json()["api_key"]

    async def ask(key: str, **routing: Any) -> str:
        answer = await market.chat(key, routing=routing or None)
        return str(answer.headers.get("x-market-offer"))

    assert await ask(key) == good["id"]
    assert await ask(open_key) == own["id"]
    assert await ask(open_key, trusted_only=True) == good["id"]
    assert await ask(key, trusted_only=False) == own["id"]
    invented = await market.chat(key, model="zz-anything")
    assert invented.json()["error"]["code"] == "no_trusted_seller"
    models = (await market.client.get("/v1/models")).json()["data"]
    prices = (await market.client.get("/v1/prices")).json()["data"]
    assert [one["id"] for one in models] == [one["id"] for one in prices] == [MODEL]
    assert prices[0]["input_usdc_per_mtok"] == 5_000_000, "not the stranger's"

    [first, second] = list_sellers(market.engine)
    assert first.startswith(f"{OUTSIDER.address.lower()}, pending, ")
    assert ", 2 served, 0 cut, 0 failed, " in first
    assert second.startswith(f"{SELLER.address.lower()}, approved, ")
    assert list_sellers(market.engine, only_pending=True) == [first]
    note_seller(market.engine, OUTSIDER.address, "says he is \x1b[2J honest")
    agree_trust(market.engine, OUTSIDER.address, is_trusted=False)
    assert list_sellers(market.engine, only_pending=True) == []
    [shown] = [one for one in list_sellers(market.engine) if "refused" in one]
    assert shown.endswith("note: says he is ?[2J honest")


async def test_approval__a_strangers_report__is_paid_as_far_as_it_is_shown(
    market: RunningMarket, stranger: FakeEndpoint
) -> None:
    seller_key = await market.get_key(OUTSIDER, is_approved=False)
    key = await market.get_buyer_key()
    await market.list_offer(seller_key, stranger.url)
    stranger.text = "Hi"
    # A long template, and reasoning that is not shown: an honest model may report both.
    stranger.usage = {
        "prompt_tokens": 160,
        "completion_tokens": 100,
        "completion_tokens_details": {"reasoning_tokens": 98},
    }

    async def ask(*streams: bool) -> Any:
        """Ask as often; return what the seller rests for."""
        for stream in streams:
            await market.chat(key, stream=stream, routing={"trusted_only": False})
        log = await market.client.get("/v1/seller/health-log", headers=bearer(seller_key))
        [report] = log.json()["offers"]
        return report["health"]["cause"]

    assert await ask(False, True, False, False, False) is None
    stranger.usage = {"prompt_tokens": 5_000, "completion_tokens": 2}
    assert await ask(False, True, False, False) is None
    assert await ask(False) == "overstated"
    stranger.usage = {**stranger.usage, "prompt_tokens": 160, "completion_tokens": 66}
    agree_trust(market.engine, OUTSIDER.address, is_trusted=True)
    book = market.front.app.state.services.book
    await book.refresh()
    [line] = list_sellers(market.engine)
    await market.chat(key)

    *untrusted, trusted = await market.settled_sales()
    assert [sale["is_cut"] for sale in untrusted] == [False] * 5 + [True] * 5
    assert {sale["completion_tokens"] for sale in untrusted[:5]} == {2 + 64}
    [paid] = {sale["prompt_tokens"] for sale in untrusted}
    assert 100 < paid < 160, "our own count and a quarter, and a template"
    assert (trusted["prompt_tokens"], trusted["completion_tokens"]) == (160, 66)
    assert ", 10 served, 5 cut, 0 failed, " in line


async def test_failures__forty_offers_of_one_wallet__do_not_shut_the_model(
    market: RunningMarket, honest: FakeEndpoint, stranger: FakeEndpoint
) -> None:
    key, outsider = await market.get_buyer_key(), await market.get_key(OUTSIDER)
    good = await market.list_offer(await market.get_key(), honest.url)
    offers = [await market.list_offer(outsider, stranger.url, **CHEAP) for _ in range(40)]
    stranger.behaviour = "status_500"

    first = await market.chat(key)
    asked = len(stranger.requests)
    await market.client.patch(
        f"/v1/seller/offers/{offers[0]['id']}", json={"cap_daily_usd": 5}, headers=bearer(outsider)
    )
    await market.list_offer(outsider, stranger.url, **CHEAP)
    second = await market.chat(key)

    assert first.headers["x-market-offer"] == second.headers["x-market-offer"] == good["id"]
    assert (asked, len(stranger.requests)) == (1, 1)


async def test_loop__by_a_buyers_own_count__rests_no_seller(
    market: RunningMarket, honest: FakeEndpoint, stranger: FakeEndpoint
) -> None:
    key, outsider = await market.get_buyer_key(), await market.get_key(OUTSIDER)
    looped = await market.list_offer(outsider, stranger.url, **CHEAP)
    stranger.behaviour = "status_508"
    book = market.front.app.state.services.book

    async def ask() -> Any:
        headers = {**bearer(key), "x-current-hops": "3"}
        return await market.client.post("/v1/chat/completions", json=make_body(), headers=headers)

    alone = await ask()
    good = await market.list_offer(await market.get_key(), honest.url)
    served = await ask()

    assert (alone.status_code, alone.json()["error"]["code"]) == (502, "sellers_failed")
    assert served.headers["x-market-offer"] == good["id"]
    assert [headers["x-current-hops"] for headers in stranger.headers] == ["4", "4"]
    health = book.find_health(looped["id"])
    assert (health.standing, health.failures) == ("healthy", 0)
    told = [(one["void_reason"], one["is_seller_failure"]) for one in await market.settled_sales()]
    assert told == [("loop_detected", False), ("loop_detected", False), (None, False)]
