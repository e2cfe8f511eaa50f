"""For how long what is worth sending has waited, and what is news of what is not. In memory.

An item that brings less than it costs waits as it is meant to, however long. Its wait counts from
when it was last left alone: dust that comes to be worth its gas is not late at once. An item that a
budget leaves alone is worth its gas, and is late as any other.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from keeper.worth import BUDGET, Unworthy

Left = tuple[str, int | str]
"""A kind, and the subject of an item that was left alone."""

AGED_KINDS: Final = frozenset({"settle", "x402"})
"""The kinds of which it is asked how late they are; of others nothing is remembered."""

SAID_S: Final = 3_600
"""For how long what was said of an item is not said again, though it was gone meanwhile."""
SAID_MAX: Final = 10_000
"""As many items are remembered; of more, the oldest may be said again."""


class Lateness:
    """Tells how late the oldest item is. Not shared between threads."""

    def __init__(self) -> None:
        self._left_at_s: dict[Left, int] = {}
        self._left_now: frozenset[Left] = frozenset()

    def note(self, unworthy: Iterable[Unworthy], *, now_s: int) -> None:
        """Note what the newest round left alone for its cost."""
        self._left_now = frozenset(
            (one.kind, one.subject)
            for one in unworthy
            if one.kind in AGED_KINDS and one.reason != BUDGET
        )
        self._left_at_s.update(dict.fromkeys(self._left_now, now_s))

    def get_age_s(self, kind: str, since_s: Mapping[int | str, int], *, now_s: int) -> int | None:
        """Return for how long the oldest of ``since_s`` has waited though it is worth sending.

        ``kind`` is one of ``AGED_KINDS``. ``since_s`` is everything of it that waits, by subject;
        what is not in it is forgotten.
        None where nothing waits but what the newest round left alone.
        """
        gone = [left for left in self._left_at_s if left[0] == kind and left[1] not in since_s]
        for left in gone:
            del self._left_at_s[left]
        ages_s = [
            now_s - max(at_s, self._left_at_s.get((kind, subject), at_s))
            for subject, at_s in since_s.items()
            if (kind, subject) not in self._left_now
        ]
        return max(0, *ages_s) if ages_s else None


class News:
    """Tells which items were not left alone before. Not shared between threads."""

    def __init__(self) -> None:
        self._said_at_s: dict[tuple[str, int | str, str], int] = {}
        """By kind, subject and reason, when the item was last left alone."""

    def find(self, unworthy: Iterable[Unworthy], *, now_s: int) -> list[Unworthy]:
        """Return the items to speak of: new, or left alone for another reason than before."""
        news: list[Unworthy] = []
        for one in unworthy:
            key = (one.kind, one.subject, one.reason)
            # Last in the order of the dictionary, so that the oldest are first.
            if self._said_at_s.pop(key, None) is None:
                news.append(one)
            self._said_at_s[key] = now_s
        for key, at_s in list(self._said_at_s.items()):
            if len(self._said_at_s) <= SAID_MAX and now_s - at_s < SAID_S:
                break
            del self._said_at_s[key]
        return news
