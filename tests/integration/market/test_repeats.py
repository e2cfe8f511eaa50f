"""One charge for one idempotency key at the market, however often the request comes, and where.

::

    the same key and request
    ├── after it was answered: the same answer, of each endpoint, whole or streamed; elsewhere
    ├── six at once, over two markets: one charge, one call of a seller
    ├── it failed at every seller, or its process was killed and its lease ran out: it runs again
    ├── another process took the key between two sellers: its answer, and one charge
    ├── its account keeps enough, or its answer was too long: 409 with its id and cost
    ├── its API key was revoked meanwhile: 401
    └── it was answered by the buyer's own provider: that is not asked again, until others' answers
        take the room; what is not kept leaves no row
    another body, path or price ceiling: 409; another API key: another request
    paid by itself (x402): the key stands for nothing
    in the database: neither prompt nor answer nor key can be read
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import Engine, func, select, update

from ledger.database.engine import read, write
from ledger.kept_answers import ROW_BYTES, forget_answers
from ledger.selling.sales import sweep_sales
from ledger.tables import KeptAnswer, MarketKey, table_of
from serving.models.price_ceilings import INPUT_CEILING
from tests.integration.market.test_crashes import Process
from tests.integration.market.test_own_providers import add_provider
from tests.support.answers import MODEL, TEXT
from tests.support.endpoint import FakeEndpoint
from tests.support.keepers import Stage
from tests.support.ledgers import SQLITE, Databases, make_ledger
from tests.support.market import (
    RunningMarket,
    bearer,
    make_body,
    make_settings,
    run_market,
)
from tests.support.payments import run_shop
from tests.support.proxy import now_s
from tests.support.waiting import LIMIT_S, until, until_it

CHAT: Final = "/v1/chat/completions"
COST_USDC: Final = 300
"""20 prompt tokens at 5, and 10 of output at 20 USDC a million."""
KEPT: Final = table_of(KeptAnswer)
PROMPT: Final = "A prompt that nobody else may read."
TEXTS: Final[dict[str, dict[str, Any]]] = {
    "/v1/completions": {"model": MODEL, "prompt": "Say hello.", "max_tokens": 50},
    "/v1/responses": {"model": MODEL, "input": "Say hello.", "max_output_tokens": 50},
    "/v1/embeddings": {"model": MODEL, "input": "Say hello."},
}


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    """A ledger in a file."""
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    yield engine
    engine.dispose()


@pytest.fixture
async def market(engine: Engine, tmp_path: Path) -> AsyncIterator[RunningMarket]:
    """A market of its own."""
    async with run_market(make_settings(tmp_path), engine) as running:
        yield running


@pytest.fixture
async def seller() -> AsyncIterator[FakeEndpoint]:
    """A seller's endpoint."""
    async with FakeEndpoint() as seller:
        yield seller


async def open_shop(market: RunningMarket, seller: FakeEndpoint, **offer: Any) -> str:
    """List the seller's offer; return a buyer's key."""
    await market.list_offer(await market.get_key(), seller.url, **offer)
    return await market.get_buyer_key()


async def ask(
    market: RunningMarket, key: str, name: str = "first", *, path: str = CHAT, **changes: Any
) -> httpx.Response:
    body = {**TEXTS[path], **changes} if path in TEXTS else make_body(**changes)
    headers = {**bearer(key), "idempotency-key": name}
    return await market.client.post(path, json=body, headers=headers)


def error_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), answer.text
    return error


def charged(market: RunningMarket) -> list[int]:
    return [sale["cost_usdc"] for sale in market.sales() if sale["state"] == "posted"]


async def test_repeat__answered_before__same_answer_and_one_charge(
    databases: Databases, tmp_path: Path, seller: FakeEndpoint
) -> None:
    engine = databases.open_ledger()
    async with run_market(make_settings(tmp_path), engine) as market:
        key = await open_shop(market, seller)
        first = await ask(market, key)
        second = await ask(market, key)

        assert (first.status_code, second.status_code) == (200, 200)
        assert second.content == first.content
        assert "idempotent-replayed" not in first.headers
        assert second.headers["idempotent-replayed"] == "true"
        assert second.headers["x-market-request-id"] == first.headers["x-request-id"]
        assert second.headers["x-market-cost-usdc"] == str(COST_USDC)
        assert second.headers["x-market-offer"] == first.headers["x-market-offer"]
        assert (await market.account(key))["spent_usdc"] == COST_USDC
        metrics = (await market.client.get("/metrics")).text
        assert "current_market_answers_replayed_total 1.0" in metrics
    # Another process, after a restart: the ledger has all that is needed.
    async with run_market(make_settings(tmp_path), engine) as market:
        assert (await ask(market, key)).content == first.content
        assert charged(market) == [COST_USDC]
        assert len(seller.requests) == 1
        assert "idempotency-key" not in seller.headers[0]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, *TEXTS])
