"""The chain as the market's node shows it, for the operator's page; nothing is decided by it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from contracts.errors import CurrentError
from contracts.reader import ChainReader

log = structlog.get_logger("market")

WAIT_S: Final = 3.0
"""How long a page waits for the node; what it says later is for the next one."""


@dataclass(frozen=True, slots=True)
class ChainSight:
    """What a node says at one moment."""

    head_block: int
    head_at_s: int
    """The newest block's own time, Unix seconds."""
    balances_wei: Mapping[str, int]
    """Ether by address."""


class ChainWatch:
    """Asks the node on behalf of pages, one read at a time."""

    def __init__(self, reader: ChainReader) -> None:
        self._reader = reader
        self._reading: asyncio.Task[ChainSight | None] | None = None

    async def fetch(self, addresses: Sequence[str]) -> ChainSight | None:
        """Return the head and the balances of ``addresses``; None: the node does not answer."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(addresses))
        try:
            async with asyncio.timeout(WAIT_S):
                return await asyncio.shield(self._reading)
        except TimeoutError:
            return None

    async def _read(self, addresses: Sequence[str]) -> ChainSight | None:
        try:
            return await asyncio.to_thread(self._ask, addresses)
        except (CurrentError, ValueError) as error:
            log.info("chain_unseen", error=str(error))
            return None

    def _ask(self, addresses: Sequence[str]) -> ChainSight:
        head = self._reader.fetch_head()
        ask = self._reader.transport.request
        balances = {one: int(ask("eth_getBalance", [one, "latest"]), 16) for one in addresses}
        return ChainSight(head.number, head.timestamp_s, balances)
