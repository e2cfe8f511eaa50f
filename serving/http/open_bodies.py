"""Bodies of requests that nobody has authenticated yet: how many bytes of them are kept. Pure.

Each counts with its bytes, and with a least size: a thousand bodies that never come cost too. One
address gets a part of the whole only. Counts stand until the request is authenticated or answered.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from serving.http.errors import overloaded, rate_limited

LEAST_BYTES: Final = 16 * 1024
"""What a body counts for at least."""
ADDRESS_PART: Final = 4
"""One address may have this part of the whole: one of so many."""
ADDRESS_RETRY_S: Final = 5

_KEPT: Final = "current.open_body"


@dataclass(slots=True)
class OpenBodies:
    """What is kept for whom, of ``bytes_max`` in all."""

    bytes_max: int
    _bytes: int = 0
    _by_address: Counter[str] = field(default_factory=Counter)

    @property
    def kept_bytes(self) -> int:
        """How many bytes are counted now."""
        return self._bytes

    def keep(self, scope: Any, address: str, size: int) -> None:
        """Count a request's body with ``size`` bytes so far, in place of what it had before.

        Raises 429 ``rate_limited`` where the address has too much open, 503 ``overloaded`` where
        all addresses together have.
        """
        counted = max(size, LEAST_BYTES)
        _, before = scope.get(_KEPT, (address, 0))
        more = counted - before
        if self._by_address[address] + more > max(self.bytes_max // ADDRESS_PART, LEAST_BYTES):
            raise rate_limited(ADDRESS_RETRY_S, "without a key open from this address")
        if self._bytes + more > self.bytes_max:
            raise overloaded()
        scope[_KEPT] = (address, counted)
        self._bytes += more
        self._by_address[address] += more

    def release(self, scope: Any) -> None:
        """Count a request's body no more: it was authenticated, or answered. Idempotent."""
        address, counted = scope.pop(_KEPT, ("", 0))
        self._bytes -= counted
        self._by_address[address] -= counted
        if not self._by_address[address]:
            del self._by_address[address]
