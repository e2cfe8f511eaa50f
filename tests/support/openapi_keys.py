"""Which keys a generated request is sent with: its own key always, all of them now and then."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import requests

ALL_EVERY: Final = 8
"""Each so many requests of an operation, the first of them included, are sent with every key."""


class Keys:
    """The keys of a run. What is refused for its key is refused before the rest is looked at."""

    def __init__(self, find_own: Callable[[str], str | None], others: Sequence[str | None]) -> None:
        self._find_own = find_own
        self._others = others
        self._seen: Counter[str] = Counter()

    def choose(self, operation: str) -> list[str | None]:
        """Return the keys that the next request of an operation is sent with."""
        is_all = self._seen[operation] % ALL_EVERY == 0
        self._seen[operation] += 1
        own = self._find_own(operation)
        return [own, *(key for key in self._others if is_all and key != own)]


def open_session() -> requests.Session:
    """Return a session that keeps its connections and asks the environment for nothing."""
    session = requests.Session()
    session.trust_env = False
    return session
