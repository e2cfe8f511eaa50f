"""Cutting a byte stream into events, wherever it is cut on its way."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.chat.sse import EventSplitter, EventTooLong, read_data

EVENTS = [b": ping\n\n", b"data: {}\n\n", b"event: x\r\ndata: a\r\ndata: b\r\n\r\n", b"data:c\r\r"]


@given(cuts=st.lists(st.integers(0, 60), max_size=12))
def test_feed__cut_anywhere__same_events(cuts: list[int]) -> None:
    whole = b"".join(EVENTS)
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    splitter = EventSplitter(event_bytes_max=100)
    found: list[bytes] = []
    for start, end in pairwise(edges):
        found += splitter.feed(whole[start:end])
    assert b"".join(found) == whole
    # A "\r\r\n"-like tail may be told apart only by what follows; the data is the same.
    assert [read_data(event) for event in found if read_data(event)] == [b"{}", b"a\nb", b"c"]


def test_feed__unfinished_event__waits() -> None:
    splitter = EventSplitter(event_bytes_max=100)
    assert splitter.feed(b"data: x\n") == []
    assert splitter.feed(b"\n") == [b"data: x\n\n"]


@pytest.mark.parametrize("piece", [b"x" * 101, b"x" * 101 + b"\n\n"])
def test_feed__endless_event__refused(piece: bytes) -> None:
    with pytest.raises(EventTooLong):
        EventSplitter(event_bytes_max=100).feed(piece)
