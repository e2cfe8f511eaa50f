"""Which generated requests are sent, and with which keys: with their own always, with all of them
now and then."""

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import requests
from schemathesis.generation.case import Case
from schemathesis.generation.meta import TestPhase

from tests.support.examples import IS_LONG

ALL_EVERY: Final = 8
"""Each so many requests of an operation, the first of them included, are sent with every key."""

LIMITS_EVERY: Final = 1 if IS_LONG else 15
"""Each so many of an operation's requests at its schema's limits are sent: there are a hundred."""

REQUESTS: Final = 4 if IS_LONG else 1
"""Generated requests for each operation, besides those at its schema's limits."""


class Keys:
    """The keys of a run. What is refused for its key is refused before the rest is looked at."""

    def __init__(self, find_own: Callable[[str], str | None], others: Sequence[str | None]) -> None:
        self._find_own = find_own
        self._others = others
        self._seen: Counter[str] = Counter()
        self._at_limits: Counter[str] = Counter()

    def choose(self, case: Case[Any]) -> list[str | None]:
        """Return the keys that the next request is sent with; none where it is left out."""
        operation = case.operation.label
        if case.meta is not None and case.meta.phase.name == TestPhase.COVERAGE:
            number = self._at_limits[operation] + zlib.crc32(operation.encode())
            self._at_limits[operation] += 1
            if number % LIMITS_EVERY:
                return []
        is_all = self._seen[operation] % ALL_EVERY == 0
        self._seen[operation] += 1
        own = self._find_own(operation)
        return [own, *(key for key in self._others if is_all and key != own)]


def open_session() -> requests.Session:
    """Return a session that keeps its connections and asks the environment for nothing."""
    session = requests.Session()
    session.trust_env = False
    return session
