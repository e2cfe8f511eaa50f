"""Answers that their API's owner lets be sold again for a while: off, unless an operation says so.

Kept by the same connection at the same version, operation and normalised parameters, in this
process only, within bounds.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from market.resale.api_client import ApiAnswer, OutgoingCall
from market.resale.api_shelf import SoldConnection
from market.resale.operations import Operation

BYTES_MAX: Final = 32 * 1024**2
_Key = tuple[str, int, str, str, str, bytes, tuple[tuple[str, str], ...]]


class AnswerCache:
    """Keeps the newest answers."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[_Key, tuple[float, ApiAnswer]] = OrderedDict()
        self._bytes = 0

    def find(
        self, connection: SoldConnection, operation: Operation, call: OutgoingCall
    ) -> ApiAnswer | None:
        """Return an answer that may still be sold, or None."""
        if operation.cache_s == 0:
            return None
        kept = self._kept.get(_key(connection, call))
        if kept is None or self._clock() >= kept[0]:
            return None
        return kept[1]

    def keep(
        self,
        connection: SoldConnection,
        operation: Operation,
        call: OutgoingCall,
        answer: ApiAnswer,
    ) -> None:
        """Keep an answer for as long as the operation says."""
        if operation.cache_s == 0 or len(answer.body) > BYTES_MAX // 8:
            return
        key = _key(connection, call)
        old = self._kept.pop(key, None)
        self._bytes += len(answer.body) - (0 if old is None else len(old[1].body))
        self._kept[key] = (self._clock() + operation.cache_s, answer)
        while self._bytes > BYTES_MAX:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._bytes -= len(dropped.body)


def _key(connection: SoldConnection, call: OutgoingCall) -> _Key:
    parameters = "&".join(sorted(call.query.split("&")))
    return (
        connection.connection_id,
        connection.version,
        call.method,
        call.path,
        parameters,
        call.body,
        tuple(sorted(call.headers.items())),
    )
