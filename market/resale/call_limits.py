"""How often a connection is called: by everybody together, and by one consumer.

In this process only: several processes let several times as much through. They keep the API's own
limits and share it out; what is sold is bounded by the ledger.
"""

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from market.resale.connection_terms import CallLimits
from serving.http.errors import rate_limited

SECOND_S: Final = 1.0
MINUTE_S: Final = 60.0
KEPT_MAX: Final = 50_000


@dataclass(slots=True)
class CallPlace:
    """One call's place."""

    is_sent: bool = False
    """Whether the API was called."""


class CallLimiter:
    """Counts calls in windows that begin with their first call."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()
        self._open: Counter[str] = Counter()

    @contextmanager
    def hold(self, connection_id: str, limits: CallLimits, consumer: str) -> Iterator[CallPlace]:
        """Hold a place for one call. Raises 429, saying when to come again.

        A call that was not sent (it was not paid for, say) counts for its consumer alone.
        """
        now = self._clock()
        windows: tuple[tuple[Hashable, float, int, str], ...] = (
            ((connection_id, "s"), SECOND_S, limits.per_second, "to this API"),
            ((connection_id, "m"), MINUTE_S, limits.per_minute, "to this API"),
            (
                (connection_id, consumer),
                MINUTE_S,
                limits.consumer_per_minute,
                "by this consumer to this API",
            ),
        )
        if self._open[connection_id] >= limits.at_once:
            raise rate_limited(1, "to this API at once")
        for key, length_s, count_max, what in windows:
            self._check(key, length_s, count_max, what, now)
        for key, length_s, count_max, _ in windows:
            if count_max:
                self._count(key, length_s, now)
        self._open[connection_id] += 1
        place = CallPlace()
        begun = {key: self._windows[key][0] for key, _, count_max, _ in windows[:2] if count_max}
        try:
            yield place
        finally:
            if not place.is_sent:
                self._give_back(begun)
            self._open[connection_id] -= 1
            if not self._open[connection_id]:
                del self._open[connection_id]

    def _give_back(self, begun: dict[Hashable, float]) -> None:
        for key, begun_s in begun.items():
            start_s, count = self._windows.get(key, (0.0, 0))
            if start_s == begun_s and count > 0:
                self._windows[key] = (start_s, count - 1)

    def _check(self, key: Hashable, length_s: float, count_max: int, what: str, now: float) -> None:
        begun, count = self._windows.get(key, (now, 0))
        if count_max and now - begun < length_s and count >= count_max:
            raise rate_limited(max(1, math.ceil(begun + length_s - now)), what)

    def _count(self, key: Hashable, length_s: float, now: float) -> None:
        begun, count = self._windows.get(key, (now, 0))
        self._windows[key] = (begun, count + 1) if now - begun < length_s else (now, 1)
        self._windows.move_to_end(key)
        if len(self._windows) > KEPT_MAX:
            self._windows.popitem(last=False)
