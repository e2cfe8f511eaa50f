"""Which endpoints speak Anthropic's dialect of messages themselves, as they have shown.

::

    nothing is known ── asked by messages; where that goes wrong in a way that a path which is not
                        there may, asked by chat at once
    speaks           ── asked by messages: what it refuses or fails is its word on the request
    does not         ── asked by chat, for ``REMEMBERED_S``; then nothing is known again

An endpoint that answers chat after it had nothing at the path of messages does not speak them. One
that refuses messages as wrong may speak them all the same.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from serving.models.failures import Cause, Looped, NotServed, UpstreamError, UpstreamFailure

REMEMBERED_S: Final = 3_600.0
"""How long it counts that an endpoint did not speak, in seconds: it may learn to."""
ENDPOINTS_MAX: Final = 10_000
_NOT_OF_PATH: Final = frozenset(
    {Cause.FUNDS, Cause.RATE, Cause.TIMEOUT, Cause.UNREACHABLE, Cause.DISCONNECTED}
)
"""Failures that say nothing of a path."""


class Speakers:
    """Remembers which endpoints speak messages."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._known: OrderedDict[str, float | None] = OrderedDict()
        """Of an endpoint: None where it speaks, else until when it does not."""

    def may_speak(self, base_url: str) -> bool:
        """Tell whether an endpoint is to be asked by messages."""
        until_s = self._known.get(base_url)
        return until_s is None or self._monotonic() >= until_s

    def may_be_silent(self, base_url: str, error: UpstreamError) -> bool:
        """Tell whether a failure may mean that the endpoint does not speak messages."""
        if isinstance(error, Looped):
            return False
        if base_url in self._known and self._known[base_url] is None:
            return False
        if isinstance(error, UpstreamFailure):
            return error.cause not in _NOT_OF_PATH
        return True

    def note_silent(self, base_url: str, error: UpstreamError) -> None:
        """Take in that an endpoint has answered chat after it failed at messages so."""
        if isinstance(error, (NotServed, UpstreamFailure)):
            self.note(base_url, speaks=False)

    def note(self, base_url: str, *, speaks: bool) -> None:
        """Take in what an endpoint has shown."""
        self._known[base_url] = None if speaks else self._monotonic() + REMEMBERED_S
        self._known.move_to_end(base_url)
        if len(self._known) > ENDPOINTS_MAX:
            self._known.popitem(last=False)
