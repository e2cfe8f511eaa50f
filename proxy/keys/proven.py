"""Which positions have paid for something: they have a reserve of places, and of body bytes.

What the ledger says is remembered, so that a position is looked up once while it is busy.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from proxy.chat.meter import Meter
from proxy.store import has_paid

KNOWN_FOR_S: Final = 30.0
"""How long a position is taken for unproven without a look at the ledger."""
KNOWN_MAX: Final = 100_000
"""Positions that are remembered; those that were looked up longest ago are forgotten first."""


class ProvenPositions:
    """Whose charges the ledger has, as far as this process has asked."""

    def __init__(self, meter: Meter, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._meter = meter
        self._clock = clock
        self._until_s: OrderedDict[int, float | None] = OrderedDict()
        """Until when a position is unproven, by the steady clock; None: it has paid."""

    def note_paid(self, token_id: int) -> None:
        """Remember that a position was charged for something."""
        self._remember(token_id, None)

    async def check(self, token_id: int) -> bool:
        """Tell whether a position was ever charged for anything. Raises ``LedgerUnavailable``."""
        now_s = self._clock()
        until_s = self._until_s.get(token_id, now_s)
        if until_s is None or until_s > now_s:
            return until_s is None
        is_proven = await self._meter.read(lambda connection: has_paid(connection, token_id))
        if is_proven or self._until_s.get(token_id, now_s) is not None:
            self._remember(token_id, None if is_proven else self._clock() + KNOWN_FOR_S)
            return is_proven
        return True  # it was charged while we asked

    def _remember(self, token_id: int, until_s: float | None) -> None:
        self._until_s[token_id] = until_s
        self._until_s.move_to_end(token_id)
        if len(self._until_s) > KNOWN_MAX:
            self._until_s.popitem(last=False)
