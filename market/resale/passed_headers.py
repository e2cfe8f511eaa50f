"""Which headers of a call reach the API, and which of its answer the consumer: by list. Pure."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

OUTGOING: Final = ("accept", "accept-language", "content-type")
INCOMING: Final = ("content-type", "content-language", "retry-after")
VALUE_MAX: Final = 2_000


class HeaderRefused(ValueError):
    """A header that must not be passed on as it is."""


def choose_outgoing(
    find: Callable[[str], str | None], named: Iterable[str], *, credential: str | None
) -> dict[str, str]:
    """Return the headers that go to the API. ``named``: what the operation names beside the usual.

    ``credential`` is the header that carries the key: a consumer's own is never passed on. Raises
    ``HeaderRefused`` for a value that no header can hold.
    """
    chosen = {}
    for name in (*OUTGOING, *sorted(named)):
        value = find(name)
        if value is None or name == (credential or "").lower():
            continue
        if len(value) > VALUE_MAX or not value.isascii() or not value.isprintable():
            raise HeaderRefused(f"the header {name!r} has characters that are not passed on")
        chosen[name] = value
    return chosen


def choose_incoming(find: Callable[[str], str | None]) -> dict[str, str]:
    """Return the headers that go back to the consumer; what no header can hold is left out."""
    found: Mapping[str, str | None] = {name: find(name) for name in INCOMING}
    return {
        name: value
        for name, value in found.items()
        if value is not None and len(value) <= VALUE_MAX and value.isascii() and value.isprintable()
    }
