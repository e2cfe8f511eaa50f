"""Stops a kind of action that keeps failing."""

from keeper.facts import Kind


class Breaker:
    """After ``failures_max`` failures in a row a kind rests, and is then tried once."""

    def __init__(self, *, failures_max: int, rest_s: int) -> None:
        self._failures_max = failures_max
        self._rest_s = rest_s
        self._failures: dict[Kind, int] = {}
        self._open_until_s: dict[Kind, int] = {}

    def is_open(self, kind: Kind, *, now_s: int) -> bool:
        """Tell whether a kind is stopped now."""
        return now_s < self._open_until_s.get(kind, 0)

    def fail(self, kind: Kind, *, now_s: int) -> bool:
        """Count a failure; tell whether the kind is stopped by it."""
        self._failures[kind] = self._failures.get(kind, 0) + 1
        if self._failures[kind] < self._failures_max:
            return False
        self._open_until_s[kind] = now_s + self._rest_s
        return True

    def succeed(self, kind: Kind) -> None:
        """Forget a kind's failures."""
        self._failures.pop(kind, None)
        self._open_until_s.pop(kind, None)
