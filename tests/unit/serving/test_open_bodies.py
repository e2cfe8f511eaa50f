"""Bodies that are being read: bounded for each account or address and in all."""

import contextlib
from typing import Any

import pytest
from starlette.types import Receive

from serving.http.bodies import read_body
from serving.http.errors import ApiError
from serving.http.limits import Limits
from serving.http.open_bodies import BodyOwner, OpenBodies

MIB = 1024**2


def test_keep__grows__counts_the_newest_size_and_is_released_once() -> None:
    bodies, scope = OpenBodies(64 * MIB), dict[str, Any]()
    bodies.keep(scope, BodyOwner("a"), 0)
    assert bodies.kept_bytes == 16 * 1024  # one that never comes costs too
    bodies.keep(scope, BodyOwner("a"), 100_000)
    bodies.keep(scope, BodyOwner("a"), 200_000)
    assert bodies.kept_bytes == 200_000
    bodies.release(scope)
    bodies.release(scope)
    assert bodies.kept_bytes == 0


def test_keep__one_address__a_quarter_and_others_go_on() -> None:
    bodies = OpenBodies(64 * MIB)
    bodies.keep({}, BodyOwner("greedy"), 16 * MIB)
    with pytest.raises(ApiError) as refused:
        bodies.keep({}, BodyOwner("greedy"), 1)
    assert (refused.value.status, refused.value.code) == (429, "rate_limited")
    bodies.keep({}, BodyOwner("other"), 16 * MIB)


def test_keep__all_addresses__503_and_nothing_is_counted() -> None:
    bodies = OpenBodies(64 * MIB)
    for number in range(3):
        bodies.keep({}, BodyOwner(number), 16 * MIB)
    scope: dict[str, Any] = {}
    with pytest.raises(ApiError) as refused:
        bodies.keep(scope, BodyOwner("late"), 1)
    assert (refused.value.status, refused.value.code) == (503, "overloaded")
    bodies.release(scope)
    assert bodies.kept_bytes == 48 * MIB


def test_keep__free_keys_by_the_dozen__three_quarters_and_who_has_paid_is_read() -> None:
    """Four hundred connections of free accounts, 25 MiB each."""
    bodies, read = OpenBodies(128 * MIB), 0
    for number in range(400):
        with contextlib.suppress(ApiError):
            bodies.keep({}, BodyOwner(f"free {number}", has_key=True), 25 * MIB)
            read += 1

    assert (read, bodies.kept_bytes) == (3, 75 * MIB)
    bodies.keep({}, BodyOwner("has paid", has_key=True, is_proven=True), 25 * MIB)


def test_keep__one_account__a_quarter_unless_the_body_is_alone() -> None:
    bodies, owner = OpenBodies(64 * MIB), BodyOwner("a", has_key=True, is_proven=True)
    alone: dict[str, Any] = {}
    bodies.keep(alone, owner, 20 * MIB)
    with pytest.raises(ApiError) as refused:
        bodies.keep({}, owner, 1)
    assert (refused.value.status, refused.value.code) == (429, "rate_limited")
    bodies.release(alone)
    bodies.keep({}, owner, 8 * MIB)
    bodies.keep({}, owner, 8 * MIB)
    with pytest.raises(ApiError):
        bodies.keep({}, owner, 1)


def test_keep__nothing_else_is_read__a_key_may_send_more_than_the_whole() -> None:
    """The longest body is a setting of its own, and may be above this one."""
    bodies, scope = OpenBodies(MIB), dict[str, Any]()
    bodies.keep(scope, BodyOwner("free", has_key=True), 4 * MIB)
    with pytest.raises(ApiError):
        bodies.keep({}, BodyOwner("another", has_key=True), 1)
    bodies.release(scope)
    assert bodies.kept_bytes == 0


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


async def test_read_body__of_a_key__is_counted_until_it_was_read() -> None:
    limits, pieces = make_limits(open_body_bytes_max=MIB), [b"x" * 300_000, b"y" * 300_000]

    def receive_from(left: list[bytes]) -> Receive:
        async def receive() -> dict[str, Any]:
            body = left.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(left)}

        return receive

    async def read(account: str, receive: Receive) -> bytes:
        return await limits.read_body(make_scope(), receive, Rules(), account, is_proven=False)

    async def receive_late() -> dict[str, Any]:
        # While this body comes, two thirds of what strangers may send together are taken.
        with pytest.raises(ApiError) as refused:
            await read("another", receive_from([*pieces]))
        assert (refused.value.status, refused.value.code) == (503, "overloaded")
        return {"type": "http.request", "body": b"", "more_body": False}

    first = iter([{"type": "http.request", "body": b"z" * 600_000, "more_body": True}])

    async def receive() -> dict[str, Any]:
        message = next(first, None)
        return await receive_late() if message is None else message

    assert len(await read("one", receive)) == 600_000
    assert len(await read("another", receive_from([*pieces]))) == 600_000


@pytest.mark.parametrize(
    ("address", "headers", "token", "is_allowed"),
    [
        # As a reverse proxy on the same machine passes the world's requests on.
        ("127.0.0.1", [], "", False),
        ("127.0.0.1", [(b"host", b"127.0.0.1:8402")], "", False),
        ("::1", [], "", False),
        ("203.0.113.5", [], "", False),
        ("127.0.0.1", [(b"authorization", b"Bearer word")], "word", True),
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
