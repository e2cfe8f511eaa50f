"""Kill a gateway behind answered requests, and count the charges on record: ``make bench-crash``.

Each gateway answers 60 requests, eight at a time, and is killed with all its processes (``-9``)
the moment the last answer is in. Then it is started again, and asked what it knows: ours is read
out of its ledger, on SQLite and on PostgreSQL, request by request; LiteLLM's proxy keeps budgets
here as it does without a database and without Redis, in memory, and is asked for what its budget
has spent. Writes ``bench/results/crash.json``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
import httpx
from sqlalchemy import select

from bench.proxy.ours import build_keys, prepare_ledger, serve_ours
from bench.proxy.peers import LITELLM, PEER_KEY, install_litellm
from bench.proxy.servers import Server, serve
from bench.proxy.upstream import MODEL, serve_upstream
from bench.report import BenchError, build_result, build_row, work_folder, write_result
from contracts.units import format_usdc
from ledger.database.engine import open_engine, read
from ledger.tables import Usage, table_of
from scripts.stack.ports import free_port
from serving.process.command_line import command
from tests.support.postgres import Postgres, find_programs

REQUESTS: Final = 60
AT_ONCE: Final = 8
BODY: Final = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 50}
_usage = table_of(Usage)


def ask_and_kill(server: Server, path: str, keys: list[str], requests: int) -> list[httpx.Response]:
    """Return the answers of ``requests`` requests; the server is dead before this returns.

    Raises ``BenchError`` where a request was refused.
    """
    limits = httpx.Limits(max_connections=AT_ONCE)
    with (
        httpx.Client(base_url=server.url, timeout=60, limits=limits, trust_env=False) as client,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):

        def ask(number: int) -> httpx.Response:
            headers = {"authorization": f"Bearer {keys[number % len(keys)]}"}
            return client.post(path, json=BODY, headers=headers)

        answers = list(pool.map(ask, range(requests)))
        os.killpg(server.session_id, signal.SIGKILL)
    for answer in answers:
        if answer.status_code != 200:
            raise BenchError(f"a request was refused: {answer.status_code} {answer.text[:200]}")
    return answers


def measure_ours(name: str, ledger_url: str, folder: Path, requests: int) -> dict[str, Any]:
    """Return how many of the answered requests are charged in the ledger, with what they said."""
    prepare_ledger(ledger_url, positions=AT_ONCE)
    keys = build_keys(AT_ONCE, step=1)
    with serve_upstream(folder) as upstream:
        with serve_ours(name, ledger_url, upstream, folder) as server:
            answers = ask_and_kill(server, "/api/current/v1/chat/completions", keys, requests)
        # It starts again on what it left, before anything is counted.
        with serve_ours(f"{name}-again", ledger_url, upstream, folder):
            charged = load_charges(ledger_url)
    told = {one.headers["x-request-id"]: int(one.headers["x-current-cost-usdc"]) for one in answers}
    kept = sum(charged.get(request_id) == cost_usdc for request_id, cost_usdc in told.items())
    more = len(charged.keys() - told.keys())
    return build_row(name, kept, f"of {requests}", cost_usdc=sum(told.values()), beyond=more)


def load_charges(ledger_url: str) -> dict[str, int]:
    """Return what is charged by request, 1e-6 USDC."""
    engine = open_engine(ledger_url)
    try:
        with read(engine) as connection:
            query = select(_usage.c.request_id, _usage.c.cost_usdc).where(
                _usage.c.state == "posted"
            )
            return {request_id: int(cost) for request_id, cost in connection.execute(query)}
    finally:
        engine.dispose()


# ------------------------------------------------------------------------------------------ LiteLLM


@contextmanager
def serve_with_budget(upstream: Server, folder: Path, name: str) -> Iterator[Server]:
    """Run LiteLLM's proxy with a budget of 100 USD a day for its provider."""
    port = free_port()
    settings = {
        "model_list": [
            {
                "model_name": MODEL,
                "litellm_params": {
                    "model": f"openai/{MODEL}",
                    "api_base": f"{upstream.url}/v1",
                    "api_key": "none",
                },
            }
        ],
        "router_settings": {
            "provider_budget_config": {"openai": {"budget_limit": 100, "time_period": "1d"}}
        },
        "general_settings": {"master_key": PEER_KEY},
    }
    path = folder / "litellm.yaml"
    path.write_text(json.dumps(settings))  # JSON is YAML
    words = [str(LITELLM / "bin" / "litellm"), "--config", str(path), "--port", str(port)]
    with serve(
        name,
        [*words, "--host", "127.0.0.1", "--num_workers", "1"],
        port=port,
        ready="/health/liveliness",
        folder=folder,
        environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"},
    ) as server:
        yield server


