"""Server-sent events: cutting a byte stream into events, and reading their data. Pure.

A line ends with CR LF, LF or CR, and one stream may mix them; an empty line ends an event. A
stream's last event counts also where no empty line follows it, as providers close that way.
"""

import re
from typing import Final

DONE: Final = b"[DONE]"
"""The data of the event that ends an OpenAI stream."""

# CR LF is one line end, so its CR and its LF are never matched apart. After a CR LF, a CR at the
# end of what has arrived waits: it will be a CR LF too.
_EVENT_END: Final = re.compile(rb"\r\n(?:\r\n|\n|\r(?!\n|\Z))|(?:(?<!\r)\n|\r(?!\n))(?>\r\n|\n|\r)")
_EVENT_END_BYTES: Final = 4
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


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
        # The search starts a little before the piece: an event's end may lie across its edge.
        search_from = max(0, len(self._rest) - _EVENT_END_BYTES + 1)
        self._rest += piece
        events, start = [], 0
        for match in _EVENT_END.finditer(self._rest, search_from):
            end = match.end()
            if end - start > self._event_bytes_max:
                raise self._too_long()
            events.append(bytes(self._rest[start:end]))
            start = end
        if start:
            del self._rest[:start]
        if len(self._rest) > self._event_bytes_max:
            raise self._too_long()
        return events

    def finish(self) -> bytes | None:
        """Return the event that the stream ended in, completed by its empty line; None if none.

        The bytes may be a part of an event that was cut off: its data then is no JSON.
        """
        rest, self._rest = bytes(self._rest), bytearray()
        return rest.rstrip(b"\r\n") + b"\n\n" if rest.strip(b"\r\n") else None

    def _too_long(self) -> EventTooLong:
        return EventTooLong(f"an event of more than {self._event_bytes_max} bytes")


def read_data(event: bytes) -> bytes | None:
    """Return an event's data, its lines joined; None for a comment or an event without data."""
    if event.startswith(b"data:") and event.count(b"\n") == 2 and b"\r" not in event:
        return event[5:-2].removeprefix(b" ")  # one line, as nearly all events have
    return read_field(event, b"data")


def read_field(event: bytes, name: bytes) -> bytes | None:
    """Return the values of an event's lines of this name, joined by LF; None without such lines."""
    values = []
    for line in _LINE_END.split(event.removeprefix(_BYTE_ORDER_MARK)):
        field, _, value = line.partition(b":")
        if field == name:
            values.append(value.removeprefix(b" "))
    return b"\n".join(values) if values else None


def build_event(data: bytes) -> bytes:
    """Return the event with one line of data."""
    return b"data: " + data + b"\n\n"
