"""Bodies without a key: bounded for each address and in all."""

from typing import Any

import pytest

from serving.http.bodies import read_body
from serving.http.errors import ApiError
from serving.http.limits import Limits
from serving.http.open_bodies import OpenBodies

MIB = 1024**2


def test_keep__grows__counts_the_newest_size_and_is_released_once() -> None:
    bodies, scope = OpenBodies(64 * MIB), dict[str, Any]()
    bodies.keep(scope, "a", 0)
    assert bodies.kept_bytes == 16 * 1024  # one that never comes costs too
    bodies.keep(scope, "a", 100_000)
    bodies.keep(scope, "a", 200_000)
    assert bodies.kept_bytes == 200_000
    bodies.release(scope)
    bodies.release(scope)
    assert bodies.kept_bytes == 0


def test_keep__one_address__a_quarter_and_others_go_on() -> None:
    bodies = OpenBodies(64 * MIB)
    bodies.keep({}, "greedy", 16 * MIB)
    with pytest.raises(ApiError) as refused:
        bodies.keep({}, "greedy", 1)
    assert (refused.value.status, refused.value.code) == (429, "rate_limited")
    bodies.keep({}, "other", 16 * MIB)


def test_keep__all_addresses__503_and_nothing_is_counted() -> None:
    bodies = OpenBodies(64 * MIB)
    for number in range(4):
        bodies.keep({}, str(number), 16 * MIB)
    scope: dict[str, Any] = {}
    with pytest.raises(ApiError) as refused:
        bodies.keep(scope, "late", 1)
    assert (refused.value.status, refused.value.code) == (503, "overloaded")
    bodies.release(scope)
    assert bodies.kept_bytes == 64 * MIB


class Rules:
    body_bytes_max = MIB
    body_timeout_s = 60.0


def make_scope(address: str = "203.0.113.5", *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {
        "type": "http",
        "client": (address, 1),
        "headers": list(headers),
        "query_string": b"",
        "raw_path": b"/",
    }


def make_limits(**changes: Any) -> Limits:
    given = {
        "headers_bytes_max": 1_000,
        "key_per_minute": 0,
        "address_per_minute": 0,
        "sign_in_per_minute": 0,
    }
    return Limits(**{**given, **changes})


async def test_read_body__more_without_a_key_than_is_kept__stops_reading() -> None:
    limits, scope, asked = make_limits(open_body_bytes_max=MIB), make_scope(), 0

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": b"x" * 65_536, "more_body": True}

    with pytest.raises(ApiError) as refused:
        await read_body(scope, receive, Rules(), keep_open=limits.keep_open)

    assert refused.value.code == "rate_limited"
    assert asked == 5  # a quarter of a MiB, and the one that was too much


@pytest.mark.parametrize(
    ("address", "headers", "token", "is_allowed"),
    [
        ("127.0.0.1", [], "", True),
        ("::1", [], "", True),
        ("203.0.113.5", [], "", False),
        ("127.0.0.1", [(b"x-forwarded-for", b"127.0.0.1")], "", False),
        ("127.0.0.1", [(b"via", b"1.1 proxy")], "", False),
        ("127.0.0.1", [], "word", False),
        ("203.0.113.5", [(b"authorization", b"Bearer word")], "word", True),
        ("203.0.113.5", [(b"authorization", b"Bearer words")], "word", False),
        ("203.0.113.5", [(b"authorization", b"Bearer ")], "", False),
    ],
)
def test_check_monitor__metrics__are_the_operators(
    address: str, headers: list[tuple[bytes, bytes]], token: str, is_allowed: bool
) -> None:
    limits = make_limits(metrics_token=token)
    try:
        limits.check_monitor(make_scope(address, *headers))
    except ApiError as refused:
        assert (refused.status, refused.code) == (403, "monitor_only")
        assert not is_allowed
    else:
        assert is_allowed
