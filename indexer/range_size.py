"""How many blocks a indexer asks for at once, learnt from a node's answers and failures. Pure.

Providers limit ranges by blocks, by logs or by time, and say so in words of their own, or not at
all: the request times out, the connection drops, a gateway answers 504. So a range that fails twice
is halved, whatever the words. A node that fails for a single block as well has other troubles, and
nothing follows about how long a range may be.
"""

from typing import Final

from contracts.node_errors import (
    BodyTooLarge,
    NodeFailure,
    NodeRefused,
    NodeUnavailable,
    NotYet,
    RangeRefused,
)

FIRST_RANGE_BLOCKS: Final = 16
RANGE_EVENTS_AIM: Final = 1_000
"""A range should bring about so many events: more make answers slower to read, by the event."""
RANGE_TIME_AIM_S: Final = 1.0
GROWTH_MAX: Final = 2.0
GROWTH_NEAR_LIMIT_MAX: Final = 1.1
FAILURES_MAX: Final = 2
"""Failures of one range before it is halved, in words that do not say that it is too long."""
PATIENCE: Final = 32
"""Answers at the length that a node takes before a longer range is tried again."""

Error = NodeRefused | NodeUnavailable


class RangeSize:
    """How many blocks to ask for at once, from 1 to ``blocks_max``."""

    def __init__(self, blocks_max: int, *, first: int = FIRST_RANGE_BLOCKS) -> None:
        self._blocks_max = blocks_max
        self._limit: int | None = None
        """The shortest range that failed for its length, None where none did."""
        self._failures = 0
        self._answers = 0
        self.blocks = min(first, blocks_max)

    def learn(self, count: int, *, logs: int, elapsed_s: float, was_split: bool) -> None:
        """Grow after a quick, small answer for ``count`` blocks; shrink after a slow, large one.

        ``was_split`` says that a longer range failed before this one was asked for.
        """
        self._failures = 0
        if was_split:
            # The limit is about here; what it is may change with the density of the events.
            self._limit = 2 * count
            self.blocks = min(self.blocks, count)
            return
        by_events = RANGE_EVENTS_AIM / max(1, logs)
        by_time = RANGE_TIME_AIM_S / max(0.001, elapsed_s)
        fitting = int(count * min(by_events, by_time, GROWTH_MAX))
        if fitting > count:
            # From a range that is shorter than those asked for now, nothing follows for them.
            self.blocks = min(self._blocks_max, max(self.blocks, self._bound(count, fitting)))
        else:
            self.blocks = max(1, min(self.blocks, fitting))

    def _bound(self, count: int, fitting: int) -> int:
        """Return a longer range that stays below the limit, until that has held for long."""
        if self._limit is None or fitting < self._limit // 2:
            return fitting
        careful = max(count + 1, int(count * GROWTH_NEAR_LIMIT_MAX))
        if careful < self._limit:
            return careful
        self._answers += 1
        if self._answers < PATIENCE:
            return count
        self._answers = 0
        self._limit = None if careful > self._limit else careful + 1
        return careful

    def fail(self, count: int, error: Error) -> None:
        """Note that ``count`` blocks could not be read; ask for half of them where that may help.

        The caller waits out a rate limit; a provider that counts work instead of requests
        may refuse one long range for ever, so that it is halved as well.
        """
        if isinstance(error, NotYet) or error.failure is NodeFailure.HISTORY_PRUNED:
            return
        self._answers = 0
        if count == 1:
            self._failures = 0
            self._limit = None
            return
        self._failures += 1
        if self._failures >= FAILURES_MAX or is_too_long(error):
            self._failures = 0
            self._limit = count
            self.blocks = max(1, min(self.blocks, count // 2))


def is_too_long(error: Error) -> bool:
    """Tell whether the failure itself says that fewer blocks help."""
    return isinstance(error, (RangeRefused, BodyTooLarge)) or error.failure is NodeFailure.TIMED_OUT
