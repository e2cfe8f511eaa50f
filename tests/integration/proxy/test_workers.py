"""Several workers on one port: ``PROXY_PROCESSES`` on PostgreSQL.

::

    requests over many connections ── counted once, whichever worker is asked for ``/metrics``
    a worker is killed ── the other serves on; another takes its place; nothing counted is lost
    SIGTERM ── all finish and end with 0;   the first process is killed ── the workers end too
    on SQLite, or wrongly configured ── 2, and why
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from pydantic import ValidationError
from sqlalchemy import Engine

from scripts.stack.anvil_path import ROOT
from scripts.stack.ports import free_port
from tests.support.endpoint import FakeEndpoint
from tests.support.folders import is_running
from tests.support.ledgers import DEPLOYMENT, POSTGRES, Databases
from tests.support.openapi import METRICS_TOKEN
from tests.support.postgres import needs_postgres
from tests.support.proxy import (
    CHAT,
    KEY_SECRET,
    make_body,
    make_key,
    make_settings,
    write_prices,
)
from tests.support.waiting import LIMIT_S, until

pytestmark = needs_postgres
REQUESTS: Final = 12
METRICS: Final = "/api/current/metrics"


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[Databases]:
    with Databases(POSTGRES, tmp_path) as databases:
        yield databases


@pytest.fixture
def environment(engine: Engine, provider: FakeEndpoint, tmp_path: Path) -> dict[str, str]:
    facts: dict[str, Any] = asdict(DEPLOYMENT)
    ahead = {name: facts.pop(name) for name in ("chain_id", "block_number", "block_hash")}
    (tmp_path / "deployment.json").write_text(json.dumps({**ahead, "contracts": facts}))
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PROXY_")}
    return {
        **ours,
        "PROXY_RPC_URL": "http://127.0.0.1:9",
        "PROXY_LEDGER_URL": engine.url.render_as_string(hide_password=False),
        "PROXY_DEPLOYMENT_FILE": str(tmp_path / "deployment.json"),
        "PROXY_KEY_SECRET": KEY_SECRET,
        "PROXY_UPSTREAM_URL": provider.url,
        "PROXY_PRICES_FILE": str(write_prices(tmp_path)),
        "PROXY_MINIMUM_GRADE": "D",
        "PROXY_METRICS_TOKEN": METRICS_TOKEN,
        "PROXY_MAX_STALENESS_S": "86400",
        "PROXY_DRAIN_TIMEOUT_S": "5",
        "PROXY_PROCESSES": "2",
        "PROXY_PORT": str(free_port()),
    }


class Running:
    """The first process and its workers, seen from outside."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self._log = log

    def list_workers(self) -> list[int]:
        pid = self.process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def count_started(self) -> int:
        return self._log.read_text().count('"event":"started"')

    async def ask(self, method: str, path: str, **asked: Any) -> httpx.Response:
        """Ask over a connection of its own: the kernel chooses the worker."""
        async with httpx.AsyncClient(base_url=self.url, timeout=LIMIT_S) as client:
            return await client.request(method, path, **asked)

    async def buy(self, count: int) -> None:
        headers = {"authorization": f"Bearer {make_key()}"}
        for answer in await asyncio.gather(
            *(self.ask("POST", CHAT, json=make_body(), headers=headers) for _ in range(count))
        ):
            assert answer.status_code == 200, answer.text

    async def counted(self) -> int:
        headers = {"authorization": f"Bearer {METRICS_TOKEN}"}
        answer = await self.ask("GET", METRICS, headers=headers)
        [line] = re.findall(r'^current_proxy_requests_total\{code="ok"\} (.*)$', answer.text, re.M)
        return int(float(line))


@pytest.fixture
async def running(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[Running]:
    log = tmp_path / "proxy.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy"], cwd=ROOT, env=environment, stdout=file, stderr=file
        )
    running = Running(process, f"http://127.0.0.1:{environment['PROXY_PORT']}", log)
    try:
        await until(lambda: running.count_started() == 2, "both workers have started")
        await until(lambda: _listens(running), "the port answers")
        yield running
    finally:
        process.terminate()
        process.wait(LIMIT_S)


def _listens(running: Running) -> bool:
    try:
        return httpx.get(f"{running.url}/api/current/healthz", timeout=LIMIT_S).status_code == 200
    except httpx.TransportError:
        return False


async def test_workers__one_is_killed__all_is_served_and_counted_and_another_takes_its_place(
    running: Running,
) -> None:
    await running.buy(REQUESTS)
    assert {await running.counted() for _ in range(6)} == {REQUESTS}

    killed, lives = running.list_workers()
    os.kill(killed, signal.SIGKILL)
    await until(lambda: running.count_started() == 3, "another worker has started")
    assert lives in running.list_workers()
    await until(lambda: _listens(running), "the port answers")
    await running.buy(REQUESTS)
    assert {await running.counted() for _ in range(6)} == {2 * REQUESTS}

    workers = running.list_workers()
    assert len(workers) == 2
    running.process.terminate()
    assert running.process.wait(LIMIT_S) == 0
    assert not any(map(is_running, workers))


@pytest.mark.slow
async def test_workers__first_process_is_killed__they_end_too(running: Running) -> None:
    workers = running.list_workers()
    running.process.kill()
    running.process.wait(LIMIT_S)
    await until(lambda: not any(map(is_running, workers)), "the workers have ended")


@pytest.mark.slow
def test_workers__wrongly_configured__2_and_one_sentence(environment: dict[str, str]) -> None:
    changes = {"PROXY_DEPLOYMENT_FILE": "/nowhere.json"}
    # Not by a fork: workers are started by the command that started the first process.
    done = subprocess.run(
        [sys.executable, "-m", "proxy"],
        cwd=ROOT,
        env={**environment, **changes},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    said = done.stdout + done.stderr
    assert done.returncode == 2
    assert "no deployment at /nowhere.json" in said
    assert "Traceback" not in said


def test_settings__several_on_sqlite__are_refused() -> None:
    with pytest.raises(ValidationError, match="several processes need PostgreSQL"):
        make_settings(processes=2)
