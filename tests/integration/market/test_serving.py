"""Buyers' requests through a real market to sellers that serve, lie, hang and break off.

::

    chat completions
    ├── served by the cheapest; charged up, earned down, to the unit
    ├── failover: by cause; hidden from the buyer; health; none left
    ├── a seller's word: too high, absurd, none
    ├── streams: whole; broken off after the first byte; before it; buyer leaves
    ├── credit, caps, quotas, keys: refused, never passed under concurrency
    └── minimum discount: grammar, error to the letter
    other endpoints
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from market.pricing.split import split_cost
from serving.models.prices import Price, Tokens
from tests.support.answers import MODEL, PROVIDER_KEY
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import Databases
from tests.support.market import (
    OUTSIDER,
    RunningMarket,
    bearer,
    make_body,
    make_settings,
    run_market,
)
from tests.support.waiting import until, until_nobody_is_served


@pytest.fixture
async def market(databases: Databases, tmp_path: Path) -> AsyncIterator[RunningMarket]:
    """A market of its own."""
    engine = databases.open_ledger()
    async with run_market(make_settings(tmp_path), engine) as running:
        yield running


@pytest.fixture
async def seller() -> AsyncIterator[FakeEndpoint]:
    """A seller's endpoint."""
    async with FakeEndpoint() as seller:
        yield seller


@pytest.fixture
async def dear_seller() -> AsyncIterator[FakeEndpoint]:
    """Another one, for the dearer offer."""
    async with FakeEndpoint(text="From the dearer seller.") as seller:
        yield seller


async def test_chat__two_offers__is_served_by_the_cheaper_and_adds_up(
    market: RunningMarket, seller: FakeEndpoint, dear_seller: FakeEndpoint
) -> None:
    seller_key = await market.get_key()
    await market.list_offer(seller_key, dear_seller.url, price_output_per_1m=21)
    offer = await market.list_offer(seller_key, seller.url, upstream_model="their-name")
    seller.calls_itself = MODEL
    key = await market.get_buyer_key()

    answer = await market.chat(key)

    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == seller.text
    assert answer.headers["x-market-offer"] == offer["id"]
    assert seller.requests[0]["model"] == "their-name"
    assert seller.requests[0]["max_tokens"] == 100
    assert seller.keys == [f"Bearer {PROVIDER_KEY}"]
    assert dear_seller.requests == []
    (sale,) = market.sales()
    split = split_cost(
        Tokens(20, 10), Price(5_000_000, 20_000_000), ceiling_usdc=10**9, fee_bps=500
    )
    assert (sale["cost_usdc"], sale["earning_usdc"], sale["fee_usdc"], sale["margin_usdc"]) == (
        300,
        285,
        15,
        0,
    )
    assert sale["cost_usdc"] == split.cost_usdc
    assert answer.headers["x-market-cost-usdc"] == "300"
    account = await market.account(key)
    assert (account["spent_usdc"], account["reserved_usdc"]) == (300, 0)


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        ("status_401", "auth"),
        ("status_402", "funds"),
        ("status_429", "rate"),
        ("status_500", "server"),
        ("redirect", "bad_format"),
        ("bad_json", "bad_format"),
        ("not_a_completion", "bad_format"),
        ("huge_body", "bad_format"),
        ("hang", "timeout"),
        ("disconnect", "unreachable"),
    ],
)
@pytest.mark.sampled(2)
async def test_chat__cheaper_seller_fails__the_next_serves_and_the_first_rests(
    databases: Databases,
    tmp_path: Path,
    seller: FakeEndpoint,
    dear_seller: FakeEndpoint,
    behaviour: str,
    cause: str,
) -> None:
    settings = make_settings(
        tmp_path, answer_bytes_max=1024**2, read_timeout_s=6.0 if behaviour == "hang" else 60.0
    )
    async with run_market(settings, databases.open_ledger()) as market:
        seller_key = await market.get_key()
        offer = await market.list_offer(seller_key, seller.url)
        await market.list_offer(seller_key, dear_seller.url, price_output_per_1m=21)
        key = await market.get_buyer_key()
        seller.behaviour = behaviour

        first = await market.chat(key)
        second = await market.chat(key)

        for answer in (first, second):
            assert answer.status_code == 200
            assert answer.json()["choices"][0]["message"]["content"] == dear_seller.text
        assert first.headers["x-market-attempts"] == "2"
        assert second.headers["x-market-attempts"] == "1"
        assert len(seller.requests) == 1
        voided, posted, _ = market.sales()
        assert (voided["state"], voided["void_reason"]) == ("voided", cause)
        assert voided["is_seller_failure"]
        assert posted["attempt"] == 1
        log = await market.client.get("/v1/seller/health-log", headers=bearer(seller_key))
        assert [failure["cause"] for failure in log.json()["failures"]] == [cause]
        health = {one["id"]: one["health"] for one in log.json()["offers"]}[offer["id"]]
        assert health["standing"] == "backing_off"
        csv = await market.client.get("/v1/seller/health-log.csv", headers=bearer(seller_key))
        assert csv.text.splitlines()[1].endswith(cause)


