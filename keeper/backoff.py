"""How long a position whose harvest is due but fails, or is not worth it, is left alone.

Kept in memory only: after a restart everything due is looked at once more, which is harmless.
"""

from typing import Final

REST_DOUBLINGS_MAX: Final = 6


class HarvestBackoff:
    """When each unpromising position may be looked at again. Rests grow with failures in a row."""

    def __init__(self, *, rest_s: int) -> None:
        self._rest_s = rest_s
        self._resting: dict[int, tuple[int, int]] = {}

    def resting(self, *, now_s: int) -> frozenset[int]:
        """Return the positions to leave alone now."""
        return frozenset(t for t, (until_s, _) in self._resting.items() if now_s < until_s)

    def defer(self, token_id: int, *, now_s: int) -> None:
        """Look again after one rest: it is harvested now, or not worth it yet."""
        self._resting[token_id] = (now_s + self._rest_s, 0)

    def fail(self, token_id: int, *, now_s: int) -> None:
        """Look again after a rest that doubles with each failure in a row."""
        _, failures = self._resting.get(token_id, (0, 0))
        rest_s = self._rest_s * 2 ** min(failures, REST_DOUBLINGS_MAX)
        self._resting[token_id] = (now_s + rest_s, failures + 1)
