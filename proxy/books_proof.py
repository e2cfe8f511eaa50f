"""Whether our books and the chain agree: the mirror's sums beside the contracts' own, at one block.

For show, and cheap: ``current audit`` compares every position and every event. What was compared
last is shown again for ``FRESH_S``.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from eth_abi.abi import encode
from eth_utils.abi import function_signature_to_4byte_selector
from sqlalchemy import Connection, func, select

from contracts.errors import CurrentError, Reverted
from contracts.reader import ChainReader
from ledger.chain.mirror import MirrorState, load_mirror
from ledger.tables import Position, table_of
from proxy.chat.meter import Meter

log = structlog.get_logger("proxy")

FRESH_S: Final = 10.0
SHOWN_S: Final = 120.0
"""How long a comparison is shown while no newer one succeeds: an old proof is none."""
WAIT_S: Final = 3.0

_position = table_of(Position)


@dataclass(frozen=True, slots=True)
class BookSums:
    """What the ledger says that all positions have."""

    mirror: MirrorState
    positions: int
    unspent_usdc: int
    """Credited, and neither spent nor taken out."""


@dataclass(frozen=True, slots=True)
class BookProof:
    """The ledger's figures, and the chain's at the same block."""

    block_number: int
    block_hash: str
    compared_at_s: int
    positions: int
    positions_on_chain: int
    unspent_usdc: int
    unspent_on_chain_usdc: int
    """What the position contract says it owes to positions."""
    contract_balance_usdc: int
    """The USDC that the position contract has."""

    @property
    def agrees(self) -> bool:
        """Whether the figures are the same and the contract has what it owes."""
        return (
            self.positions == self.positions_on_chain
            and self.unspent_usdc == self.unspent_on_chain_usdc
            and self.contract_balance_usdc >= self.unspent_on_chain_usdc
        )


def load_book_sums(connection: Connection) -> BookSums | None:
    """Return the sums of the mirror; None before anything was mirrored."""
    mirror = load_mirror(connection)
    if mirror is None:
        return None
    unspent = _position.c.credited_usdc - _position.c.spent_usdc - _position.c.withdrawn_usdc
    count, unspent_usdc = connection.execute(
        select(func.count(), func.coalesce(func.sum(unspent), 0)).select_from(_position)
    ).one()
    return BookSums(mirror, int(count), int(unspent_usdc))


class BooksWatch:
    """Compares in the background of requests, once at a time."""

    def __init__(
        self,
        reader: ChainReader,
        meter: Meter,
        *,
        position: str,
        usdc: str,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock_s = clock_s
        self._reader = reader
        self._meter = meter
        self._position = position
        self._usdc = usdc
        self._known: BookProof | None = None
        self._known_at_s = 0.0
        self._compared_at_s = -FRESH_S
        self._comparing: asyncio.Task[None] | None = None

    async def fetch(self) -> BookProof | None:
        """Return the last comparison, made again where it is old.

        None where there was none yet, or none within ``SHOWN_S``.
        """
        if self._clock_s() - self._compared_at_s >= FRESH_S:
            if self._comparing is None:
                self._comparing = asyncio.create_task(self._compare())
            try:
                async with asyncio.timeout(WAIT_S):
                    await asyncio.shield(self._comparing)
            except TimeoutError:
                pass
        is_shown = self._clock_s() - self._known_at_s <= SHOWN_S
        return self._known if is_shown else None

    async def _compare(self) -> None:
        try:
            sums = await self._meter.read(load_book_sums)
            if sums is not None:
                self._known = await asyncio.to_thread(self._ask, sums, self._meter.now_s())
                self._known_at_s = self._clock_s()
        except CurrentError as error:
            log.info("books_not_compared", error=str(error))
        finally:
            self._compared_at_s = self._clock_s()
            self._comparing = None

    def _ask(self, sums: BookSums, now_s: int) -> BookProof:
        number = sums.mirror.block_number
        header = self._reader.fetch_header(number)
        if header is None or header.block_hash != sums.mirror.block_hash:
            raise Reverted("the mirrored block is not on the node's chain")
        liabilities = self._call(self._position, "liabilities()", number)
        owed = self._call(self._position, "owed()", number)
        balance = self._call(self._usdc, "balanceOf(address)", number, self._position)
        return BookProof(
            block_number=number,
            block_hash=sums.mirror.block_hash,
            compared_at_s=now_s,
            positions=sums.positions,
            positions_on_chain=self._call(self._position, "totalSupply()", number),
            unspent_usdc=sums.unspent_usdc,
            unspent_on_chain_usdc=liabilities - owed,
            contract_balance_usdc=balance,
        )

    def _call(self, to: str, signature: str, block_number: int, *values: str) -> int:
        data = function_signature_to_4byte_selector(signature)
        data += encode(["address"] * len(values), values)
        answer = self._reader.fetch_call(to, data, block_number=block_number)
        if len(answer) != 32:
            raise Reverted("the contract has no answer")
        return int.from_bytes(answer, "big")
