"""Token buckets by a clock of the test's own, and whose address a request counts for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Scope

from serving.http.errors import RequestRejected
from serving.http.limits import Buckets, get_address, parse_networks


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def scope(peer: str | None, *forwarded: str) -> Scope:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return {"type": "http", "client": peer and (peer, 1), "headers": headers}


def test_bucket__a_minutes_worth_at_once_then_evenly() -> None:
    clock = Clock()
    buckets = Buckets(3, what="of a test", clock=clock)
    for _ in range(3):
        buckets.take("a")
    with pytest.raises(RequestRejected) as caught:
        buckets.take("a")
    assert (caught.value.status, caught.value.code) == (429, "rate_limited")
    assert caught.value.headers == {"retry-after": "20"}
    buckets.take("b")
    clock.now_s += 19.9
    with pytest.raises(RequestRejected):
        buckets.take("a")
    clock.now_s += 0.1
    buckets.take("a")


@given(st.integers(1, 50), st.lists(st.floats(0, 30), max_size=60))
def test_bucket__any_history__never_more_than_it_fills(
    per_minute: int, pauses_s: list[float]
) -> None:
    clock = Clock()
    buckets = Buckets(per_minute, what="of a test", clock=clock)
    taken = 0
    for pause_s in pauses_s:
        clock.now_s += pause_s
        try:
            buckets.take("a")
        except RequestRejected:
            continue
        taken += 1
        assert taken <= per_minute + (clock.now_s - 100.0) * per_minute / 60 + 1e-6


def test_bucket__no_limit__takes_all() -> None:
    buckets = Buckets(0, what="of a test", clock=Clock())
    for _ in range(1_000):
        buckets.take("a")


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", (), "203.0.113.9"),
        ("203.0.113.9", ("198.51.100.1",), "203.0.113.9"),
        ("10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("1.1.1.1, 198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("1.1.1.1", "198.51.100.1, 10.0.0.2"), "198.51.100.1"),
        ("10.0.0.1", ("1.1.1.1, nonsense, 10.0.0.2",), "10.0.0.2"),
        ("10.0.0.1", ("10.0.0.3",), "10.0.0.3"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("::ffff:10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("2001:db8::1", (), "2001:db8::/64"),
        ("2001:db8::ffff:2", (), "2001:db8::/64"),
        (None, (), ""),
    ],
)
def test_address__believes_trusted_proxies_only(
    peer: str | None, forwarded: tuple[str, ...], expected: str
) -> None:
    assert get_address(scope(peer, *forwarded), parse_networks("10.0.0.0/8, fd00::/8")) == expected


@pytest.mark.parametrize("text", ["10.0.0.1/8", "example.org", "10.0.0.0/33"])
def test_networks__odd__refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|network|host bits"):
        parse_networks(text)


def test_address__nobody_trusted__header_is_not_read() -> None:
    headers: Any = scope("203.0.113.9", "1.1.1.1")
    assert get_address(headers, ()) == "203.0.113.9"
