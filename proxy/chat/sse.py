"""Server-sent events: cutting a byte stream into events, and reading their data. Pure."""

import re
from typing import Final

DONE: Final = b"[DONE]"
"""The data of the event that ends an OpenAI stream."""

_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


class EventTooLong(ValueError):
    """An event goes on beyond the length that is allowed."""


class EventSplitter:
    """Cuts what arrives in arbitrary pieces into whole events, their bytes unchanged."""

    def __init__(self, *, event_bytes_max: int) -> None:
        self._event_bytes_max = event_bytes_max
        self._rest = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the events that ``piece`` completes, each with the empty line that ends it.

        Raises ``EventTooLong``.
        """
        # Looked for from a little before the piece: an end may lie across it.
        search_from = max(0, len(self._rest) - 3)
        self._rest += piece
        events, start = [], 0
        for match in _EVENT_END.finditer(self._rest, search_from):
            events.append(bytes(self._rest[start : match.end()]))
            start = match.end()
        del self._rest[:start]
        if len(self._rest) > self._event_bytes_max or any(
            len(event) > self._event_bytes_max for event in events
        ):
            raise EventTooLong(f"an event of more than {self._event_bytes_max} bytes")
        return events


def read_data(event: bytes) -> bytes | None:
    """Return an event's data, its lines joined; None for a comment or an event without data."""
    if event.startswith(b"data:") and event.count(b"\n") == 2 and b"\r" not in event:
        return event[5:-2].removeprefix(b" ")  # one line, as nearly all are
    values = [
        line[5:].removeprefix(b" ") for line in _LINE_END.split(event) if line.startswith(b"data:")
    ]
    return b"\n".join(values) if values else None


def build_event(data: bytes) -> bytes:
    """Return the event with one line of data."""
    return b"data: " + data + b"\n\n"
