"""Connections whose client owes the head of a request, or asks nothing more: how many stay open.

A client that connects and says nothing costs a connection until its time is over. Those that never
asked and those that are kept after an answer are counted apart. Where too many are silent, the one
that is silent for longest is closed: of its own address first, then of all.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from serving.http.limits import as_key

ADDRESS_PART: Final = 4
"""One address may have this part of the silent connections: one of so many."""


class SilentConnections:
    """The silent connections of one server, the oldest first."""

    def __init__(self, count_max: int, *, is_exempt: Callable[[str], bool]) -> None:
        """``is_exempt`` tells whether an address stands for many clients: a trusted proxy's."""
        self._count_max = count_max
        self._is_exempt = is_exempt
        self._closes: OrderedDict[Hashable, tuple[str, Callable[[], None]]] = OrderedDict()
        self._by_address: dict[str, OrderedDict[Hashable, None]] = {}

    @property
    def count(self) -> int:
        """How many are silent."""
        return len(self._closes)

    def add(self, connection: Hashable, address: str, close: Callable[[], None]) -> None:
        """Note that a connection owes a head. Closes another one where they are too many."""
        key = as_key(address)
        self._closes[connection] = (key, close)
        own = self._by_address.setdefault(key, OrderedDict())
        own[connection] = None
        most = max(1, self._count_max // ADDRESS_PART)
        if len(own) > most and not self._is_exempt(address):
            self._close(next(iter(own)))
        elif len(self._closes) > self._count_max:
            self._close(next(iter(self._closes)))

    def remove(self, connection: Hashable) -> None:
        """Note that a connection owes nothing any more. Idempotent."""
        key, _ = self._closes.pop(connection, ("", None))
        own = self._by_address.get(key)
        if own is not None:
            own.pop(connection, None)
            if not own:
                del self._by_address[key]

    def _close(self, connection: Hashable) -> None:
        _, close = self._closes[connection]
        self.remove(connection)
        close()