async def test_chat__every_seller_fails__is_told_so_and_not_charged(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    seller_key = await market.get_key()
    await market.list_offer(seller_key, seller.url)
    key = await market.get_buyer_key()
    seller.behaviour = "status_500"

    first = await market.chat(key)
    second = await market.chat(key)

    assert (first.status_code, first.json()["error"]["code"]) == (502, "sellers_failed")
    # It rests, but nobody else is there: it is asked again rather than nobody.
    assert (second.status_code, second.json()["error"]["code"]) == (502, "sellers_failed")
    assert len(seller.requests) == 2
    assert PROVIDER_KEY not in first.text
    assert (await market.account(key))["available_usdc"] == 1_000_000_000


@pytest.mark.parametrize("behaviour", ["status_500", "disconnect", "status_401", "bad_json"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.sampled(3)
async def test_chat__lone_seller_is_back__serves_at_once(
    market: RunningMarket, seller: FakeEndpoint, behaviour: str, stream: bool
) -> None:
    await market.list_offer(await market.get_key(), seller.url)
    key = await market.get_buyer_key()
    seller.behaviour = behaviour
    for _ in range(3):
        assert (await market.chat(key)).status_code == 502
    seller.behaviour = "normal"

    answer = await market.chat(key, stream=stream)

    assert answer.status_code == 200
    assert answer.headers["x-market-attempts"] == "1"


async def test_chat__several_rest__only_the_one_whose_rest_ends_first_is_asked(
    market: RunningMarket, seller: FakeEndpoint, dear_seller: FakeEndpoint
) -> None:
    seller_key = await market.get_key()
    await market.list_offer(seller_key, seller.url)
    dear = await market.list_offer(seller_key, dear_seller.url, price_output_per_1m=21)
    key = await market.get_buyer_key()
    # Ten minutes' rest for the cheaper one, ten seconds' for the other.
    seller.behaviour, dear_seller.behaviour = "status_401", "status_500"
    assert (await market.chat(key)).status_code == 502
    seller.behaviour = dear_seller.behaviour = "normal"

    answer = await market.chat(key)

    assert (answer.status_code, answer.headers["x-market-offer"]) == (200, dear["id"])
    assert len(seller.requests) == 1


async def test_chat__seller_rejects__is_told_the_cleaned_reason_and_the_seller_stays_well(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    seller_key = await market.get_key()
    await market.list_offer(seller_key, seller.url)
    key = await market.get_buyer_key()
    seller.behaviour = "status_400"

    answer = await market.chat(key)

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "boom at" in error["message"]
    assert PROVIDER_KEY not in answer.text
    assert str(seller.port) not in answer.text
    seller.behaviour = "normal"
    assert (await market.chat(key)).status_code == 200


@pytest.mark.parametrize(
    ("usage", "charged"),
    [
        ({"prompt_tokens": 10**6, "completion_tokens": 10**6, "total_tokens": 2 * 10**6}, None),
        ({"prompt_tokens": 20, "completion_tokens": 100, "total_tokens": 120}, (20, 90)),
        ({"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}, (100, 7)),
        ({"prompt_tokens": -5, "completion_tokens": 10**30}, None),
        ({"prompt_tokens": 1e30, "completion_tokens": 1, "total_tokens": 2}, None),
        ({"prompt_tokens": "20", "completion_tokens": 1.5}, None),
        (None, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.sampled(2)
async def test_chat__lying_seller__is_believed_no_further_than_the_answer_bears(
    market: RunningMarket, usage: Any, charged: tuple[int, int] | None, stream: bool
) -> None:
    text = "Hello! I am glad to help. "
    async with FakeEndpoint(usage=usage, text=text) as seller:
        await market.list_offer(await market.get_key(), seller.url)
        key = await market.get_buyer_key()
        market.client.is_checking = False  # the seller's words are passed on

        answer = await market.chat(key, stream=stream)

        assert answer.status_code == 200
        (sale,) = await market.settled_sales()
        assert 0 < sale["cost_usdc"] <= sale["ceiling_usdc"]
        assert sale["completion_tokens"] <= len(text) + 64
        if charged is not None:
            assert (sale["prompt_tokens"], sale["completion_tokens"]) == charged


async def test_stream__whole__ends_with_usage_and_cost_after_the_charge(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    await market.list_offer(await market.get_key(), seller.url)
    key = await market.get_buyer_key()

    answer = await market.chat(key, stream=True, stream_options={"include_usage": True})

    assert answer.status_code == 200
    events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["usage"]["cost_usdc"] == 300
    words = [json.loads(e)["choices"][0]["delta"].get("content", "") for e in events[:-2]]
    assert "".join(words).split() == seller.text.split()
    (sale,) = market.sales()
    assert (sale["state"], sale["cost_usdc"]) == ("posted", 300)


@pytest.mark.parametrize("behaviour", ["stream_dies_at_once", "stream_error_first", "status_500"])
async def test_stream__fails_before_the_first_byte__the_next_seller_serves(
    market: RunningMarket, seller: FakeEndpoint, dear_seller: FakeEndpoint, behaviour: str
) -> None:
    seller_key = await market.get_key()
    await market.list_offer(seller_key, seller.url)
    await market.list_offer(seller_key, dear_seller.url, price_output_per_1m=21)
    key = await market.get_buyer_key()
    seller.behaviour = behaviour

    answer = await market.chat(key, stream=True)

    assert "dearer" in answer.text
    assert answer.text.rstrip().endswith("data: [DONE]")
    assert [sale["state"] for sale in market.sales()] == ["voided", "posted"]


async def test_stream__seller_breaks_off__is_charged_for_what_came_and_never_fails_over(
    market: RunningMarket, seller: FakeEndpoint, dear_seller: FakeEndpoint
) -> None:
    seller_key = await market.get_key()
    await market.list_offer(seller_key, seller.url)
    await market.list_offer(seller_key, dear_seller.url, price_output_per_1m=21)
    key = await market.get_buyer_key()
    seller.behaviour = "stream_dies"

    answer = await market.chat(key, stream=True)

    assert "seller_disconnected" in answer.text
    assert "[DONE]" not in answer.text
    assert dear_seller.requests == []
    (sale,) = await market.settled_sales()
    assert (sale["state"], sale["attempt"]) == ("posted", 0)
    # Counted by us, one token for three bytes of what was passed on.
    assert sale["completion_tokens"] == -(-len(seller.text + " ") // 3)
    markets = (await market.client.get(f"/api/markets/{MODEL}")).json()
    assert markets["offers"][0]["health"] == "backing_off"


async def test_stream__endless__is_cut_at_what_was_reserved(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    await market.list_offer(await market.get_key(), seller.url)
    key = await market.get_buyer_key()
    seller.behaviour = "stream_endless"

    answer = await market.chat(key, stream=True)

    assert "ceiling_reached" in answer.text
    (sale,) = await market.settled_sales()
    assert sale["completion_tokens"] == 100


async def test_stream__buyer_leaves__what_was_delivered_is_charged(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    await market.list_offer(await market.get_key(), seller.url)
    key = await market.get_buyer_key()
    seller.behaviour = "stream_stalls"

    async with market.client.stream(
        "POST", "/v1/chat/completions", json=make_body(stream=True), headers=bearer(key)
    ) as response:
        async for _ in response.aiter_lines():
            break

    (sale,) = await market.settled_sales()
    assert sale["state"] == "posted"
    assert sale["completion_tokens"] > 0
    await until_nobody_is_served()


async def test_chat__no_credit__is_told_what_lacks_and_nothing_is_called(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    await market.list_offer(await market.get_key(), seller.url)
    key = await market.get_buyer_key(credit_usdc=100)

    answer = await market.chat(key)

    assert answer.status_code == 402
    body = answer.json()
    assert body["error"]["code"] == "credit_spent"
    assert body["available_usdc"] == 100
    assert body["required_usdc"] > 100
    assert seller.requests == []


async def test_chat__many_at_once__neither_credit_nor_cap_is_ever_passed(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    seller_key = await market.get_key()
    # A request reserves 3,205: no more than five fit below the cap at a time.
    offer = await market.list_offer(seller_key, seller.url, cap_daily_usd="0.017")
    key = await market.get_buyer_key()
    seller.delay_s = 0.05

    answers = await asyncio.gather(*(market.chat(key) for _ in range(20)))

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses.count(200) >= 1
    assert set(statuses) <= {200, 503}
    ceiling = market.sales()[0]["ceiling_usdc"]
    assert seller.peak <= 17_000 // ceiling
    refused = [answer.json()["error"]["code"] for answer in answers if answer.status_code == 503]
    assert set(refused) == {"seller_caps_reached"}
    described = await market.client.get(
        f"/v1/seller/offers/{offer['id']}", headers=bearer(seller_key)
    )
    assert described.json()["used_today_usd"] == pytest.approx(statuses.count(200) * 300 / 1e6)


async def test_chat__seller_concurrency__the_rest_is_told_to_come_again(
    databases: Databases, tmp_path: Path, seller: FakeEndpoint
) -> None:
    settings = make_settings(tmp_path, seller_concurrency_max=2)
    async with run_market(settings, databases.open_ledger()) as market:
        await market.list_offer(await market.get_key(), seller.url)
        key = await market.get_buyer_key()
        seller.delay_s = 0.05

        answers = await asyncio.gather(*(market.chat(key) for _ in range(10)))

        assert seller.peak <= 2
        codes = {a.json()["error"]["code"] for a in answers if a.status_code != 200}
        assert codes <= {"sellers_busy"}


async def test_chat__rpm__the_next_request_of_the_minute_is_refused(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    await market.list_offer(await market.get_key(), seller.url, rate_limit_rpm=2)
    key = await market.get_buyer_key()

    answers = [await market.chat(key) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 503]
    assert answers[2].json()["error"]["code"] == "sellers_rate_limited"


async def test_chat__price_changed__requests_from_then_on_are_at_the_new_one(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    seller_key = await market.get_key()
    offer = await market.list_offer(seller_key, seller.url)
    key = await market.get_buyer_key()
    seller.behaviour = "hang"
    in_flight = asyncio.create_task(market.chat(key))
    await until(lambda: seller.requests)

    changed = await market.client.patch(
        f"/v1/seller/offers/{offer['id']}",
        json={"price_input_per_1m": 6, "price_output_per_1m": 30},
        headers=bearer(seller_key),
    )
    seller.behaviour = "normal"
    seller.release.set()

    assert changed.status_code == 200
    assert (await in_flight).headers["x-market-cost-usdc"] == "300"
    assert (await market.chat(key)).headers["x-market-cost-usdc"] == "420"


async def test_chat__offer_deleted_meanwhile__the_request_in_flight_is_served_and_paid(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    seller_key = await market.get_key()
    offer = await market.list_offer(seller_key, seller.url)
    key = await market.get_buyer_key()
    seller.behaviour = "hang"
    in_flight = asyncio.create_task(market.chat(key))
    await until(lambda: seller.requests)

    path = f"/v1/seller/offers/{offer['id']}"
    assert (await market.client.delete(path, headers=bearer(seller_key))).status_code == 200
    seller.behaviour = "normal"
    seller.release.set()

    assert (await in_flight).status_code == 200
    assert [sale["earning_usdc"] for sale in market.sales()] == [285]
    assert (await market.chat(key)).status_code == 404


async def test_minimum_discount__not_met__is_the_references_error_to_the_letter(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    # 18.4 % below the reference of 10 and 40.
    await market.list_offer(
        await market.get_key(), seller.url, price_input_per_1m="8.159", price_output_per_1m="32.636"
    )
    key = await market.get_buyer_key()

    answer = await market.chat(key, path="/min30/v1/chat/completions", max_tokens=10_000)

    assert answer.status_code == 503
    assert answer.json() == {
        "error": {
            "message": "No marketplace sellers currently meet the minimum 30% estimated discount"
            f" for '{MODEL}'. Best otherwise-eligible estimated discount is 18.4%.",
            "type": "no_discounted_offer",
            "code": "minimum_discount_not_met",
        },
        "minimum_discount_pct": 30,
        "best_available_discount_pct": 18.4,
    }
    assert (await market.chat(key, path="/min18/v1/chat/completions")).status_code == 200
    assert (await market.chat(key, path="/min0/v1/chat/completions")).status_code == 200


async def test_minimum_discount__seller_backing_off__keeps_its_own_error(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    await market.list_offer(await market.get_key(), seller.url, price_output_per_1m=39)
    key = await market.get_buyer_key()
    seller.behaviour = "status_500"
    await market.chat(key)

    answer = await market.chat(key, path="/min90/v1/chat/completions")

    assert answer.json()["error"]["code"] == "sellers_backing_off"


@pytest.mark.parametrize(
    "segment", ["min030", "min30.5", "min-1", "min101", "min", "min+1", "min00", "minx", "min1e1"]
)
@pytest.mark.sampled(3)
async def test_minimum_discount__bad_grammar__is_400(market: RunningMarket, segment: str) -> None:
    answer = await market.client.post(f"/{segment}/v1/chat/completions", json=make_body())

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_minimum_discount"


@pytest.mark.parametrize("path", ["/min30/v1/embeddings", "/min30/v1/models", "/min30/v1/prices"])
async def test_minimum_discount__paths_without_a_mirror__are_404(
    market: RunningMarket, path: str
) -> None:
    assert (await market.client.post(path, json=make_body())).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "cost"),
    [
        ("/v1/completions", {"prompt": "Say hello.", "max_tokens": 50}, 300),
        ("/v1/completions", {"prompt": ["a", "b"], "max_tokens": 50}, 300),
        ("/v1/responses", {"input": "Say hello.", "max_output_tokens": 50}, 300),
        ("/v1/embeddings", {"input": ["one", "two"]}, 100),
    ],
)
async def test_other_endpoints__are_metered_the_same_way(
    market: RunningMarket, path: str, body: dict[str, Any], cost: int
) -> None:
    usage: dict[str, Any] = USAGES[path]
    async with FakeEndpoint(usage=usage) as seller:
        await market.list_offer(await market.get_key(), seller.url)
        key = await market.get_buyer_key()

        answer = await market.client.post(path, json={"model": MODEL, **body}, headers=bearer(key))

        assert answer.status_code == 200, answer.text
        (sale,) = market.sales()
        assert (sale["endpoint"], sale["cost_usdc"]) == (path.removeprefix("/v1/"), cost)


USAGES = {
    "/v1/completions": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30},
    "/v1/responses": {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30},
    "/v1/embeddings": {"prompt_tokens": 20, "total_tokens": 20},
}


async def test_responses_stream__ends_with_the_completed_event(market: RunningMarket) -> None:
    async with FakeEndpoint(usage=USAGES["/v1/responses"]) as seller:
        await market.list_offer(await market.get_key(), seller.url)
        key = await market.get_buyer_key()

        answer = await market.client.post(
            "/min10/v1/responses",
            json={"model": MODEL, "input": "Say hello.", "stream": True},
            headers=bearer(key),
        )

        assert "response.completed" in answer.text.splitlines()[-2]
        (sale,) = market.sales()
        assert (sale["state"], sale["cost_usdc"]) == ("posted", 300)


async def test_keys__revoked_seller_or_wrong_kind__buy_nothing(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    seller_key = await market.get_key()
    await market.list_offer(seller_key, seller.url)
    key = await market.get_buyer_key()
    assert (await market.chat(key)).status_code == 200
    listed = await market.client.get("/v1/buyer/auth/keys", headers=bearer(key))
    key_id = listed.json()["keys"][0]["key_id"]
    other = await market.get_key(OUTSIDER, "buyer")
    stolen = await market.client.delete(f"/v1/buyer/auth/keys/{key_id}", headers=bearer(other))
    assert stolen.status_code == 404

    revoked = await market.client.delete(f"/v1/buyer/auth/keys/{key_id}", headers=bearer(key))

    assert revoked.status_code == 200
    assert (await market.chat(key)).status_code == 401
    assert (await market.chat(seller_key)).status_code == 401
    assert (await market.chat("inf_" + "A" * 43)).status_code == 401


async def test_routing_field__filters_and_ceilings__are_kept_and_not_passed_on(
    market: RunningMarket, seller: FakeEndpoint, dear_seller: FakeEndpoint
) -> None:
    seller_key = await market.get_key(is_approved=False)
    cheap = await market.list_offer(seller_key, seller.url)
    dear = await market.list_offer(seller_key, dear_seller.url, price_output_per_1m=21)
    key = await market.get_buyer_key()

    anybody = {"trusted_only": False}

    chosen = await market.chat(key, routing={"only": [f"offer:{dear['id']}"], **anybody})
    ignored = await market.chat(key, routing={"ignore": [cheap["id"]], **anybody})
    ceiling = await market.chat(key, routing={"max_price_output_per_1m": 19.5, **anybody})
    untrusted = await market.chat(key, routing={"trusted_only": True})

    assert "dearer" in chosen.text and "dearer" in ignored.text
    assert "routing" not in dear_seller.requests[0]
    assert ceiling.json()["error"]["code"] == "price_ceiling_not_met"
    assert ceiling.json()["dropped"] == {"price_ceiling": 2}
    assert untrusted.json()["error"]["code"] == "no_trusted_seller"
