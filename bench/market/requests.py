"""Latencies of a request: at the seller itself, at the market, at a proxy before either."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import uvicorn

from bench.report import BenchError, build_row
from ledger.database.engine import write
from ledger.suppliers.callers import save_supplier_key
from market.suppliers.supplier_tokens import KEY_PREFIX, Scope, make_token
from scripts.stack.ports import free_port
from tests.support.answers import MODEL
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.market import RunningMarket, bearer, make_body, make_settings, run_market
from tests.support.proxy import CHAT, make_key, run_proxy, write_prices
from tests.support.proxy import make_settings as make_proxy_settings
from tests.support.resale import connect
from tests.support.supply import put_supplier
from tests.support.waiting import until_it

RUNS: Final = 5
CONCURRENCY: Final = 32

_ANSWER: Final = json.dumps(
    {
        "id": "c-1",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello! I am glad to help."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30},
    }
).encode()


async def _answer(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(_ANSWER)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _ANSWER})


def serve_seller(port: int) -> None:
    """Serve a fixed completion until terminated."""
    uvicorn.run(
        _answer, host="127.0.0.1", port=port, log_level="critical", lifespan="off", loop="uvloop"
    )


@contextmanager
def run_seller() -> Iterator[str]:
    """Run the seller in a process of its own; yield its base URL."""
    port = free_port()
    seller = multiprocessing.get_context("spawn").Process(
        target=serve_seller, args=(port,), daemon=True
    )
    seller.start()
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        seller.terminate()
        seller.join()


def _wait_for(port: int) -> None:
    for _ in range(600):
        try:
            httpx.post(f"http://127.0.0.1:{port}/", content=b"{}", timeout=1)
            return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise BenchError("the seller did not start within 30 s")


async def measure_requests(seller_url: str, folder: Path, *, requests: int) -> list[dict[str, Any]]:
    """Return latencies and rates, of the seller itself and of the market before it."""
    engine = make_ledger(folder / "ledger.sqlite3")
    settings = make_settings(folder, seller_concurrency_max=1_000)
    async with run_market(settings, engine) as market:
        await market.list_offer(await market.get_key(), seller_url)
        headers = bearer(await market.get_buyer_key(credit_usdc=10**12))
        own = f"{market.client.base_url}/v1/chat/completions"
        direct = f"{seller_url}/chat/completions"
        rows = []
        async with httpx.AsyncClient(timeout=20) as client:
            for url in (direct, own):
                await _time_requests(client, url, headers, 20)
            latencies: dict[str, list[float]] = {"direct": [], "market": []}
            # In turns, so that both meet the same moments of a shared machine.
            for _ in range(RUNS):
                for name, url in (("direct", direct), ("market", own)):
                    latencies[name] += await _time_requests(client, url, headers, requests // RUNS)
            for name, figures in latencies.items():
                rows.append(_median_row(name, figures))
            rows += await _measure_supplied(client, market, seller_url, headers, requests=requests)
            called = await _connect_api(market, seller_url)
            rows += await _measure_rates(
                client, headers, {"market": own, "api": called}, requests=requests
            )
            rows += await _measure_failover(client, market, headers, count=requests // 8)
            rows += await _measure_behind_proxy(
                client, market, seller_url, headers, folder, requests=requests
            )
        assert all(sale["state"] != "reserved" for sale in market.sales())
    engine.dispose()
    return rows


async def _measure_supplied(
    client: httpx.AsyncClient,
    market: RunningMarket,
    seller_url: str,
    headers: dict[str, str],
    *,
    requests: int,
) -> list[dict[str, Any]]:
    """Return the latency of a seller's offer beside that of a supplier's, with both its ceilings,
    at the same endpoint, in turns."""
    key, now_s = make_token(KEY_PREFIX), int(time.time())
    with write(market.engine) as connection:
        put_supplier(connection, "s")
        save_supplier_key(
            connection,
            key_id="k-s",
            key_hash=key.token_hash,
            supplier_id="s",
            label="",
            scopes=frozenset(Scope),
            expires_at_s=None,
            now_s=now_s,
        )
    offer = {
        "provider_type": "openai_compatible",
        "api_key": "sk-supplied",
        "base_url": seller_url,
        "model_list": [MODEL],
        "bid_price_per_1m_usdt": "0.15",
        "rate_limit_rpm": 100_000,
        "quota_total": 10**12,
    }
    made = await market.client.post("/v1/supply/offers", json=offer, headers=bearer(key.text))
    assert made.status_code == 201, made.text
    path = f"/v1/supply/offers/{made.json()['id']}"

    async def is_active() -> bool:
        found = (await market.client.get(path, headers=bearer(key.text))).json()
        return bool(found["status"] == "active")

    await until_it(is_active, "the supplier's offer is probed")
    own = f"{market.client.base_url}/v1/chat/completions"
    book = (await market.client.get(f"/api/markets/{MODEL}")).json()["offers"]
    # The supplier's offer is the cheaper one, and a request may leave it out.
    [dearest] = sorted(book, key=lambda one: -one["input_usdc_per_mtok"])[:1]
    [supplied] = [one for one in book if one["offer_id"] != dearest["offer_id"]]
    chosen = {
        "of_a_seller": {"routing": {"only": [f"offer:{dearest['offer_id']}"]}},
        "of_a_supplier": {"routing": {"only": [f"offer:{supplied['offer_id']}"]}},
    }
    figures: dict[str, list[float]] = {name: [] for name in chosen}
    for wish in chosen.values():
        await _time_requests(client, own, headers, 20, **wish)
    for _ in range(RUNS):
        for name, wish in chosen.items():
            figures[name] += await _time_requests(client, own, headers, requests // RUNS, **wish)
    await market.client.delete(path, headers=bearer(key.text))
    return [_median_row(name, them) for name, them in figures.items()]


async def _connect_api(market: RunningMarket, seller_url: str) -> str:
    """Sell the same seller's answers by the call of an API; return the URL of such a call."""
    made = await connect(
        market,
        await market.get_key(),
        seller_url.removesuffix("/v1"),
        operations=["POST /v1/chat/completions"],
        monthly_quota=10**9,
        price_usd="0.0001",
        remaining_header=...,
        at_once=10_000,
    )
    return f"{market.client.base_url}/x402/{made['sold_under']}/v1/chat/completions"


