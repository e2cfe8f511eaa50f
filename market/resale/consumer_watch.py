"""Consumers who misuse a connection: noticed, slowed down, and shown to its owner. Pure.

::

    many_errors   of the last calls, most were answered 4xx
    scraping      one operation, with ever other values of its parameters
    shared_key    one key from ever other addresses

What is noticed holds for a while; then the consumer starts anew. Counts are of this process.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

WINDOW_S: Final = 600.0
CALLS_MIN: Final = 20
ERRORS_PCT: Final = 80
VALUES_MAX: Final = 500
ADDRESSES_MAX: Final = 20
SLOWED_TO: Final = 6
"""A consumer that is flagged has this part of the usual limit: one sixth."""
CONSUMERS_MAX: Final = 20_000


@dataclass(slots=True)
class _Seen:
    begun_s: float
    outcomes: deque[bool] = field(default_factory=lambda: deque(maxlen=CALLS_MIN * 5))
    values: dict[str, set[int]] = field(default_factory=dict)
    addresses: set[str] = field(default_factory=set)
    flags: dict[str, str] = field(default_factory=dict)


class ConsumerWatch:
    """Watches consumers by connection. ``now_s`` is any one clock, in seconds."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], _Seen] = OrderedDict()

    def note(
        self,
        connection_id: str,
        consumer: str,
        *,
        operation: str,
        values: object,
        address: str,
        is_error: bool,
        now_s: float,
    ) -> dict[str, str]:
        """Note one call; return the flags that it raises anew, each with its reason in words."""
        seen = self._get(connection_id, consumer, now_s)
        seen.outcomes.append(is_error)
        distinct = seen.values.setdefault(operation, set())
        if len(distinct) <= VALUES_MAX:
            distinct.add(hash(values))
        if address and len(seen.addresses) <= ADDRESSES_MAX:
            seen.addresses.add(address)
        found = {}
        errors = sum(seen.outcomes)
        if len(seen.outcomes) >= CALLS_MIN and errors * 100 >= ERRORS_PCT * len(seen.outcomes):
            found["many_errors"] = f"{errors} of the last {len(seen.outcomes)} calls were refused"
        if len(distinct) > VALUES_MAX:
            found["scraping"] = f"{operation} with over {VALUES_MAX} other values in 10 minutes"
        if len(seen.addresses) > ADDRESSES_MAX:
            found["shared_key"] = f"one key from over {ADDRESSES_MAX} addresses in 10 minutes"
        new = {reason: text for reason, text in found.items() if reason not in seen.flags}
        seen.flags |= new
        return new

    def is_flagged(self, connection_id: str, consumer: str, *, now_s: float) -> bool:
        """Tell whether a consumer is to be slowed down."""
        seen = self._seen.get((connection_id, consumer))
        return seen is not None and bool(seen.flags) and now_s - seen.begun_s < WINDOW_S

    def _get(self, connection_id: str, consumer: str, now_s: float) -> _Seen:
        key = (connection_id, consumer)
        seen = self._seen.get(key)
        if seen is None or now_s - seen.begun_s >= WINDOW_S:
            seen = self._seen[key] = _Seen(now_s)
            if len(self._seen) > CONSUMERS_MAX:
                self._seen.popitem(last=False)
        self._seen.move_to_end(key)
        return seen


def slow_down(limit: int) -> int:
    """Return what is left of a consumer's calls a minute; 0 stood for any number."""
    return max(1, (limit or 60) // SLOWED_TO)
