"""kill -9 of a running stack's processes, with requests in flight; then the money adds up.

With ``make test-all``: each process in turn, a reorg, all processes at once, random campaigns. The
quick run kills one process of each kind on one ledger: ``integration/ledger/test_many_processes``.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.stack.devnet import ROOT
from scripts.stack.model import MODEL_ID
from scripts.stack.run_directory import ROOT as RUNS
from scripts.stack.up import StackRecord, load_stack_record
from tests.support.waiting import LIMIT_S, wait_until

CURRENT = str(Path(sys.executable).with_name("current"))
PROCESSES = ("anvil", "indexer", "keeper", "proxy", "model")


@dataclass
class RunningStack:
    """A stack that ``current up`` runs, seen from outside."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    record: StackRecord
    api_key: str

    def kill(self, child: str) -> None:
        """kill -9 one of the stack's processes; harmless while it is being started again."""
        try:
            pid = int((RUNS / self.name / "pids" / child).read_text())
            os.kill(pid, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return

    def ask(self, client: httpx.Client, max_tokens: int = 4) -> httpx.Response:
        """Ask the model for a few tokens."""
        return client.post(
            f"{self.record.api_url}/v1/chat/completions",
            headers={"Authorization": f"Bearer {self.api_key}"},
            json={
                "model": MODEL_ID,
                "max_tokens": max_tokens,
                "messages": [{"role": "user", "content": "hi"}],
            },
        )

    def position(self) -> dict[str, Any]:
        """Return the proxy's view of position 0, once the proxy answers: it may just have died."""
        answer = wait_until(self._ask_position, "the proxy shows the position", poll_s=0.2)
        assert answer is not None
        view: dict[str, Any] = answer.json()
        return view

    def _ask_position(self) -> httpx.Response | None:
        try:
            answer = httpx.get(f"{self.record.api_url}/positions/0", timeout=LIMIT_S)
        except httpx.TransportError:
            return None
        return answer if answer.status_code == 200 else None


@pytest.fixture
def name() -> Iterator[str]:
    """A stack's name that no other test run uses; its files go when the test has passed."""
    unique = f"test-{os.getpid()}-{time.time_ns():x}"
    yield unique
    shutil.rmtree(RUNS / unique, ignore_errors=True)
    (RUNS / f"{unique}.lock").unlink(missing_ok=True)


@contextmanager
def running_stack(name: str, tmp_path: Path, *, fresh: bool) -> Iterator[RunningStack]:
    """Run ``current up`` until the block ends, then stop it with Ctrl-C."""
    log = tmp_path / f"{name}.log"
    arguments = [CURRENT, "up", "--name", name, *(["--fresh"] if fresh else [])]
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
    try:
        deadline_s = time.monotonic() + 3 * LIMIT_S
        while "Ctrl-C stops everything" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.1)
        lines = log.read_text().splitlines()
        api_key = next(line for line in lines if line.startswith("API key")).split()[-1]
        yield RunningStack(name, process, log, load_stack_record(name), api_key)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=LIMIT_S)


