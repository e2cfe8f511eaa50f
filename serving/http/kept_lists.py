"""Lists that everybody may ask for: a long one is made once a second, however many ask."""

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from fastapi.responses import Response
from pydantic import BaseModel

FRESH_S: Final = 1.0
"""How old a long list may be, in seconds."""
LONG: Final = 200
"""So many entries make a list long; a shorter one is made anew for each request."""
KEPT_MAX: Final = 1_000
"""So many lists are kept at most: beyond that, those that are too old go."""

T = TypeVar("T")


class KeptLists:
    """The newest long lists, as they are sent."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[float, Any]] = {}

    def answer(self, name: str, count: int, build: Callable[[], BaseModel]) -> Response:
        """Return the list of a name, for which ``count`` entries are looked at now."""
        body = self.keep(name, count, lambda: build().model_dump_json().encode())
        return Response(body, media_type="application/json")

    def keep(self, name: str, count: int, build: Callable[[], T]) -> T:
        """Return what ``build`` makes of ``count`` entries; a name always means the same."""
        if count < LONG:
            return build()
        kept = self._kept.get(name)
        now = self._clock()
        if kept is None or now - kept[0] >= FRESH_S:
            made = build()
            if len(self._kept) >= KEPT_MAX:
                self._kept = {one: it for one, it in self._kept.items() if now - it[0] < FRESH_S}
            # Its age counts from its end: making it may take long.
            kept = self._kept[name] = (self._clock(), made)
        return cast(T, kept[1])