def load_spent_usd(server: Server) -> float:
    """Return what its budget says is spent, USD. Raises ``BenchError``."""
    headers = {"authorization": f"Bearer {PEER_KEY}"}
    answer = httpx.get(f"{server.url}/provider/budgets", headers=headers, timeout=30)
    try:
        return float(answer.json()["providers"]["openai"]["spend"] or 0)
    except (ValueError, KeyError, TypeError):
        raise BenchError(f"LiteLLM said of its budget: {answer.text[:200]}") from None


def measure_litellm(folder: Path, requests: int) -> dict[str, Any]:
    """Return how many requests' worth its budget knows of, after it was killed and started again.

    The worth of one request is what the budget says after some that nobody killed it for.
    """
    install_litellm()
    with serve_upstream(folder) as upstream:
        with serve_with_budget(upstream, folder, "LiteLLM-calm") as server:
            one_usd = _price_one(server)
        with serve_with_budget(upstream, folder, "LiteLLM") as server:
            ask_and_kill(server, "/v1/chat/completions", [PEER_KEY], requests)
        with serve_with_budget(upstream, folder, "LiteLLM-again") as server:
            spent_usd = load_spent_usd(server)
    return build_row("LiteLLM", round(spent_usd / one_usd), f"of {requests}", spent_usd=spent_usd)


def _price_one(server: Server, limit_s: float = 60.0) -> float:
    """Return what one request costs by the budget itself. Raises ``BenchError``."""
    headers = {"authorization": f"Bearer {PEER_KEY}"}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=BODY, headers=headers, timeout=60)
    answer.raise_for_status()
    deadline_s = time.monotonic() + limit_s
    while not (spent_usd := load_spent_usd(server)):
        if time.monotonic() > deadline_s:
            raise BenchError("LiteLLM's budget knows of no request, also without a kill")
        time.sleep(0.5)
    return spent_usd


@command("crash", help=__doc__)
@click.option("--requests", type=click.IntRange(1), default=REQUESTS, help="How many are answered.")
@click.option("--peers/--no-peers", default=True, help="LiteLLM too, where it can be installed.")
def main(requests: int, peers: bool) -> None:
    """Measure, print, write."""
    folder = work_folder("crash")
    rows: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}

    def note(name: str, measure: Callable[[], dict[str, Any]]) -> None:
        try:
            row = measure()
        except BenchError as error:
            skipped[name] = str(error)
            click.echo(f"{name:24} left out: {error}")
            return
        rows.append(row)
        cost = f", {format_usdc(row['cost_usdc'])} USDC" if "cost_usdc" in row else ""
        click.echo(f"{name:24} {row['value']:>4} {row['unit']} on record{cost}")

    try:
        url = f"sqlite:///{folder / 'ledger.sqlite3'}"
        note("Current on SQLite", lambda: measure_ours("SQLite", url, folder, requests))
        if find_programs() is None:
            skipped["Current on PostgreSQL"] = "no PostgreSQL server is installed"
        else:
            with Postgres(durable=True) as server:
                told = server.create_database()
                note("Current on PostgreSQL", lambda: measure_ours("pg", told, folder, requests))
        if peers:
            note("LiteLLM", lambda: measure_litellm(folder, requests))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    write_result("crash", build_result(rows, {}, skipped, requests=requests))


if __name__ == "__main__":
    main(prog_name="python -m bench.crash.main")