@dataclass
class Load:
    """Clients that keep asking, and what they were answered."""

    stack: RunningStack
    answered: dict[str, int] = field(default_factory=dict)
    """Cost in 1e-6 USDC of every answer that was given, by request id."""
    unexpected: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, seed: int) -> None:
        luck = random.Random(seed)
        with httpx.Client(timeout=LIMIT_S) as client:
            while not self.stopping.is_set():
                try:
                    answer = self.stack.ask(client, luck.choice((1, 4, 16)))
                except httpx.HTTPError:
                    time.sleep(0.1)  # the proxy is down
                    continue
                if answer.status_code == 200:
                    cost_usdc = int(answer.headers["x-current-cost-usdc"])
                    self.answered[answer.headers["x-request-id"]] = cost_usdc
                elif answer.status_code not in (429, 502, 503, 504):
                    self.unexpected.append(answer.text)

    def wait_for_answers(self, count: int) -> None:
        """Wait until so many more requests were answered."""
        enough = len(self.answered) + count
        wait_until(
            lambda: len(self.answered) >= enough,
            f"{count} more answers; see {self.stack.log}",
            limit_s=3 * LIMIT_S,
            poll_s=0.1,
        )

    @contextmanager
    def in_background(self, clients: int) -> Iterator[None]:
        threads = [threading.Thread(target=self.run, args=(seed,)) for seed in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stopping.set()
            for thread in threads:
                thread.join()


def audit(stack: RunningStack) -> tuple[int, str]:
    done = subprocess.run(
        [CURRENT, "audit", "--name", stack.name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def wait_until_settled(stack: RunningStack) -> None:
    """Wait until the keeper has settled everything that was posted."""
    wait_until(
        lambda: not {state for state, _, _ in read_usage(stack)} & {"posted", "settling"},
        f"all is settled; see {stack.log}",
        limit_s=3 * LIMIT_S,
        poll_s=0.5,
    )


def read_usage(stack: RunningStack) -> list[tuple[str, str, int | None]]:
    """Return (state, request id, cost) of every usage row, straight from the file."""
    with sqlite3.connect(stack.record.ledger_url.removeprefix("sqlite:///")) as ledger:
        return ledger.execute("SELECT state, request_id, cost_usdc FROM usage").fetchall()


def assert_money_adds_up(stack: RunningStack, load: Load) -> None:
    """Once the chain is mirrored and all is settled: every answer is charged once, what it said."""
    wait_until(lambda: audit(stack)[0] == 0, f"the audit is clean; see {stack.log}", poll_s=0.5)
    wait_until_settled(stack)
    usage = {request_id: (state, cost) for state, request_id, cost in read_usage(stack)}
    for request_id, cost_usdc in load.answered.items():
        assert usage[request_id] == ("settled", cost_usdc)
    settled_usdc = sum(cost or 0 for state, cost in usage.values() if state == "settled")
    assert stack.position()["allowance"]["spent_usdc"] == settled_usdc
    code, said = audit(stack)
    assert code == 0, said
    assert load.unexpected == []


def campaign(stack: RunningStack, *, seconds: float, seed: int) -> Load:
    luck = random.Random(seed)
    load = Load(stack)
    with load.in_background(clients=4):
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            time.sleep(luck.uniform(0.3, 3))
            stack.kill(luck.choice(PROCESSES))
    return load


def reorganise(stack: RunningStack, depth_blocks: int) -> None:
    """Replace the newest blocks by empty ones."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "anvil_reorg", "params": [depth_blocks, []]}
    answer = httpx.post(stack.record.rpc_url, json=body, timeout=LIMIT_S).json()
    assert "error" not in answer


def paste_curl_line(stack: RunningStack) -> None:
    """Run the line that ``current up`` prints, as a person would."""
    line = next(line for line in stack.log.read_text().splitlines() if line.startswith("curl"))
    done = subprocess.run(["sh", "-c", line], capture_output=True, timeout=LIMIT_S, check=True)
    answer = json.loads(done.stdout)
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] > 0


@pytest.mark.slow
def test_up__every_process_killed_then_all_of_them__money_adds_up(
    name: str, tmp_path: Path
) -> None:
    with running_stack(name, tmp_path, fresh=True) as stack:
        if shutil.which("curl") is not None:
            paste_curl_line(stack)
        load = Load(stack)
        with load.in_background(clients=4):
            load.wait_for_answers(2)
            reorganise(stack, 20)  # first: a node that was started again knows no older states
            for child in PROCESSES:
                load.wait_for_answers(2)
                stack.kill(child)
            load.wait_for_answers(2)
            os.kill(stack.process.pid, signal.SIGKILL)
            stack.process.wait()
    with running_stack(name, tmp_path, fresh=False) as stack:
        load.stack = stack
        assert_money_adds_up(stack, load)


@pytest.mark.slow
def test_reorgs__deep_with_requests_in_flight__mirror_is_chain(name: str, tmp_path: Path) -> None:
    with running_stack(name, tmp_path, fresh=True) as stack:
        load = Load(stack)
        with load.in_background(clients=4):
            for depth in (1, 66, 20):
                load.wait_for_answers(4)
                reorganise(stack, depth)
        assert_money_adds_up(stack, load)
        assert load.answered


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_crashes__long_campaign__money_adds_up(name: str, tmp_path: Path, seed: int) -> None:
    with running_stack(name, tmp_path, fresh=True) as stack:
        load = campaign(stack, seconds=120, seed=seed)
        assert_money_adds_up(stack, load)
