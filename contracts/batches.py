"""How many requests a node takes in one batch, learnt from what it does with them. Pure.

Nodes limit batches and say so in many shapes: by a status, by one error for all, by an error in
each item beyond the limit, or by no answer at all. What tells a limit from a node in trouble is
that fewer requests, sent right after, are answered; a node that does not even answer one request
alone is in trouble, and nothing follows about its batches.
"""

from typing import Final

BATCH_MAX: Final = 100
"""Requests in one batch at first."""
SHRINK: Final = 4
FAILURES_MAX: Final = 2
"""Failures in a row, in a shape that may mean anything, before fewer requests are tried."""
PATIENCE: Final = 1_000
"""Full batches that are answered before twice as many are tried; doubles with each limit met."""


class BatchSize:
    """The size of the next batch. Races between threads cost a request, nothing else."""

    def __init__(self) -> None:
        self.size = BATCH_MAX
        self._before: int | None = None
        """The size before a search for the limit began, None where none is under way."""
        self._failures = 0
        self._failed_count = 0
        self._answered = 0
        self._patience = PATIENCE

    def refuse(self, count: int) -> None:
        """Note that ``count`` requests are not answered as one batch: try a quarter of them."""
        assert count > 1
        if self._before is None:
            self._before = self.size
        self.size = max(1, count // SHRINK)
        self._answered = 0

    def fail(self, count: int) -> bool:
        """Note a failure that may have any cause; tell whether fewer requests are to be tried."""
        if count == 1:
            if self._before is not None:
                self.size = self._before
            self._before = None
            self._failures = 0
            return False
        self._failures += 1
        self._failed_count = count
        if self._failures < FAILURES_MAX and self._before is None:
            return False
        self.refuse(count)
        return True

    def accept(self, count: int) -> None:
        """Note that ``count`` requests were answered as one batch."""
        if count >= self._failed_count:
            self._failures = 0
        if self._before is not None:
            self._before = None
            self._failures = 0
            self._patience *= 2
        if count < self.size or self.size == BATCH_MAX:
            return
        self._answered += 1
        if self._answered >= self._patience:
            self._answered = 0
            self.size = min(BATCH_MAX, 2 * self.size)
