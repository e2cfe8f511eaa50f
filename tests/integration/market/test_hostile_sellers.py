"""Sellers that speak HTTP as no honest one does, before honest ones that are dearer.

::

    a whole answer, a stream's beginning, an image, one's own provider
    └── the next one serves; nothing is charged for the first; nobody waits without end; L7
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from market.endpoints.client import SellerClient
from serving.models.dialing import Dialer
from serving.models.upstream import Access
from tests.support.endpoint import FakeEndpoint
from tests.support.hostile import (
    CHUNK,
    DONE,
    LAST,
    NO_ANSWERS,
    NO_STREAMS,
    ODD_ANSWERS,
    USED,
    Play,
    answer,
    event,
    hang,
    repeat,
    say,
    stream,
)
from tests.support.ledgers import make_ledger
from tests.support.market import RunningMarket, bearer, make_body, make_settings, run_market

CHEAP = {"price_input_per_1m": 1, "price_output_per_1m": 1}
LIMITS: dict[str, Any] = {
    "answer_bytes_max": 2 * 1024**2,
    "seller_connections_max": 8,
    "read_timeout_s": 6.0,
    "whole_timeout_s": 14.0,
}
MORE = {"prompt_tokens": 40, "completion_tokens": 60, "total_tokens": 100}
UNIT = {"price_input_per_1m": ..., "price_output_per_1m": ..., "unit": "image"}


async def play_all(
    plays: Mapping[str, Play], stack: AsyncExitStack, market: RunningMarket, honest: str
) -> dict[str, FakeEndpoint]:
    """List each play as the cheaper seller of a model of its own, beside an honest one."""
    key = await market.get_key()
    hostile = {}
    for name, play in plays.items():
        hostile[name] = await stack.enter_async_context(FakeEndpoint(play=play))
        model = name.replace(" ", "-")
        await market.list_offer(key, hostile[name].url, model=model, **CHEAP)
        await market.list_offer(key, honest, model=model)
    return hostile


def check_served_by_the_next(
    market: RunningMarket, plays: Mapping[str, Play], answers: list[httpx.Response]
) -> None:
    said = {name: one.status_code for name, one in zip(plays, answers, strict=True)}
    assert said == dict.fromkeys(plays, 200)
    for name, one in zip(plays, answers, strict=True):
        assert one.headers["x-market-attempts"] == "2", name
    sales = market.sales()
    for name in plays:
        first, second = (sale for sale in sales if sale["model"] == name.replace(" ", "-"))
        assert (first["state"], first["is_seller_failure"]) == ("voided", True), name
        assert (second["state"], second["cost_usdc"]) == ("posted", 300), name


async def test_answer__that_is_none__the_next_seller_serves(tmp_path: Path) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with (
        FakeEndpoint() as honest,
        run_market(make_settings(tmp_path, **LIMITS), engine) as market,
        AsyncExitStack() as stack,
    ):
        hostile = await play_all(NO_ANSWERS, stack, market, honest.url)
        key = await market.get_buyer_key()
        answers = await asyncio.gather(
            *(market.chat(key, model=name.replace(" ", "-")) for name in NO_ANSWERS)
        )
        await market.settled_sales()
        check_served_by_the_next(market, NO_ANSWERS, answers)
        assert {name: seller.asked for name, seller in hostile.items()} == dict.fromkeys(hostile, 1)
    engine.dispose()


async def test_answer__that_only_lenient_clients_read__is_served_so_that_all_do(
    tmp_path: Path,
) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with (
        FakeEndpoint() as honest,
        run_market(make_settings(tmp_path, **LIMITS), engine) as market,
        AsyncExitStack() as stack,
    ):
        await play_all(ODD_ANSWERS, stack, market, honest.url)
        key = await market.get_buyer_key()
        for name in ODD_ANSWERS:
            served = await market.chat(key, model=name.replace(" ", "-"))
            assert (served.status_code, served.headers["x-market-attempts"]) == (200, "1"), name
            # As JavaScript reads it: half a surrogate pair is a text, NaN is no value.
            read = json.loads(served.content.decode(), parse_constant=pytest.fail)
            assert read["choices"][0]["message"]["role"] == "assistant"
    engine.dispose()


async def test_stream__that_does_not_begin__the_next_seller_serves(tmp_path: Path) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with (
        FakeEndpoint() as honest,
        run_market(make_settings(tmp_path, **LIMITS), engine) as market,
        AsyncExitStack() as stack,
    ):
        await play_all(NO_STREAMS, stack, market, honest.url)
        key = await market.get_buyer_key()
        answers = await asyncio.gather(
            *(market.chat(key, model=name.replace(" ", "-"), stream=True) for name in NO_STREAMS)
        )
        await market.settled_sales()
        check_served_by_the_next(market, NO_STREAMS, answers)
        assert all(one.text.endswith("data: [DONE]\n\n") for one in answers)
    engine.dispose()


async def test_stream__cancelled_at_any_moment__ends(tmp_path: Path) -> None:
    rules = make_settings(tmp_path)
    provider = SellerClient(Dialer(rules.dial_rules()), rules.seller_rules())
    ended = 0
    async with FakeEndpoint(play=repeat(stream(), b": here\n\n", pause_s=0.0005)) as seller:
        for number in range(100):
            source = await provider.open_stream(Access(seller.url, "k"), "chat/completions", b"{}")
            pieces = 0
            try:
                async with asyncio.timeout(0.02 + number % 17 * 0.0003):
                    async for _ in source.pieces():
                        pieces += 1
                        assert pieces < 1_000, "a cancellation was forgotten"
            except TimeoutError:
                ended += 1
            await source.close()
    await provider.close()
    assert ended == 100


@pytest.mark.parametrize(
    "pieces",
    [
        # What follows the end is not read: neither its usage nor its text.
        (DONE, event(CHUNK) * 50, b"\xff\xfe\n\n"),
        (DONE, event({"usage": {"prompt_tokens": 9}})),
        (DONE + event(CHUNK) * 50 + event({"choices": [], "usage": MORE}),),
        # The end of the connection is one too, once the seller has said why its output ended.
        (),
    ],
)
async def test_stream__with_more_after_its_end__ends_there(
    pieces: tuple[bytes, ...], tmp_path: Path
) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with (
        FakeEndpoint(play=say(stream() + event(CHUNK) + LAST + USED + b"".join(pieces))) as seller,
        run_market(make_settings(tmp_path, **LIMITS), engine) as market,
    ):
        await market.list_offer(await market.get_key(), seller.url)
        key = await market.get_buyer_key()
        options = {"include_usage": True}
        streamed = await market.chat(key, stream=True, stream_options=options)
        assert streamed.text.count("Hello!") == 1
        assert streamed.text.endswith("data: [DONE]\n\n")
        (sale,) = await market.settled_sales()
        # 20 x 5 + 2 x 20 USD a million tokens.
        assert (sale["state"], sale["cost_usdc"]) == ("posted", 140)
    engine.dispose()


async def test_stream__begun_and_never_ended__is_cut_and_charged_for_what_came(
    tmp_path: Path,
) -> None:
    plays = {
        "hang": hang(stream() + event(CHUNK)),
        "drip": repeat(stream() + event(CHUNK), b": still here\n\n", pause_s=0.05),
        "letters": say(
            stream(), event(CHUNK), b'data: {"choices": [{"delta": "\xff"}]}\n\n', pause_s=0.3
        ),
    }
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with (
        run_market(make_settings(tmp_path, stream_timeout_s=4.0), engine) as market,
        AsyncExitStack() as stack,
    ):
        await play_all(plays, stack, market, "http://127.0.0.1:9/v1")
        key = await market.get_buyer_key()
        answers = await asyncio.gather(
            *(market.chat(key, model=name, stream=True) for name in plays)
        )
        sales = await market.settled_sales()
        assert {one.status_code for one in answers} == {200}
        assert all("You are charged for what you received" in one.text for one in answers)
        assert {sale["state"] for sale in sales} == {"posted"}, "one attempt each, and no failover"
        assert {sale["completion_tokens"] for sale in sales} == {3}, "three bytes a token"
    engine.dispose()


async def test_image__that_is_none__the_next_seller_serves(tmp_path: Path) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    kept = {
        url: say(answer(b'{"data": [{"url": "%s"}]}' % url.encode()))
        for url in (
            "http://169.254.169.254/latest/meta-data",
            "http://[::ffff:10.0.0.1]/x",
            "http://0x7f000001/x",
            "http://2130706433/x",
            "http://0177.0.0.1/x",
            "https://0.0.0.0/x",
            "https://127.0.0.1@10.0.0.1/x",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "//10.0.0.1/x",
        )
    }
    plays = {f"url-{number}": play for number, play in enumerate(kept.values())}
    plays |= {name.replace(" ", "-"): play for name, play in NO_ANSWERS.items()}
    async with (
        FakeEndpoint() as honest,
        run_market(make_settings(tmp_path, **LIMITS), engine) as market,
        AsyncExitStack() as stack,
    ):
        seller_key = await market.get_key()
        for model, play in plays.items():
            seller = await stack.enter_async_context(FakeEndpoint(play=play))
            offer = {**UNIT, "model": model}
            await market.list_offer(seller_key, seller.url, price_per_unit="0.01", **offer)
            await market.list_offer(seller_key, honest.url, price_per_unit="0.02", **offer)
        key = await market.get_buyer_key()
        answers = await asyncio.gather(
            *(
                market.client.post(
                    "/v1/images/generations",
                    json={"model": model, "prompt": "x"},
                    headers=bearer(key),
                )
                for model in plays
            )
        )
        sales = await market.settled_sales()
        said = {model: one.status_code for model, one in zip(plays, answers, strict=True)}
        assert said == dict.fromkeys(plays, 200)
        posted = [sale for sale in sales if sale["state"] == "posted"]
        assert [sale["cost_usdc"] for sale in posted] == [20_000] * len(plays)
    engine.dispose()


async def test_job__that_no_one_takes_in_words__the_next_seller_takes(tmp_path: Path) -> None:
    said = [
        b'{"id": "j", "status": "no such"}',
        b'{"id": "../../x", "status": "queued"}',
        b'{"id": "", "status": "queued"}',
        b'{"id": 1e30, "status": "queued"}',
        b'{"status": "queued"}',
        b'{"id": "j", "status": "failed"}',
        b'{"id": "j", "status": ["queued"]}',
        b'{"id": "j", "status": "completed", "url": 5}',
        b'["queued"]',
    ]
    plays = {f"said-{number}": say(answer(body)) for number, body in enumerate(said)}
    plays |= {name.replace(" ", "-"): play for name, play in NO_ANSWERS.items()}
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with (
        FakeEndpoint() as honest,
        run_market(make_settings(tmp_path, **LIMITS), engine) as market,
        AsyncExitStack() as stack,
    ):
        seller_key = await market.get_key()
        for model, play in plays.items():
            seller = await stack.enter_async_context(FakeEndpoint(play=play))
            offer = {**UNIT, "unit": "video", "model": model}
            await market.list_offer(seller_key, seller.url, price_per_unit="0.01", **offer)
            await market.list_offer(seller_key, honest.url, price_per_unit="0.02", **offer)
        key = await market.get_buyer_key()
        headers = bearer(key)
        answers = await asyncio.gather(
            *(
                market.client.post(
                    "/v1/video/generations", json={"model": model, "prompt": "x"}, headers=headers
                )
                for model in plays
            )
        )
        taken = {model: one.status_code for model, one in zip(plays, answers, strict=True)}
        assert taken == dict.fromkeys(plays, 202)
        assert {one.headers["x-market-reserved-usdc"] for one in answers} == {"20000"}
        path = "/v1/video/generations/{}"
        for one, other in zip(answers, answers[1:] + answers[:1], strict=True):
            job, another = one.json(), other.json()
            strange = {"x-job-token": another["job_token"]}
            peeked = await market.client.get(path.format(job["id"]), headers=strange)
            assert peeked.status_code == 401, "another job's token opens nothing"
            ended = await market.client.delete(path.format(job["id"]), headers=headers)
            assert ended.json()["status"] == "cancelled"
        assert {sale["state"] for sale in await market.settled_sales()} == {"voided"}
        account = await market.account(key)
        assert (account["spent_usdc"], account["reserved_usdc"]) == (0, 0)
    engine.dispose()


async def test_own_provider__that_does_not_answer__the_market_serves(tmp_path: Path) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with (
        FakeEndpoint() as honest,
        run_market(make_settings(tmp_path, **LIMITS), engine) as market,
        AsyncExitStack() as stack,
    ):
        seller_key, key = await market.get_key(), await market.get_buyer_key()
        names = list(NO_ANSWERS)[:24]  # 25 of them an account
        for name in names:
            own = await stack.enter_async_context(FakeEndpoint(play=NO_ANSWERS[name]))
            model = name.replace(" ", "-")
            await market.list_offer(seller_key, honest.url, model=model)
            body = {"base_url": own.url, "api_key": "k", "models": {model: "m"}}
            body |= {"position": "priority"}
            added = await market.client.post("/v1/buyer/providers", json=body, headers=bearer(key))
            assert added.status_code == 201, added.text
        answers = await asyncio.gather(
            *(market.chat(key, model=name.replace(" ", "-")) for name in names)
        )
        sales = await market.settled_sales()
        assert {one.status_code for one in answers} == {200}
        assert [sale["cost_usdc"] for sale in sales] == [300] * len(names)
    engine.dispose()


async def test_seller__that_refuses_what_others_serve__is_asked_last_on_that_endpoint(
    tmp_path: Path,
) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    refusals = [say(answer(b"{}", status)) for status in ("400 No", "404 No", "405 No", "422 No")]
    async with (
        FakeEndpoint() as honest,
        run_market(make_settings(tmp_path), engine) as market,
        AsyncExitStack() as stack,
    ):
        seller_key = await market.get_key()
        hostile = [
            await stack.enter_async_context(FakeEndpoint(play=refusals[number % 4]))
            for number in range(8)
        ]
        for one in hostile:
            await market.list_offer(
                seller_key, one.url, price_input_per_1m=0, price_output_per_1m=0
            )
        await market.list_offer(seller_key, honest.url)
        key = await market.get_buyer_key()
        attempts = [(await market.chat(key)).headers["x-market-attempts"] for _ in range(7)]
        # Eight in the way, twice as many as may fail: all requests are served all the same.
        assert attempts == ["9"] * 5 + ["1"] * 2
        assert {one.asked for one in hostile} == {5}
        rests = await market.client.get("/v1/seller/health-log", headers=bearer(seller_key))
        assert {one["health"]["standing"] for one in rests.json()["offers"]} == {"healthy"}

        other = await market.client.post(
            "/v1/completions",
            json={"model": make_body()["model"], "prompt": "Hello"},
            headers=bearer(key),
        )
        assert other.headers["x-market-attempts"] == "9", "another endpoint is another matter"
        honest.behaviour = "status_500"
        failed = await market.chat(key)
        assert failed.status_code == 400, "where nobody else serves they are asked again"
        assert {one.asked for one in hostile} == {7}
        await market.settled_sales()
    engine.dispose()
