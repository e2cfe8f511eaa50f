"""How many requests an offer took in the last minute, as its row remembers it. Pure.

The text is ``<second>:<requests>`` for each second that had some, ascending. A request is admitted
where fewer than the limit were in the 60 seconds that end with its own: so no 60 seconds ever hold
more than the limit, wherever they begin. Seconds of other processes may be a little ahead: what is
kept goes back twice as far, so that a clock that is behind counts right too.
"""

from typing import Final

WINDOW_S: Final = 60


def count_recent(recent: str, *, now_s: int) -> int:
    """Return how many requests were in the 60 seconds that end with ``now_s``, or later."""
    return sum(count for second, count in _read(recent) if second > now_s - WINDOW_S)


def note_request(recent: str, *, now_s: int, limit: int) -> str | None:
    """Return the text with one more request at ``now_s``, None where the limit is reached."""
    if count_recent(recent, now_s=now_s) >= limit:
        return None
    entries = _read(recent)
    newest_s = max([now_s, *(second for second, _ in entries)])
    kept = {second: count for second, count in entries if second > newest_s - 2 * WINDOW_S}
    kept[now_s] = kept.get(now_s, 0) + 1
    return " ".join(f"{second}:{count}" for second, count in sorted(kept.items()))


def _read(recent: str) -> list[tuple[int, int]]:
    entries = []
    for entry in recent.split():
        second, _, count = entry.partition(":")
        entries.append((int(second), int(count)))
    return entries
