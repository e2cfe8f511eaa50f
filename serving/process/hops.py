"""How many servers of inference a request has passed, so that none is asked in a circle.

A provider may be a market or a proxy itself, the very one that asks too. Each server counts itself
in a header towards its provider, and refuses what has passed too many.
"""

from contextvars import ContextVar
from typing import Final

HOPS_HEADER: Final = "x-current-hops"
HOPS_MAX: Final = 4
"""A proxy, its market, a market that sells there, and that one's provider: no chain is longer."""

_passed: ContextVar[int] = ContextVar("hops_passed", default=0)


def read_hops(text: str | None) -> int:
    """Return how many servers a request has passed; what cannot be read is as too many."""
    if text is None:
        return 0
    is_number = text.isascii() and text.isdecimal() and len(text) <= 3
    return min(int(text), HOPS_MAX) if is_number else HOPS_MAX


def note_hops(passed: int) -> None:
    """Remember, in the context of a request, how many servers it has passed before this one."""
    _passed.set(passed)


def is_first() -> bool:
    """Tell whether the present request came from a client, which is no server."""
    return _passed.get() == 0


def write_hops() -> str:
    """Return what the header says to the provider that is asked for the present request."""
    return str(_passed.get() + 1)
