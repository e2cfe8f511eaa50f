"""Which endpoints speak Anthropic's dialect of messages themselves, as they have shown, by model: a
router behind one address may speak it for some of its models alone.

::

    nothing is known ── asked by messages; where that goes wrong in a way that a path which is not
                        there may, asked by chat at once
    speaks           ── asked by messages: what it refuses or fails is its word on the request; but
                        where it has nothing at the path any more, nothing is known again
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

Endpoint = tuple[str, str]
"""A base URL, and what the model is called there."""

_NOT_OF_PATH: Final = frozenset(
    {Cause.FUNDS, Cause.RATE, Cause.TIMEOUT, Cause.UNREACHABLE, Cause.DISCONNECTED}
)
"""Failures that say nothing of a path."""


class Speakers:
    """Remembers which endpoints speak messages."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._known: OrderedDict[Endpoint, float | None] = OrderedDict()
        """Of an endpoint: None where it speaks, else until when it does not."""

    def may_speak(self, endpoint: Endpoint) -> bool:
        """Tell whether an endpoint is to be asked by messages."""
        until_s = self._known.get(endpoint)
        return until_s is None or self._monotonic() >= until_s

    def may_be_silent(self, endpoint: Endpoint, error: UpstreamError) -> bool:
        """Tell whether a failure may mean that the endpoint does not speak messages."""
        if isinstance(error, Looped):
            return False
        if self._speaks(endpoint):
            return isinstance(error, NotServed)
        if isinstance(error, UpstreamFailure):
            return error.cause not in _NOT_OF_PATH
        return True

    def forget(self, endpoint: Endpoint) -> None:
        """Take in that an endpoint has failed at messages in a way that ``may_be_silent``."""
        self._known.pop(endpoint, None)

    def _speaks(self, endpoint: Endpoint) -> bool:
        return endpoint in self._known and self._known[endpoint] is None

    def note_silent(self, endpoint: Endpoint, error: UpstreamError) -> None:
        """Take in that an endpoint has answered chat after it failed at messages so."""
        if isinstance(error, (NotServed, UpstreamFailure)):
            self.note(endpoint, speaks=False)

    def note(self, endpoint: Endpoint, *, speaks: bool) -> None:
        """Take in what an endpoint has shown."""
        self._known[endpoint] = None if speaks else self._monotonic() + REMEMBERED_S
        self._known.move_to_end(endpoint)
        if len(self._known) > ENDPOINTS_MAX:
            self._known.popitem(last=False)
