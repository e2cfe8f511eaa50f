"""Generated chains for the indexer bench: one anvil each, full of our events."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak
from web3 import HTTPProvider, Web3

from bench.gas.chain import HARDFORK, Chain, mint_with_credit
from bench.report import BenchError
from contracts.deployment import Deployment, load_deployment
from contracts.transport import HttpTransport
from tests.support.anvil import Anvil

WINDOW_BLOCKS: Final = 256
USDC: Final = 1_000_000
CHAIN_START_S: Final = 23_148 * 86_400
HOLD_S: Final = 20 * 3_600


@dataclass(frozen=True, slots=True)
class Shape:
    """A chain to generate: a settled batch of so many positions in every so-manieth block."""

    name: str
    blocks: int
    items: int
    every: int
    block_time_s: int

    @property
    def batches(self) -> int:
        return self.blocks // self.every


DENSE: Final = Shape("dense", blocks=2_000, items=50, every=1, block_time_s=30)
SPARSE: Final = Shape("sparse", blocks=20_000, items=2, every=25, block_time_s=2)


class Generated:
    """One anvil with one generated chain on it, and the settler that goes on with it."""

    def __init__(self, url: str, shape: Shape, folder: Path) -> None:
        self.url = url
        self.shape = shape
        self.record = folder / f"{shape.name}.json"
        web3 = Web3(HTTPProvider(url, request_kwargs={"timeout": 120}))
        self._chain = Chain(web3)
        self._transport = HttpTransport(url, timeout_s=120)
        self._batch = 0
        self._settler = self._chain.settler
        self._write_record(first=self._head_number())
        mint_with_credit(self._chain, 2 * shape.items, 1_000_000 * USDC)
        self._chain.request("evm_setAutomine", False)
        self._chain.request("anvil_setBlockTimestampInterval", shape.block_time_s)
        self._nonce: int = web3.eth.get_transaction_count(self._settler)
        self._now_s = self._chain.now_s()
        for _ in range(shape.batches):
            self.settle(skip=shape.every - 1)
        self.last_block = self._head_number()
        # So that all of it is deep enough to be backfilled.
        self._chain.request("anvil_mine", hex(WINDOW_BLOCKS))
        self.deployment: Deployment = load_deployment(self.record)

    def settle(self, *, skip: int = 0, items: int | None = None) -> None:
        """Mine a block in which ``items`` positions get holds and are settled from them."""
        shape = self.shape
        first = (self._batch % 2) * shape.items
        ids = range(first, first + (shape.items if items is None else items))
        self._now_s += shape.block_time_s * (1 + skip)
        until_s = self._now_s + HOLD_S
        holds = [(token_id, USDC, until_s, 0) for token_id in ids]
        batch_id = (self._batch + 1).to_bytes(32, "big")
        costs = [(token_id, 1_000 + self._batch % 1_000) for token_id in ids]
        hold = _call("hold", ["(uint256,uint256,uint256,uint256)[]"], [holds])
        settle_types = ["bytes32", "bytes32", "(uint256,uint256)[]"]
        settle = _call("settle", settle_types, [batch_id, b"\x07" * 32, costs])
        if skip:
            self._chain.request("anvil_mine", hex(skip))
        calls: list[tuple[str, list[Any]]] = []
        for data in (hold, settle):
            transaction = {
                "from": self._settler,
                "to": self._chain.position.address,
                "data": data,
                "gas": hex(5_000_000),
                "gasPrice": "0x0",
                "nonce": hex(self._nonce),
            }
            calls.append(("eth_sendTransaction", [transaction]))
            self._nonce += 1
        for answer in self._transport.request_batch(calls):
            if isinstance(answer, Exception):
                raise BenchError(f"the chain could not be generated: {answer}")
        # Not in the batch, whose requests may overtake each other.
        self._transport.request("evm_mine", [])
        self._batch += 1

    def head_number(self) -> int:
        """Return the newest block's number."""
        return self._head_number()

    def _head_number(self) -> int:
        return int(self._chain.request("eth_blockNumber"), 16)

    def _write_record(self, *, first: int) -> None:
        chain = self._chain
        block = chain.request("eth_getBlockByNumber", hex(first), False)
        contracts = {
            "position": chain.position.address,
            "adapter": chain.adapter.address,
            "payouts": chain.position.functions.treasury().call(),
            "usdc": chain.usdc.address,
            "multicall3": chain.usdc.address,
            "vault": chain.usdc.address,
        }
        record = {
            "chain_id": int(chain.request("eth_chainId"), 16),
            "block_number": first,
            "block_hash": block["hash"],
            "contracts": contracts,
        }
        self.record.write_text(json.dumps(record))


def _call(name: str, types: Sequence[str], values: Sequence[Any]) -> str:
    return "0x" + (keccak(text=f"{name}({','.join(types)})")[:4] + encode(types, values)).hex()


@contextmanager
def generate(shape: Shape, folder: Path) -> Iterator[Generated]:
    """Run an anvil with a generated chain."""
    arguments = ["--prune-history", "--gas-limit", "300000000", "--hardfork", HARDFORK]
    arguments += ["--block-base-fee-per-gas", "0", "--gas-price", "0"]
    with Anvil(timestamp_s=CHAIN_START_S, accounts=10, arguments=arguments) as anvil:
        yield Generated(anvil.url, shape, folder)


def wait_until(what: str, check: Callable[[], bool], *, timeout_s: float) -> None:
    """Wait for ``check``. Raises ``BenchError`` after ``timeout_s``."""
    deadline_s = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline_s:
            raise BenchError(f"{what}: not there after {timeout_s:.0f} s")
        time.sleep(0.01)
