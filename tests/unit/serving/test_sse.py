"""Cutting a byte stream into events, wherever it is cut on its way."""

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.stream.sse import EventSplitter, EventTooLong, read_data, read_field

EVENTS = [b": ping\n\n", b"data: {}\n\n", b"event: x\r\ndata: a\r\ndata: b\r\n\r\n", b"data:c\r\r"]
LINE_ENDS = [b"\n", b"\r\n", b"\r"]


def split(whole: bytes, cuts: list[int]) -> list[bytes]:
    """Return the events of a stream that arrives cut at these places, to its end."""
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    splitter = EventSplitter(event_bytes_max=100)
    found: list[bytes] = []
    for start, end in pairwise(edges):
        found += splitter.feed(whole[start:end])
    last = splitter.finish()
    return found if last is None else [*found, last]


def read_all(events: list[bytes]) -> list[bytes]:
    return [data for event in events if (data := read_data(event)) is not None]


@given(cuts=st.lists(st.integers(0, 60), max_size=12))
def test_feed__cut_anywhere__same_events(cuts: list[int]) -> None:
    whole = b"".join(EVENTS)
    found = split(whole, cuts)
    # A "\r\r\n"-like tail may be told apart only by the bytes after it; the data is the same.
    assert b"".join(found) == whole
    assert read_all(found) == [b"{}", b"a\nb", b"c"]


@given(
    ends=st.lists(st.tuples(*[st.sampled_from(LINE_ENDS)] * 3), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 100), max_size=12),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_feed__any_mixture_of_line_ends__same_data(
    ends: list[tuple[bytes, bytes, bytes]], cuts: list[int], mark: bytes
) -> None:
    whole = mark + b"".join(
        b"data: %d" % number + first + b"data:x" + second + third
        for number, (first, second, third) in enumerate(ends)
        if (second, third) != (b"\r", b"\n")  # that is the end of one line
    )
    expected = [
        b"%d\nx" % number
        for number, (_, second, third) in enumerate(ends)
        if (second, third) != (b"\r", b"\n")
    ]
    assert read_all(split(whole, cuts)) == expected


@pytest.mark.parametrize(("first", "second"), list(product(LINE_ENDS, LINE_ENDS)))
def test_feed__each_pair_of_line_ends__ends_an_event_at_once(first: bytes, second: bytes) -> None:
    events = EventSplitter(event_bytes_max=100).feed(b"data: a" + first + second + b"d")
    is_one_line_end = first + second == b"\r\n"
    assert events == ([] if is_one_line_end else [b"data: a" + first + second])


def test_feed__unfinished_event__waits() -> None:
    splitter = EventSplitter(event_bytes_max=100)
    assert splitter.feed(b"data: x\n") == []
    assert splitter.feed(b"\n") == [b"data: x\n\n"]
    assert splitter.finish() is None


@pytest.mark.parametrize("tail", [b"", b"\n", b"\r", b"\r\n"])
def test_finish__last_event_without_an_empty_line__is_an_event(tail: bytes) -> None:
    splitter = EventSplitter(event_bytes_max=100)
    assert splitter.feed(b"data: a\n\ndata: b" + tail) == [b"data: a\n\n"]
    assert splitter.finish() == b"data: b\n\n"
    assert splitter.finish() is None


@pytest.mark.parametrize("piece", [b"x" * 101, b"x" * 101 + b"\n\n"])
def test_feed__endless_event__refused(piece: bytes) -> None:
    with pytest.raises(EventTooLong):
        EventSplitter(event_bytes_max=100).feed(piece)


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: a\n\n", b"a"),
        (b"data:a\n\n", b"a"),
        (b"data:  a\n\n", b" a"),
        (b"data\n\n", b""),
        (b"data:\n\n", b""),
        (b"\ndata: a\n\n", b"a"),
        (b"\xef\xbb\xbfdata: a\n\n", b"a"),
        (b"id: 1\nretry: 5\nevent: e\ndata: a\n\n", b"a"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data: a\r\ndata:\rdata: b\n\n", b"a\n\nb"),
        (b"datum: a\n\n", None),
        (b": data: a\n\n", None),
        (b"event: ping\n\n", None),
        (b"\n\n", None),
    ],
)
def test_read_data__every_legal_line__as_the_standard_has_it(
    event: bytes, data: bytes | None
) -> None:
    assert read_data(event) == data


def test_read_field__of_another_name__is_its_value() -> None:
    assert read_field(b'error: {"a": 1}\n\n', b"error") == b'{"a": 1}'
