"""The local chain survives being killed: with its blocks, its logs, its clock and its port."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.stack.anvil import Anvil, SavedState, newest_state, start_anvil
from scripts.stack.processes import Stack
from scripts.stack.run_directory import claim_run_directory
from tests.support.waiting import wait_until

# Deploys a contract that logs one topic whenever it is called.
LOGGER_INIT_CODE = "0x600c600c600039600c6000f3602a60005260aa60206000a100"
DAY_S = 86_400


class Chain:
    """The few calls these tests make."""

    def __init__(self, anvil: Anvil) -> None:
        self.url = anvil.url

    def ask(self, method: str, *params: object) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = httpx.post(self.url, json=body, trust_env=False).json()
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def latest(self) -> Any:
        return self.ask("eth_getBlockByNumber", "latest", False)

    def send(self, **transaction: str) -> Any:
        sender = self.ask("eth_accounts")[0]
        tx_hash = self.ask("eth_sendTransaction", {"from": sender, **transaction})
        return wait_until(lambda: self.ask("eth_getTransactionReceipt", tx_hash), "it is mined")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with (
        claim_run_directory("chain", root=tmp_path) as directory,
        Stack(directory, say=lambda _: None) as running,
    ):
        yield running


def kill_and_wait(stack: Stack) -> None:
    pid = stack.child("anvil").pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    child = stack.child("anvil")
    wait_until(lambda: child.pid not in (None, pid) and child.match is not None, "anvil is back")


def wait_for_checkpoint(path: Path, *, after_s: float) -> None:
    wait_until(lambda: path.exists() and path.stat().st_mtime > after_s, "a checkpoint is written")


def test_anvil__killed__goes_on_from_its_checkpoint(stack: Stack) -> None:
    state_path = stack.directory.anvil_state
    anvil = start_anvil(stack, state_path=state_path)
    chain = Chain(anvil)
    address = chain.send(data=LOGGER_INIT_CODE)["contractAddress"]
    chain.ask("evm_increaseTime", 30 * DAY_S)
    receipts = [chain.send(to=address) for _ in range(3)]
    wait_for_checkpoint(state_path, after_s=time.time())
    before = chain.latest()

    kill_and_wait(stack)

    assert stack.child("anvil").match[1] == str(anvil.port)  # type: ignore[index]
    logs = chain.ask("eth_getLogs", {"fromBlock": "0x0", "address": address})
    assert [log["blockHash"] for log in logs] == [one["blockHash"] for one in receipts]
    assert chain.ask("eth_getTransactionReceipt", receipts[0]["transactionHash"]) == receipts[0]
    # At most the blocks since the checkpoint are gone, and time never goes back.
    restored = chain.ask("eth_getBlockByNumber", receipts[-1]["blockNumber"], False)
    assert restored["hash"] == receipts[-1]["blockHash"]
    after = chain.send(to=address)
    mined = chain.ask("eth_getBlockByNumber", after["blockNumber"], False)
    drift_s = int(mined["timestamp"], 16) - int(before["timestamp"], 16)
    assert 0 <= drift_s < DAY_S  # as long as a busy machine takes


def test_anvil__stopped_and_started__is_the_same_chain(tmp_path: Path) -> None:
    hashes: list[str] = []
    for _ in range(2):
        with (
            claim_run_directory("chain", root=tmp_path) as directory,
            Stack(directory, say=lambda _: None) as stack,
        ):
            chain = Chain(start_anvil(stack, state_path=directory.anvil_state))
            if not hashes:
                chain.ask("evm_mine")
            hashes.append(chain.ask("eth_getBlockByNumber", "0x1", False)["hash"])

    assert hashes[0] == hashes[1]


def test_anvil__half_a_state_file__is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "anvil.json"
    assert newest_state(path) is None
    path.write_text('{"block": {"timestamp": "0x6')

    assert newest_state(path) is None


def test_anvil__genesis_time__is_as_asked(stack: Stack) -> None:
    chain = Chain(start_anvil(stack, timestamp_s=1_800_000_000))

    genesis = chain.ask("eth_getBlockByNumber", "0x0", False)

    assert int(genesis["timestamp"], 16) == 1_800_000_000


@pytest.mark.parametrize(
    ("block_s", "saved_s", "now_s", "resumed_s"),
    [
        (1_000, 1_001.0, 5_000.0, 5_000),  # never moved: the real time
        (1_010, 1_000.0, 1_001.0, 1_010),  # never before the newest block
        (9_000, 1_000.0, 1_500.0, 9_500),  # moved ahead: it stays ahead
        (100, 1_000.0, 1_500.0, 600),  # begun in the past: it stays there
    ],
)
def test_resume_at_s__clock_of_the_chain__runs_on(
    block_s: int, saved_s: float, now_s: float, resumed_s: int
) -> None:
    saved = SavedState(Path("anvil.json"), block_s, saved_s)

    assert saved.resume_at_s(now_s=now_s) == resumed_s