async def test_repeat__each_endpoint__is_answered_alike_and_charged_once(
    market: RunningMarket, seller: FakeEndpoint, path: str, stream: bool
) -> None:
    if stream and path == "/v1/embeddings":
        return
    key = await open_shop(market, seller)
    changes: dict[str, Any] = {"stream": True} if stream else {}

    first = await ask(market, key, path=path, **changes)
    second = await ask(market, key, path=path, **changes)

    assert first.status_code == 200, first.text
    assert second.content == first.content
    assert second.headers["content-type"] == first.headers["content-type"]
    assert (len(charged(market)), len(seller.requests)) == (1, 1)


async def test_repeat__another_body_path_or_ceiling__409_and_nothing_is_charged(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    key = await open_shop(market, seller)
    await ask(market, key)
    capped = {**bearer(key), "idempotency-key": "first", INPUT_CEILING: "9000000"}

    others = [
        await ask(market, key, max_tokens=99),
        await ask(market, key, stream=True),
        await ask(market, key, path="/v1/embeddings"),
        await ask(market, key, path="/min1" + CHAT),
        await market.client.post(CHAT, json=make_body(), headers=capped),
    ]

    for refused in others:
        error_of(refused, 409, "idempotency_key_reused")
        assert refused.headers["x-should-retry"] == "false"
    assert charged(market) == [COST_USDC]


async def test_repeat__other_api_key_or_other_name__is_another_request(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    key = await open_shop(market, seller)

    await ask(market, key)
    await ask(market, key, "second")
    await ask(market, await market.get_buyer_key(credit_usdc=0))

    assert charged(market) == [COST_USDC] * 3


@pytest.mark.parametrize("name", ["", "x" * 201])
async def test_key__out_of_bounds__400(
    market: RunningMarket, seller: FakeEndpoint, name: str
) -> None:
    key = await open_shop(market, seller)

    error_of(await ask(market, key, name), 400, "invalid_idempotency_key")
    assert market.sales() == []


async def test_repeat__six_at_once_over_two_markets__one_charge_and_one_answer(
    databases: Databases, tmp_path: Path, seller: FakeEndpoint
) -> None:
    engine, settings = databases.open_ledger(), make_settings(tmp_path)
    async with run_market(settings, engine) as one:
        key = await open_shop(one, seller)
        async with run_market(settings, engine) as other:
            answers = await asyncio.gather(*(ask((one, other)[n % 2], key) for n in range(6)))

        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert charged(one) == [COST_USDC]
        assert len(seller.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_repeat__every_seller_failed__is_not_kept_and_runs_again(
    market: RunningMarket, seller: FakeEndpoint, stream: bool
) -> None:
    key = await open_shop(market, seller)
    seller.behaviour = "status_500"
    error_of(await ask(market, key, stream=stream), 502, "sellers_failed")
    seller.behaviour = "normal"

    # What was not charged is not kept: another body is as good.
    answer = await ask(market, key, max_tokens=99, stream=stream)

    assert answer.status_code == 200
    assert len(charged(market)) == 1


async def test_repeat__its_process_was_killed__one_charge_once_its_lease_is_over(
    engine: Engine, tmp_path: Path, seller: FakeEndpoint
) -> None:
    settings = make_settings(tmp_path, idempotency_wait_s=0)
    async with run_market(settings, engine) as market:
        key = await open_shop(market, seller)
    seller.behaviour = "slow"
    process = Process(tmp_path, str(engine.url))
    process.start()
    try:
        async with httpx.AsyncClient(base_url=process.url, timeout=LIMIT_S) as client:
            await until_it(lambda: _is_alive(client))
            headers = {**bearer(key), "idempotency-key": "first"}
            asked = asyncio.create_task(client.post(CHAT, json=make_body(), headers=headers))
            await until(lambda: seller.requests)
            process.kill()
            with pytest.raises(httpx.TransportError):
                await asked
    finally:
        process.close()
    seller.behaviour = "normal"
    async with run_market(settings, engine) as market:
        error_of(await ask(market, key), 409, "request_in_progress")
        with write(engine) as connection:
            assert sweep_sales(connection, now_s=now_s() + settings.lease_s) == 1

        first, second = await ask(market, key), await ask(market, key)

        assert (first.status_code, second.content) == (200, first.content)
        assert charged(market) == [COST_USDC]


async def _is_alive(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/healthz")).status_code == 200
    except httpx.TransportError:
        return False


async def test_repeat__key_taken_between_two_sellers__gets_the_other_answer(
    engine: Engine, tmp_path: Path, seller: FakeEndpoint
) -> None:
    settings = make_settings(tmp_path)
    async with FakeEndpoint() as failing, run_market(settings, engine) as one:
        key = await open_shop(one, seller)
        await one.list_offer(await one.get_key(), failing.url, price_output_per_1m=10)
        failing.script.extend(["slow", "status_500"])
        failing.body = b'{"choices": []}'
        first = asyncio.create_task(ask(one, key))
        await until(lambda: failing.requests)
        # As where its first sale is given back, and another market is faster than its second.
        with write(engine) as connection:
            assert sweep_sales(connection, now_s=now_s() + settings.lease_s) == 1
        async with run_market(settings, engine) as other:
            second = await ask(other, key)
        failing.release.set()
        repeated = await first

        assert second.status_code == 200
        assert (repeated.status_code, repeated.content) == (200, second.content)
        assert repeated.headers["x-market-request-id"] == second.headers["x-request-id"]
        assert (charged(one), len(seller.requests)) == ([COST_USDC], 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_repeat__answer_too_long_or_too_many__409_with_its_id_and_cost(
    engine: Engine, tmp_path: Path, seller: FakeEndpoint, stream: bool
) -> None:
    async with run_market(make_settings(tmp_path), engine) as market:
        key = await open_shop(market, seller)
        await ask(market, key, stream=stream)
    with read(engine) as connection:
        (kept_bytes,) = connection.execute(select(func.length(KEPT.c.sealed))).scalars()
    for limits in (
        {"idempotency_account_bytes_max": kept_bytes},
        {"idempotency_answer_bytes_max": 10},
        {"idempotency_bytes_max": 10},
    ):
        async with run_market(make_settings(tmp_path, **limits), engine) as market:
            name = next(iter(limits))
            first = await ask(market, key, name, stream=stream)
            refused = await ask(market, key, name, stream=stream)
            again = await ask(market, key, stream=stream)

            error = error_of(refused, 409, "answer_not_kept")
            assert first.status_code == 200
            assert error["request_id"] == first.headers["x-request-id"]
            assert error["cost_usdc"] == COST_USDC
            assert again.headers["idempotent-replayed"] == "true"
    async with run_market(make_settings(tmp_path), engine) as market:
        assert charged(market) == [COST_USDC] * 4


async def test_repeat__api_key_revoked_meanwhile__401_and_no_answer(
    market: RunningMarket, seller: FakeEndpoint, engine: Engine
) -> None:
    key = await open_shop(market, seller)
    await ask(market, key)
    with write(engine) as connection:
        connection.execute(
            update(table_of(MarketKey))
            .where(MarketKey.kind == "buyer")  # type: ignore[arg-type]
            .values(revoked_at_s=now_s())
        )

    error_of(await ask(market, key), 401, "invalid_api_key")


async def test_repeat__a_day_later__is_another_request_and_the_sweep_forgets(
    market: RunningMarket, seller: FakeEndpoint, engine: Engine
) -> None:
    key = await open_shop(market, seller)
    await ask(market, key)
    with write(engine) as connection:
        assert forget_answers(connection, now_s=now_s() + 86_000) == 0
        connection.execute(update(KEPT).values(expires_at_s=now_s()))

    assert (await ask(market, key)).status_code == 200
    assert charged(market) == [COST_USDC] * 2
    with write(engine) as connection:
        connection.execute(update(KEPT).values(expires_at_s=now_s()))
    await market.front.app.state.services.serving.sweep()
    with read(engine) as connection:
        assert connection.execute(select(KEPT)).all() == []


@pytest.mark.parametrize("stream", [False, True])
async def test_repeat__served_by_the_buyer_s_own_provider__it_is_asked_once(
    market: RunningMarket, seller: FakeEndpoint, stream: bool
) -> None:
    key = await open_shop(market, seller)
    async with FakeEndpoint(text="From one's own provider.") as own:
        await add_provider(market, key, own, "priority")

        first = await ask(market, key, stream=stream)
        await until(lambda: _count_kept(market) == 1)
        second = await ask(market, key, stream=stream)

        assert second.content == first.content
        assert second.headers["idempotent-replayed"] == "true"
        assert len(own.requests) == 1
        assert market.sales() == []


async def test_own_provider__more_answers_than_are_kept_of_all_accounts__the_oldest_go(
    engine: Engine, tmp_path: Path
) -> None:
    limits = {"idempotency_free_bytes_max": 8 * ROW_BYTES, "idempotency_answer_bytes_max": 2_000}
    async with run_market(make_settings(tmp_path, **limits), engine) as market:
        key = await market.get_buyer_key(credit_usdc=0)
        async with FakeEndpoint(text="Short.") as own:
            await add_provider(market, key, own, "priority")
            for number in range(20):
                assert (await ask(market, key, f"n{number}")).status_code == 200
                assert _count_rows(market) <= 8
            newest = await ask(market, key, "n19")
            oldest = await ask(market, key, "n0")
            own.text = "Long. " * 1_000
            before = _count_rows(market)
            assert (await ask(market, key, "long")).status_code == 200

            assert newest.headers["idempotent-replayed"] == "true"
            assert "idempotent-replayed" not in oldest.headers
            assert _count_rows(market) == before


async def test_everybodys_answers__measured_by_the_sweep__bound_further_ones(
    engine: Engine, tmp_path: Path, seller: FakeEndpoint
) -> None:
    async with run_market(make_settings(tmp_path, idempotency_bytes_max=10**9), engine) as market:
        key = await open_shop(market, seller)
        await ask(market, key)
        with write(engine) as connection:
            connection.execute(update(KEPT).values(sealed_bytes=10**9))
        await market.front.app.state.services.serving.sweep()
        await ask(market, key, "second")

        error_of(await ask(market, key, "second"), 409, "answer_not_kept")
        assert (await ask(market, key)).headers["idempotent-replayed"] == "true"


def _count_rows(market: RunningMarket) -> int:
    with read(market.engine) as connection:
        return int(connection.execute(select(func.count()).select_from(KEPT)).scalar_one())


def _count_kept(market: RunningMarket) -> int:
    with read(market.engine) as connection:
        return int(
            connection.execute(
                select(func.count()).select_from(KEPT).where(KEPT.c.state == "kept")
            ).scalar_one()
        )


async def test_stream__client_left_in_the_middle__gets_all_of_it_when_it_asks_again(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    key = await open_shop(market, seller)
    seller.behaviour = "stream_stalls"
    headers = {**bearer(key), "idempotency-key": "left"}
    body = make_body(stream=True)
    async with market.client.stream("POST", CHAT, json=body, headers=headers) as first:
        async for _ in first.aiter_bytes():
            break
    seller.release.set()

    second = await ask(market, key, "left", stream=True)

    assert second.content.endswith(b"data: [DONE]\n\n")
    assert (len(charged(market)), len(seller.requests)) == (1, 1)


async def test_x402__paid_by_itself__the_key_stands_for_nothing(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path) as shop, shop.payer() as client:
        headers = {"idempotency-key": "first"}
        first = await client.post(CHAT, json=make_body(), headers=headers)
        second = await client.post(CHAT, json=make_body(), headers=headers)

        assert (first.status_code, second.status_code) == (200, 200)
        assert "idempotent-replayed" not in second.headers
        assert len(charged(shop.market)) == 2
        assert _count_kept(shop.market) == 0


async def test_database__neither_prompt_nor_answer_nor_key_can_be_read(
    tmp_path: Path, seller: FakeEndpoint
) -> None:
    with Databases(SQLITE, tmp_path) as databases:
        engine = databases.open_ledger()
        async with run_market(make_settings(tmp_path), engine) as market:
            key = await open_shop(market, seller)
            messages = [{"role": "user", "content": PROMPT}]
            for name, stream in (("a-name-of-mine", False), ("another-name", True)):
                answer = await ask(market, key, name, messages=messages, stream=stream)
                assert answer.status_code == 200
            await until(lambda: _count_kept(market) == 2)
            stored = b"".join(path.read_bytes() for path in tmp_path.glob("*.sqlite3*"))
    assert b"kept_answer" in stored
    for secret in (PROMPT, TEXT, "a-name-of-mine", "another-name", key):
        assert secret.encode() not in stored