async def _measure_rates(
    client: httpx.AsyncClient,
    headers: dict[str, str],
    urls: dict[str, str],
    *,
    requests: int,
) -> list[dict[str, Any]]:
    """Return how many requests a second many connections get answered, of each URL in turns."""
    rates: dict[str, list[float]] = {name: [] for name in urls}
    each = max(1, requests // CONCURRENCY)
    for _ in range(RUNS):
        for name, url in urls.items():
            started = time.perf_counter()
            await asyncio.gather(
                *(_time_requests(client, url, headers, each) for _ in range(CONCURRENCY))
            )
            rates[name].append(each * CONCURRENCY / (time.perf_counter() - started))
    return [
        build_row(
            f"{name}_{CONCURRENCY}_connections", round(statistics.median(them), 3), "requests/s"
        )
        for name, them in rates.items()
    ]


async def _measure_failover(
    client: httpx.AsyncClient, market: RunningMarket, headers: dict[str, str], *, count: int
) -> list[dict[str, Any]]:
    """Return how long a request takes whose cheapest seller refuses, or breaks, the connection."""
    key = await market.get_key()
    url = f"{market.client.base_url}/v1/chat/completions"

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    breaking = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    ports = {"refuses": free_port(), "breaks_off": breaking.sockets[0].getsockname()[1]}
    rows = []
    async with breaking:
        for how, port in ports.items():
            figures = []
            for number in range(count):
                # A new offer each time: one that failed rests.
                base = f"http://127.0.0.1:{port}/v1/{number}"
                dead = await market.list_offer(
                    key, base, price_input_per_1m=1, price_output_per_1m=1
                )
                figures += await _time_requests(client, url, headers, 1)
                await market.client.delete(f"/v1/seller/offers/{dead['id']}", headers=bearer(key))
            rows.append(_median_row(f"failover_{how}", figures))
    return rows


async def _measure_behind_proxy(
    client: httpx.AsyncClient,
    market: RunningMarket,
    seller_url: str,
    headers: dict[str, str],
    folder: Path,
    *,
    requests: int,
) -> list[dict[str, Any]]:
    """Return the latency of a proxy before the seller itself, and before the market."""
    (folder / "proxy").mkdir()
    prices = write_prices(folder / "proxy")
    with write(market.engine) as connection:
        rich = {"credited_usdc": 10**12, "hold_usdc": 10**12}
        put_positions(connection, make_state(now_s=int(time.time()), **rich))
        put_cursor(connection, now_s=int(time.time()))
    buyer_key = headers["authorization"].removeprefix("Bearer ")
    upstreams: dict[str, dict[str, Any]] = {
        "proxy_to_seller": {"upstream_url": seller_url, "upstream_prices": False},
        "proxy_to_market": {
            "upstream_url": f"{market.client.base_url}/v1",
            "upstream_key": buyer_key,
        },
    }
    figures: dict[str, list[float]] = {name: [] for name in upstreams}
    async with AsyncExitStack() as stack:
        urls = {}
        for name, upstream in upstreams.items():
            settings = make_proxy_settings(prices_file=prices, **upstream)
            proxy = await stack.enter_async_context(run_proxy(settings, market.engine))
            urls[name] = f"{proxy.client.base_url}{CHAT}"
        by_key = bearer(make_key())
        for url in urls.values():
            await _time_requests(client, url, by_key, 20)
        for _ in range(RUNS):
            for name, url in urls.items():
                figures[name] += await _time_requests(client, url, by_key, requests // RUNS)
    return [_median_row(name, them) for name, them in figures.items()]


async def _time_requests(
    client: httpx.AsyncClient, url: str, headers: dict[str, str], count: int, **changes: Any
) -> list[float]:
    figures = []
    for _ in range(count):
        started = time.perf_counter()
        answer = await client.post(url, json=make_body(**changes), headers=headers)
        figures.append(time.perf_counter() - started)
        assert answer.status_code == 200, answer.text
    return figures


def _median_row(name: str, figures_s: list[float]) -> dict[str, Any]:
    return build_row(f"{name}_p50", round(1e3 * statistics.median(figures_s), 3), "ms")
