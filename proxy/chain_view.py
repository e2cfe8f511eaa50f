"""What only the chain knows, for show: a position's pending yield, and when it is harvested.

Nothing is decided by it.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from eth_abi.abi import encode
from eth_utils.abi import function_signature_to_4byte_selector

from contracts.errors import CurrentError, Reverted
from contracts.reader import ChainReader
from ledger.chain.harvest_outlook import (
    HarvestOutlook,
    NoHarvest,
    PrincipalStep,
    expect_harvest,
)
from ledger.errors import HarvestTimes

log = structlog.get_logger("proxy")

_PENDING_YIELD: Final = function_signature_to_4byte_selector("pendingYield(uint256)")
_WORD_BYTES: Final = 32

FRESH_S: Final = 15.0
"""How long an answer of the node is shown again; also how long its silence is remembered."""
WAIT_S: Final = 2.0
"""How long a request waits for the node."""
REMEMBERED_MAX: Final = 10_000
ASKED_MAX: Final = 4
"""How many questions are open at the node at a time; beyond them there is no answer."""


class ChainView:
    """Asks the adapter's view, remembers its answers a while, and never delays a request long."""

    def __init__(self, reader: ChainReader, *, adapter: str) -> None:
        self._reader = reader
        self._adapter = adapter
        self._known: OrderedDict[int, tuple[float, int | None]] = OrderedDict()
        self._asked: dict[int, asyncio.Task[int | None]] = {}

    async def fetch_pending_yield(self, token_id: int) -> int | None:
        """Return what a harvest would credit now (1e-6 USDC); None where the chain does not say.

        May be ``FRESH_S`` old.
        """
        known = self._known.get(token_id)
        if known is not None and time.monotonic() - known[0] < FRESH_S:
            return known[1]
        task = self._asked.get(token_id)
        if task is None:
            if len(self._asked) >= ASKED_MAX:
                return None
            task = self._asked[token_id] = asyncio.create_task(self._ask(token_id))
            task.add_done_callback(lambda _: self._asked.pop(token_id, None))
        try:
            async with asyncio.timeout(WAIT_S):
                return await asyncio.shield(task)
        except TimeoutError:
            self._remember(token_id, None)
            return None

    async def fetch_outlook(
        self,
        token_id: int,
        times: HarvestTimes,
        *,
        now_s: int,
        load_steps: Callable[[int], Awaitable[Sequence[PrincipalStep]]],
    ) -> HarvestOutlook:
        """Return when the position's next harvest is expected. ``now_s``: the chain's clock.

        ``load_steps`` returns the principals of a position, oldest first. It is asked only where
        the yield is still to reach a cent; where it raises, the principal counts as unchanged.
        """
        # Without shares the answer is known, and the chain is not asked.
        pending_usdc = await self.fetch_pending_yield(token_id) if times.has_shares else 0
        outlook = expect_harvest(times, pending_usdc=pending_usdc, now_s=now_s)
        if not outlook.is_estimate and outlook.reason is not NoHarvest.YIELD_BELOW_MINIMUM:
            return outlook
        try:
            steps = await load_steps(token_id)
        except CurrentError as error:
            log.info("principal_unknown", token_id=token_id, error=str(error))
            return outlook
        return expect_harvest(times, pending_usdc=pending_usdc, now_s=now_s, steps=steps)

    async def _ask(self, token_id: int) -> int | None:
        try:
            pending = await asyncio.to_thread(self._call, token_id)
        except CurrentError as error:
            log.info("pending_yield_unknown", token_id=token_id, error=str(error))
            pending = None
        self._remember(token_id, pending)
        return pending

    def _call(self, token_id: int) -> int:
        answer = self._reader.fetch_call(
            self._adapter, _PENDING_YIELD + encode(["uint256"], [token_id])
        )
        if len(answer) != _WORD_BYTES:
            raise Reverted("the adapter has no answer")
        return int.from_bytes(answer, "big")

    def _remember(self, token_id: int, pending: int | None) -> None:
        self._known[token_id] = (time.monotonic(), pending)
        self._known.move_to_end(token_id)
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
