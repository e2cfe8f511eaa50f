"""Measure the market: ``python -m bench.market.main``.

How many routing decisions a second one core takes over 10, 1,000 and 100,000 offers of one model;
what the market adds to a request beside calling the same seller directly, by itself and behind the
proxy; and what it takes to pass over a cheapest seller that is dead. The market is its own
composition over a real SQLite ledger with ``synchronous=FULL``: a request is two durable writes.
The seller is a bare ASGI application in a process of its own. Prints a table and writes
``bench/results/market.json``.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import structlog
import uvicorn

from ledger.database.engine import write
from market.routing.ranking import Ask, Offer, OfferState, Shelf
from scripts.stack.anvil_path import ROOT
from scripts.stack.ports import free_port
from serving.models.prices import Price, Tokens
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.market import RunningMarket, bearer, make_body, make_settings, run_market
from tests.support.proxy import CHAT, make_key, run_proxy, write_prices
from tests.support.proxy import make_settings as make_proxy_settings

RESULT: Final = ROOT / "bench" / "results" / "market.json"
SIZES: Final = (10, 1_000, 100_000)
RUNS: Final = 5
DECIDE_S: Final = 0.5
REQUESTS: Final = 300
FAILOVERS: Final = 40
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


def make_offers(count: int, *, seed: int = 1) -> list[Offer]:
    """Return offers of random prices, a tenth of which may not serve."""
    dice = random.Random(seed)
    return [
        Offer(
            offer_id=f"{number:08d}",
            model="m",
            seller=f"s{number % 97}",
            price=Price(dice.randrange(1, 10_000_000), dice.randrange(1, 50_000_000)),
            is_active=dice.random() > 0.1,
            cap_daily_usdc=dice.choice((None, 10**9)),
        )
        for number in range(count)
    ]


def measure_decisions(count: int) -> float:
    """Return routing decisions a second, for requests of changing shape. Median of ``RUNS``."""
    shelf = Shelf(make_offers(count))
    state = OfferState()
    dice = random.Random(2)
    asks = [
        Ask(
            model="m",
            estimate=(tokens := Tokens(dice.randrange(1, 20_000), dice.randrange(1, 4_000))),
            bound=tokens,
            direct=Price(10_000_000, 50_000_000),
            minimum_discount_pct=dice.choice((None, 10, 30)),
        )
        for _ in range(256)
    ]
    rates = []
    for _ in range(RUNS):
        made, until = 0, time.perf_counter() + DECIDE_S
        while time.perf_counter() < until:
            for ask in asks[:32]:
                assert shelf.select(lambda _: state, ask) is not None
            asks = asks[32:] + asks[:32]
            made += 32
        rates.append(made / (DECIDE_S + time.perf_counter() - until))
    return statistics.median(rates)


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


async def measure_requests(seller_url: str, folder: Path) -> list[dict[str, Any]]:
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
                    latencies[name] += await _time_requests(client, url, headers, REQUESTS // RUNS)
            for name, figures in latencies.items():
                rows.append(_row(f"{name}_p50", 1e3 * statistics.median(figures), "ms"))
            started = time.perf_counter()
            await asyncio.gather(
                *(
                    _time_requests(client, own, headers, REQUESTS // CONCURRENCY)
                    for _ in range(CONCURRENCY)
                )
            )
            made = REQUESTS // CONCURRENCY * CONCURRENCY
            rate = made / (time.perf_counter() - started)
            rows.append(_row(f"market_{CONCURRENCY}_connections", rate, "requests/s"))
            rows += await _measure_failover(client, market, headers)
            rows += await _measure_behind_proxy(client, market, seller_url, headers, folder)
        assert all(sale["state"] != "reserved" for sale in market.sales())
    engine.dispose()
    return rows


async def _measure_failover(
    client: httpx.AsyncClient, market: RunningMarket, headers: dict[str, str]
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
            for number in range(FAILOVERS):
                # A new offer each time: one that failed rests.
                base = f"http://127.0.0.1:{port}/v1/{number}"
                dead = await market.list_offer(
                    key, base, price_input_per_1m=1, price_output_per_1m=1
                )
                figures += await _time_requests(client, url, headers, 1)
                await market.client.delete(f"/v1/seller/offers/{dead['id']}", headers=bearer(key))
            rows.append(_row(f"failover_{how}_p50", 1e3 * statistics.median(figures), "ms"))
    return rows


async def _measure_behind_proxy(
    client: httpx.AsyncClient,
    market: RunningMarket,
    seller_url: str,
    headers: dict[str, str],
    folder: Path,
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
                figures[name] += await _time_requests(client, url, by_key, REQUESTS // RUNS)
    return [
        _row(f"{name}_p50", 1e3 * statistics.median(them), "ms") for name, them in figures.items()
    ]


async def _time_requests(
    client: httpx.AsyncClient, url: str, headers: dict[str, str], count: int
) -> list[float]:
    figures = []
    for _ in range(count):
        started = time.perf_counter()
        answer = await client.post(url, json=make_body(), headers=headers)
        figures.append(time.perf_counter() - started)
        assert answer.status_code == 200, answer.text
    return figures


def _row(name: str, value: float, unit: str) -> dict[str, Any]:
    return {"name": name, "value": round(value, 3), "unit": unit}


def main() -> None:
    """Measure, print, and write the result."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    rows = [_row(f"route_{count}", measure_decisions(count), "decisions/s") for count in SIZES]
    port = free_port()
    seller = multiprocessing.get_context("spawn").Process(
        target=serve_seller, args=(port,), daemon=True
    )
    seller.start()
    try:
        _wait_for(port)
        with tempfile.TemporaryDirectory() as folder:
            rows += asyncio.run(measure_requests(f"http://127.0.0.1:{port}/v1", Path(folder)))
    finally:
        seller.terminate()
        seller.join()
    found = {row["name"]: row["value"] for row in rows}
    ratios = {
        "route_100k_vs_10": round(found["route_100000"] / found["route_10"], 3),
        "added_p50_ms": round(found["market_p50"] - found["direct_p50"], 3),
        "added_behind_proxy_p50_ms": round(
            found["proxy_to_market_p50"] - found["proxy_to_seller_p50"], 3
        ),
        "failover_p50_ms": round(found["failover_refuses_p50"] - found["market_p50"], 3),
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.python_version()}",
        "rows": rows,
        "ratios": ratios,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for row in rows:
        print(f"{row['name']:<24} {row['value']:>14,.2f} {row['unit']}")
    for name, value in ratios.items():
        print(f"{name:<24} {value:>14,.3f}")


def _wait_for(port: int) -> None:
    for _ in range(200):
        try:
            httpx.post(f"http://127.0.0.1:{port}/", content=b"{}", timeout=1)
            return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise RuntimeError("the seller did not start")


if __name__ == "__main__":
    main()
