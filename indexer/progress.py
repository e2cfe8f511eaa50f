"""Showing how far a backfill is: a bar for a person, log lines for a machine."""

import sys
import time
from collections.abc import Callable
from typing import Final

import structlog
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

log = structlog.get_logger("indexer")

LINE_EVERY_S: Final = 5.0


class BackfillProgress:
    """Blocks done, events a second and time left, on stderr."""

    def __init__(
        self, *, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = Console(file=sys.stderr) if console is None else console
        self._clock = clock
        self._bar: Progress | None = None
        self._began_s: float | None = None
        self._line_at_s = 0.0
        self._first = self._block = self._last = self._events = 0

    def show(self, *, first: int, block: int, last: int, events: int) -> None:
        """Say that the blocks from ``first`` to ``block``, of those to ``last``, are mirrored.

        ``events`` is how many they had. The first call after ``end`` begins a new count.
        """
        now_s = self._clock()
        if self._began_s is None:
            self._began_s, self._first, self._events = now_s, first, 0
            self._line_at_s = now_s + LINE_EVERY_S
            if self._console.is_terminal:
                self._bar = _open_bar(self._console, last - first + 1)
        self._block, self._last = block, last
        self._events += events
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0],
                total=last - self._first + 1,
                completed=block - self._first + 1,
                rate=f"{self._rate(now_s):,.0f} events/s",
            )
        elif now_s >= self._line_at_s:
            self._line_at_s = now_s + LINE_EVERY_S
            self._log("backfilling", now_s)

    def end(self) -> None:
        """Put the bar away and log what was done since the first ``show``. Idempotent."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._began_s is not None:
            self._log("backfilled", self._clock())
            self._began_s = None

    def _log(self, what: str, now_s: float) -> None:
        assert self._began_s is not None
        done = self._block - self._first + 1
        elapsed_s = max(0.001, now_s - self._began_s)
        log.info(
            what,
            first=self._first,
            block=self._block,
            last=self._last,
            events=self._events,
            events_per_s=round(self._rate(now_s)),
            left_s=round((self._last - self._block) * elapsed_s / done),
        )

    def _rate(self, now_s: float) -> float:
        assert self._began_s is not None
        return self._events / max(0.001, now_s - self._began_s)


def _open_bar(console: Console, blocks: int) -> Progress:
    bar = Progress(
        TextColumn("backfill"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} blocks"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    bar.add_task("backfill", total=blocks, rate="")
    bar.start()
    return bar
