"""Answers that their API's owner lets be sold again for a while: off, unless an operation says so.

Kept by the same connection at the same version, operation and normalised parameters, in this
process only. A call is kept as its hash alone, however long its body; answers are bounded in their
number and in their bytes, and go once they are too old and met.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from market.resale.api_client import ApiAnswer, OutgoingCall
from market.resale.api_shelf import SoldConnection
from market.resale.operations import Operation

BYTES_MAX: Final = 32 * 1024**2
ENTRIES_MAX: Final = 4_096
OVERHEAD_BYTES: Final = 1_024
"""What an answer counts for beside its bytes: its hash, its place, Python's objects."""


@dataclass(frozen=True, slots=True)
class _Kept:
    until: float
    answer: ApiAnswer
    size: int


class AnswerCache:
    """Keeps the newest answers."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._bytes = 0

    def find(
        self, connection: SoldConnection, operation: Operation, call: OutgoingCall
    ) -> ApiAnswer | None:
        """Return an answer that may still be sold, or None."""
        if operation.cache_s == 0:
            return None
        key = _hash_call(connection, call)
        kept = self._kept.get(key)
        if kept is None:
            return None
        if self._clock() >= kept.until:
            self._drop(key)
            return None
        return kept.answer

    def keep(
        self,
        connection: SoldConnection,
        operation: Operation,
        call: OutgoingCall,
        answer: ApiAnswer,
    ) -> None:
        """Keep an answer for as long as the operation says."""
        size = _measure(answer)
        if operation.cache_s == 0 or size > BYTES_MAX // 8:
            return
        key, now = _hash_call(connection, call), self._clock()
        if key in self._kept:
            self._drop(key)
        self._kept[key] = _Kept(now + operation.cache_s, answer, size)
        self._bytes += size
        # The oldest go where there are too many, and where nobody may be sold them any more.
        while (
            self._bytes > BYTES_MAX
            or len(self._kept) > ENTRIES_MAX
            or now >= next(iter(self._kept.values())).until
        ):
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        self._bytes -= self._kept.pop(key).size


def _measure(answer: ApiAnswer) -> int:
    headers = (*answer.headers.items(), *answer.stated.items())
    return OVERHEAD_BYTES + len(answer.body) + sum(len(name) + len(text) for name, text in headers)


def _hash_call(connection: SoldConnection, call: OutgoingCall) -> bytes:
    """Return what two calls have in common that the same answer may be sold to."""
    headers = [part for header in sorted(call.headers.items()) for part in header]
    parts: tuple[str | bytes, ...] = (
        connection.connection_id,
        str(connection.version),
        call.method,
        call.path,
        "&".join(sorted(call.query.split("&"))),
        call.body,
        *headers,
    )
    hashed = sha256()
    for part in parts:
        # The length before each part: no two calls run together to the same bytes.
        data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        hashed.update(len(data).to_bytes(8))
        hashed.update(data)
    return hashed.digest()
