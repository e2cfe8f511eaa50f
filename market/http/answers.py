"""What goes back to a buyer."""

from collections.abc import Mapping
from dataclasses import dataclass

from market.text.relay import LiveStream


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class StreamAnswer:
    """A stream that goes back to the buyer while it arrives."""

    headers: Mapping[str, str]
    stream: LiveStream
