"""A real anvil of a test's own, and the verbs that tests speak to it in."""

import re
import subprocess
import threading
from collections.abc import Sequence
from typing import IO, Any, Final, Self

from web3 import Web3
from web3.types import RPCEndpoint

from contracts.blocks import BlockRef
from contracts.chain import Web3Transport
from contracts.reader import ChainReader
from scripts.stack.anvil_path import anvil_path
from tests.support.quick_provider import QuickProvider
from tests.support.waiting import wait_until

CHAIN_ID: Final = 31337
# More than any test mines. States beyond anvil's own limit go to disk, which leaves hundreds of
# megabytes there, and a reorg back to such a state loses the code of every contract.
_STATES_KEPT: Final = 100_000
_LISTENING: Final = re.compile(r"Listening on [\d.]+:(\d+)")


class AnvilError(Exception):
    """anvil did not start, or answered a request with an error."""


class Anvil:
    """One anvil process on a port of its own. Use it as a context manager, or call ``stop``.

    It mines a block for every transaction; ``start_interval_mining`` and ``set_automine`` change
    that. Blocks given at the start with ``timestamp_s`` count their time from there. The node
    itself signs for as many funded ``accounts``.
    """

    def __init__(
        self,
        *,
        timestamp_s: int | None = None,
        accounts: int = 0,
        arguments: Sequence[str] = (),
    ) -> None:
        command = [str(anvil_path()), "--host", "127.0.0.1", "--port", "0"]
        command += ["--chain-id", str(CHAIN_ID), "--accounts", str(accounts)]
        if "--prune-history" not in arguments:
            command += ["--prune-history", str(_STATES_KEPT)]
        if timestamp_s is not None:
            command += ["--timestamp", str(timestamp_s)]
        self._process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._provider: QuickProvider | None = None
        self.mines_at_once = True
        assert self._process.stdout is not None
        try:
            self.port = _read_port(self._process.stdout)
            self.url = f"http://127.0.0.1:{self.port}"
            self._provider = QuickProvider(self.port)
            self.web3 = Web3(self._provider)
            self.reader = ChainReader(Web3Transport(self.web3))
            # A pipe that nobody reads would stop anvil when it is full.
            threading.Thread(target=_drain, args=(self._process.stdout,), daemon=True).start()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process. Idempotent."""
        if self._provider is not None:
            self._provider.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def request(self, method: str, *params: Any) -> Any:
        """Return the result of one JSON-RPC request. Raises ``AnvilError`` with the node's text."""
        response = self.web3.provider.make_request(RPCEndpoint(method), list(params))
        if "error" in response:
            raise AnvilError(f"{method}: {response['error']}")
        return response["result"]

    # --------------------------------------------------------------------------------------- blocks

    def head(self) -> BlockRef:
        """Return the newest block."""
        return self.reader.fetch_head()

    def mine(self, count: int = 1, *, interval_s: int = 1) -> BlockRef:
        """Mine ``count`` blocks, ``interval_s`` apart, with whatever waits in the pool."""
        self.request("anvil_mine", hex(count), hex(interval_s))
        return self.head()

    def wait_until_mined(self) -> None:
        """Wait until nothing waits in the pool: a transaction is accepted before it is mined."""
        wait_until(lambda: int(self.request("txpool_status")["pending"], 16) == 0)

    def set_automine(self, enabled: bool) -> None:
        """Mine a block for every transaction, or only when told to."""
        self.request("evm_setAutomine", enabled)
        self.mines_at_once = enabled

    def start_interval_mining(self, seconds: int) -> None:
        """Mine a block every ``seconds``; 0 ends that."""
        self.request("evm_setIntervalMining", seconds)

    def reorg(self, depth: int) -> BlockRef:
        """Replace the newest ``depth`` blocks by as many empty ones; return the new head.

        Their transactions are gone, from the pool too: as after a reorg whose other side never saw
        them.
        """
        self.request("anvil_reorg", depth, [])
        return self.head()

    def rollback(self, depth: int) -> BlockRef:
        """Drop the newest ``depth`` blocks without replacement; return the new head."""
        self.request("anvil_rollback", depth)
        return self.head()

    def drop_transaction(self, tx_hash: str) -> None:
        """Make the pool forget a transaction."""
        self.request("anvil_dropTransaction", tx_hash)

    # ----------------------------------------------------------------------------------------- time

    def now_s(self) -> int:
        """Return the newest block's time."""
        return self.head().timestamp_s

    def warp(self, seconds: int) -> BlockRef:
        """Mine a block ``seconds`` after the newest one; the clock goes on from there."""
        return self.warp_to(self.now_s() + seconds)

    def warp_to(self, timestamp_s: int) -> BlockRef:
        """Mine a block at ``timestamp_s``; the clock goes on from there."""
        self.request("evm_setNextBlockTimestamp", timestamp_s)
        return self.mine()

    # ---------------------------------------------------------------------------------------- state

    def snapshot(self) -> str:
        """Remember the whole chain; ``revert`` takes the id once.

        A reorg of the block at which this is taken breaks the way back: mine one first.
        """
        return str(self.request("evm_snapshot"))

    def revert(self, snapshot_id: str) -> None:
        """Put the chain back to a snapshot, with an empty pool: nothing is mined meanwhile."""
        self.request("anvil_dropAllTransactions")
        if not self.request("evm_revert", snapshot_id):
            raise AnvilError(f"no snapshot {snapshot_id}")

    def fund(self, address: str, amount_wei: int = 10**20) -> None:
        """Set an account's ether."""
        self.request("anvil_setBalance", address, hex(amount_wei))


def _read_port(output: IO[str]) -> int:
    said: list[str] = []
    for line in output:
        said.append(line)
        match = _LISTENING.search(line)
        if match is not None:
            return int(match[1])
    raise AnvilError("anvil did not start:\n" + "".join(said[-20:]))


def _drain(output: IO[str]) -> None:
    try:
        for _ in output:
            pass
    except ValueError:
        pass  # closed by stop()
