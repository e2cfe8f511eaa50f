"""Gas of a settled request: whole transactions on anvil, by how many share a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bench.gas.chain import NO_SMOOTHING, Chain, mint_with_credit, run_anvil
from contracts.units import USDC_ONE

REQUESTS: Final = (1, 10, 100, 1_000)
ITEMS_MAX: Final = 200
HOUR_S: Final = 3_600
ROOT_HASH: Final = b"\x07" * 32
HOLDS_PER_BATCH: Final = 600 / 4_500
"""By default a hold in use is renewed every 4,500 s, usage is settled every 600 s."""


@dataclass(frozen=True, slots=True)
class BatchGas:
    """What a batch costs on chain: of so many requests, spread over so many positions."""

    requests: int
    positions: int
    settle: int
    hold: int

    @property
    def each(self) -> float:
        """Gas of one request where every batch needs a hold of its own."""
        return (self.settle + self.hold) / self.requests

    @property
    def each_usual(self) -> float:
        """The same at the default pace of holds and settlements."""
        return (self.settle + self.hold * HOLDS_PER_BATCH) / self.requests


def measure_gas() -> tuple[list[BatchGas], int]:
    """Return the gas of batches, and of one request that is held and settled by itself."""
    with run_anvil() as web3:
        chain = Chain(web3)
        mint_with_credit(chain, ITEMS_MAX, 1_000 * USDC_ONE)
        numbers = iter(range(1, 1_000))
        alone = _measure_batch(chain, numbers, 1)
        cached = {1: alone}
        found: list[BatchGas] = []
        for requests in REQUESTS:
            for positions in sorted({1, min(requests, 100)}):
                if positions not in cached:
                    cached[positions] = _measure_batch(chain, numbers, positions)
                hold, settle = cached[positions]
                found.append(BatchGas(requests, positions, settle, hold))
        return found, sum(alone)


def _measure_batch(chain: Chain, numbers: Iterator[int], positions: int) -> tuple[int, int]:
    """Return the gas of holding and of settling ``positions`` at once, in the steady state."""
    position = chain.position.functions
    for _ in range(2):
        holds = [(t, USDC_ONE, chain.now_s() + HOUR_S, 0) for t in range(positions)]
        hold = chain.send(position.hold(holds), chain.settler)
        batch_id = next(numbers).to_bytes(32, "big")
        items = [(token_id, 1_000) for token_id in range(positions)]
        settle = chain.send(position.settle(batch_id, ROOT_HASH, items), chain.settler)
    return hold, settle


def measure_harvest_gas(count: int = 30) -> int:
    """Return the gas of each of ``count`` harvests that share a transaction."""
    with run_anvil() as web3:
        chain = Chain(web3)
        vault = chain.deploy_ours("MockVault", chain.usdc.address)
        multicall3 = chain.deploy_ours("Multicall3")
        adapter = chain.adapter.functions
        chain.fund(chain.owner, count * 1_000 * USDC_ONE)
        approve = chain.usdc.functions.approve(chain.adapter.address, count * 1_000 * USDC_ONE)
        chain.send(approve, chain.owner)
        for _ in range(count):
            opened = (1, NO_SMOOTHING, vault.address, 30, 1_000 * USDC_ONE, 0)
            chain.send(adapter.open(*opened), chain.owner)
        calls = [
            (chain.adapter.address, True, chain.adapter.encode_abi("harvest", args=[token_id]))
            for token_id in range(count)
        ]
        gas = 0
        for _ in range(2):
            chain.fund(vault.address, count * USDC_ONE)
            gas = chain.send(multicall3.functions.aggregate3(calls), chain.outsider)
        return gas // count
