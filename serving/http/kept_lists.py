"""Lists that everybody may ask for: a long one is made once a second, however many ask."""

import time
from collections.abc import Callable
from typing import Final

from fastapi.responses import Response
from pydantic import BaseModel

FRESH_S: Final = 1.0
"""How old a long list may be, in seconds."""
LONG: Final = 200
"""So many models make a list long; a shorter one is made anew for each request."""


class KeptLists:
    """The newest long lists, as they are sent."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[float, bytes]] = {}

    def answer(self, name: str, count: int, build: Callable[[], BaseModel]) -> Response:
        """Return the list of a name, which has ``count`` entries now."""
        if count < LONG:
            return _to_response(build().model_dump_json().encode())
        kept = self._kept.get(name)
        now = self._clock()
        if kept is None or now - kept[0] >= FRESH_S:
            body = build().model_dump_json().encode()
            # Its age counts from its end: making it may take long.
            kept = self._kept[name] = (self._clock(), body)
        return _to_response(kept[1])


def _to_response(body: bytes) -> Response:
    return Response(body, media_type="application/json")
