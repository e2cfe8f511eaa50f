"""Run the local chain, and let it survive ``kill -9``.

anvil can write its own state file (``--state``, ``--state-interval``), but it writes in place:
killed meanwhile, it leaves half a file and refuses to start from it. So the state is asked for over
RPC and written whole or not at all.

What a killed anvil loses is the blocks since the last checkpoint, about a second's: to a reader, an
ordinary reorg. Blocks, transactions, receipts and logs from before it are all there with their
hashes, and the chain's clock goes on where it was. The states of older blocks are not: a call or
balance at a block before the checkpoint is refused (``BlockOutOfRangeError``).
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from scripts.stack.anvil_path import anvil_path
from scripts.stack.processes import Stack

CHAIN_ID: Final = 31337
BLOCK_TIME_S: Final = 2
CHECKPOINT_EVERY_S: Final = 1.0
# A dump grows with the chain's length; writing it takes at most this share of the time.
CHECKPOINT_TIME_SHARE_MAX: Final = 0.05
# A chain this close to the real time has not been moved by hand.
CLOCK_SLACK_S: Final = 60
LISTENING: Final = re.compile(r"Listening on [\d.]+:(\d+)")


@dataclass(frozen=True, slots=True)
class Anvil:
    """A running local chain; address and port stay the same when it is started again."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def start_anvil(
    stack: Stack,
    *,
    port: int = 0,
    timestamp_s: int | None = None,
    state_path: Path | None = None,
    mixed_mining: bool = True,
) -> Anvil:
    """Start anvil in ``stack``; ``port`` 0 takes a free one. Blocks come every two seconds and,
    with ``mixed_mining``, with every transaction.

    ``timestamp_s`` is the time of the genesis block, for a chain that is new. With ``state_path``
    the chain goes on from that file if it is there, is checkpointed to it, and is started again
    from it, with its clock, when anvil dies.
    """
    listening_port = port
    # Old states go to disk, by the hundred megabytes, and anvil never deletes them.
    old_states = stack.directory.path / "anvil-states"

    def build_command() -> Sequence[str]:
        shutil.rmtree(old_states, ignore_errors=True)
        command = [str(anvil_path()), "--host", "127.0.0.1", "--port", str(listening_port)]
        command += ["--chain-id", str(CHAIN_ID), "--block-time", str(BLOCK_TIME_S)]
        command += ["--cache-path", str(old_states)]
        if mixed_mining:
            command += ["--mixed-mining"]
        saved = newest_state(state_path) if state_path is not None else None
        if saved is not None:
            command += ["--load-state", str(saved.path), "--timestamp", str(saved.resume_at_s())]
        elif timestamp_s is not None:
            command += ["--timestamp", str(timestamp_s)]
        if state_path is not None:
            command += ["--dump-state", str(_exit_state(state_path))]
        return command

    child = stack.start(
        "anvil", build_command, ready=LISTENING, restart=state_path is not None, usual_s=1
    )
    assert child.match is not None
    listening_port = int(child.match[1])
    anvil = Anvil(port=listening_port)
    if state_path is not None:
        checkpoints = Checkpoints(anvil.url, state_path)
        checkpoints.start()
        stack.on_exit(checkpoints.stop)
    return anvil


# --- the saved chain ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SavedState:
    """A state file that can be loaded, its newest block's time and when it was written."""

    path: Path
    block_timestamp_s: int
    saved_at_s: float

    def resume_at_s(self, *, now_s: float | None = None) -> int:
        """Return the time to go on at: the chain's clock runs on while it is stopped.

        Never before the newest block; the real time when the clock was never moved.
        """
        now_s = time.time() if now_s is None else now_s
        resumed_s = self.block_timestamp_s + max(0.0, now_s - self.saved_at_s)
        if abs(resumed_s - now_s) < CLOCK_SLACK_S:
            resumed_s = max(now_s, self.block_timestamp_s)
        return int(resumed_s)


def newest_state(state_path: Path) -> SavedState | None:
    """Return the newer of our checkpoint and what anvil wrote on its way out, if it is whole."""
    found: list[SavedState] = []
    for path in (state_path, _exit_state(state_path)):
        with suppress(OSError, ValueError, KeyError, TypeError):
            state = json.loads(path.read_bytes())
            timestamp_s = int(state["block"]["timestamp"], 16)
            found.append(SavedState(path, timestamp_s, path.stat().st_mtime))
    return max(found, key=lambda saved: saved.saved_at_s, default=None)


def _exit_state(state_path: Path) -> Path:
    return state_path.with_suffix(".exit.json")


class Checkpoints(threading.Thread):
    """Write the chain's state to a file whenever it has a new block, about once a second."""

    def __init__(self, url: str, state_path: Path) -> None:
        super().__init__(name="anvil-checkpoints", daemon=True)
        self._client = httpx.Client(base_url=url, timeout=30.0, trust_env=False)
        self._state_path = state_path
        self._stopping = threading.Event()
        self._saved_block: str | None = None

    def run(self) -> None:
        delay_s = CHECKPOINT_EVERY_S
        while not self._stopping.wait(delay_s):
            began_s = time.monotonic()
            # anvil may be dead just now; the checkpoint there is stays good.
            with suppress(httpx.HTTPError, LookupError, ValueError):
                self.save()
            took_s = time.monotonic() - began_s
            delay_s = max(CHECKPOINT_EVERY_S, took_s / CHECKPOINT_TIME_SHARE_MAX)

    def stop(self) -> None:
        """End the thread and save once more, while anvil still runs."""
        self._stopping.set()
        self.join()
        with suppress(httpx.HTTPError, LookupError, ValueError):
            self.save()
        self._client.close()

    def save(self) -> None:
        """Save the state if there is a new block. Raises when anvil does not answer."""
        before = self._ask("eth_getBlockByNumber", "latest", False)["hash"]
        if before == self._saved_block:
            return
        state = gzip.decompress(bytes.fromhex(self._ask("anvil_dumpState").removeprefix("0x")))
        # A block mined meanwhile may be in the accounts and not in the blocks; next time, then.
        if self._ask("eth_getBlockByNumber", "latest", False)["hash"] != before:
            return
        draft = self._state_path.with_suffix(".draft")
        with draft.open("wb") as file:
            file.write(state)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._state_path)
        self._saved_block = before

    def _ask(self, method: str, *params: object) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return self._client.post("/", json=body).raise_for_status().json()["result"]
