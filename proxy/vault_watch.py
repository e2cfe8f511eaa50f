"""The reviewed vault as the chain shows it: its share price, now and before, and what it can pay.

For show; nothing is decided by it. What was read last is shown again for ``FRESH_S``.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import function_signature_to_4byte_selector

from contracts.blocks import Header
from contracts.errors import CurrentError, Reverted
from contracts.reader import ChainReader

log = structlog.get_logger("proxy")

FRESH_S: Final = 60.0
"""How long what was read is shown again; also how long a silent node is left alone."""
WAIT_S: Final = 4.0
"""How long a request waits for the node."""
POINTS: Final = 12
"""How many share prices are shown, the newest included."""
BACK_S: Final = 30 * 86_400
"""How far back they go where the node still has the blocks."""
DECIMALS_MAX: Final = 36
"""More digits than any share of a vault has: what says so talks nonsense."""
PACE_BLOCKS: Final = 1_000
"""Over how many blocks the chain's pace is measured."""
YEAR_S: Final = 365 * 86_400


@dataclass(frozen=True, slots=True)
class SharePrice:
    """What a share was worth in one block: 1e-6 USDC for ``10 ** (decimals + 6)`` shares."""

    block_number: int
    at_s: int
    price: int


@dataclass(frozen=True, slots=True)
class VaultFigures:
    """What a vault says of itself."""

    name: str
    symbol: str
    decimals: int
    total_assets_usdc: int
    """Everything that the vault manages."""
    liquid_usdc: int
    """The USDC that lies in the vault itself; it may reach more elsewhere."""
    lost_assets_usdc: int | None
    """Losses that the vault says it has not made good; None: it does not say."""
    fee_ppm: int | None
    """The vault's own fee on yield, 1e-6; None: it does not say."""
    history: Sequence[SharePrice]
    """Oldest first."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Yield as the share price shows it."""

    year_ppm: int
    """Simple yield in 365 days, 1e-6, rounded down; below zero after a loss."""
    over_s: int
    """The time that it was measured over."""


def measure_pace(history: Sequence[SharePrice]) -> Pace | None:
    """Return the yield a year between the first and the last price; None below a minute."""
    if len(history) < 2:
        return None
    first, last = history[0], history[-1]
    over_s = last.at_s - first.at_s
    if over_s < 60 or first.price <= 0:
        return None
    grown = last.price - first.price
    return Pace(grown * 1_000_000 * YEAR_S // (first.price * over_s), over_s)


def choose_blocks(*, head: int, first: int, count: int) -> list[int]:
    """Return at most ``count`` block numbers from ``first`` to ``head``, both included, evenly."""
    if head <= first:
        return [head]
    steps = min(count - 1, head - first)
    return [first + (head - first) * step // steps for step in range(steps + 1)]


class VaultWatch:
    """Reads a vault in the background of requests, one read at a time."""

    def __init__(self, reader: ChainReader, *, vault: str, usdc: str) -> None:
        self._reader = reader
        self._vault = vault
        self._usdc = usdc
        self._known: VaultFigures | None = None
        self._read_at_s = -FRESH_S
        self._reading: asyncio.Task[None] | None = None

    async def fetch(self) -> VaultFigures | None:
        """Return what is known of the vault, read again where it is old; None: never read."""
        if time.monotonic() - self._read_at_s >= FRESH_S:
            if self._reading is None:
                self._reading = asyncio.create_task(self._refresh())
            try:
                async with asyncio.timeout(WAIT_S):
                    await asyncio.shield(self._reading)
            except TimeoutError:
                pass
        return self._known

    async def _refresh(self) -> None:
        try:
            self._known = await asyncio.to_thread(self._read)
        except (CurrentError, ValueError) as error:
            log.info("vault_unknown", vault=self._vault, error=str(error))
        finally:
            self._read_at_s = time.monotonic()
            self._reading = None

    def _read(self) -> VaultFigures:
        head = self._reader.fetch_head()
        decimals = self._ask_number("decimals()", head.number)
        if decimals > DECIMALS_MAX:
            raise Reverted("the vault names no number of decimals")
        return VaultFigures(
            name=self._ask_text("name()"),
            symbol=self._ask_text("symbol()"),
            decimals=decimals,
            total_assets_usdc=self._ask_number("totalAssets()", head.number),
            liquid_usdc=self._ask_liquid(head.number),
            lost_assets_usdc=self._ask_optional("lostAssets()", head.number),
            fee_ppm=_to_ppm(self._ask_optional("fee()", head.number)),
            history=self._read_history(head, decimals),
        )

    def _read_history(self, head: Header, decimals: int) -> list[SharePrice]:
        pace_blocks = min(PACE_BLOCKS, head.number)
        before = self._reader.fetch_header(head.number - pace_blocks)
        first = 0
        if before is not None and head.timestamp_s > before.timestamp_s:
            back = BACK_S * pace_blocks // (head.timestamp_s - before.timestamp_s)
            first = max(0, head.number - back)
        numbers = choose_blocks(head=head.number, first=first, count=POINTS)
        history = []
        for header in self._reader.fetch_headers(numbers):
            price = None if header is None else self._ask_price(header.number, decimals)
            if header is not None and price is not None:
                history.append(SharePrice(header.number, header.timestamp_s, price))
        return history

    def _ask_price(self, block_number: int, decimals: int) -> int | None:
        shares = 10 ** (decimals + 6)
        return self._ask_optional("convertToAssets(uint256)", block_number, [shares])

    def _ask_liquid(self, block_number: int) -> int:
        return self._ask_number("balanceOf(address)", block_number, [self._vault], to=self._usdc)

    def _ask_optional(
        self, signature: str, block_number: int, values: Sequence[object] = ()
    ) -> int | None:
        try:
            return self._ask_number(signature, block_number, values)
        except (CurrentError, ValueError):
            return None

    def _ask_number(
        self,
        signature: str,
        block_number: int,
        values: Sequence[object] = (),
        *,
        to: str | None = None,
    ) -> int:
        answer = self._ask(signature, values, block_number, to=to)
        if len(answer) != 32:
            raise Reverted("the vault has no answer")
        return int.from_bytes(answer, "big")

    def _ask_text(self, signature: str) -> str:
        try:
            (text,) = decode(["string"], self._ask(signature, (), None))
        except (DecodingError, OverflowError, UnicodeDecodeError) as error:
            raise Reverted(f"the vault's {signature} is no text") from error
        return "".join(letter for letter in str(text)[:80] if letter.isprintable())

    def _ask(
        self,
        signature: str,
        values: Sequence[object],
        block_number: int | None,
        *,
        to: str | None = None,
    ) -> bytes:
        types = signature[signature.index("(") + 1 : -1]
        data = function_signature_to_4byte_selector(signature)
        data += encode(types.split(",") if types else [], values)
        return self._reader.fetch_call(to or self._vault, data, block_number=block_number)


def _to_ppm(fee_wad: int | None) -> int | None:
    """Return a fee that MetaMorpho states in 1e-18 as 1e-6; None where it cannot be one."""
    return None if fee_wad is None or fee_wad > 10**18 else fee_wad // 10**12
