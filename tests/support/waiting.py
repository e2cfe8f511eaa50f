"""Waiting for a condition, never for a time: a busy machine only makes a test slower."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import httpx

LIMIT_S: Final = 300.0
"""How long a condition may take: far longer than on a quiet machine, so that only a defect is."""
_POLL_S: Final = 0.01

T = TypeVar("T")


async def until(condition: Callable[[], T], what: str = "", *, limit_s: float = LIMIT_S) -> T:
    """Return the first truthy value of ``condition``; fail, saying ``what``, after ``limit_s``."""
    deadline_s = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, f"not within {limit_s} s: {what or condition}"
        await asyncio.sleep(_POLL_S)
    return value


async def until_it(
    condition: Callable[[], Awaitable[T]], what: str = "", *, limit_s: float = LIMIT_S
) -> T:
    """As ``until``, for a condition that is itself awaited."""
    deadline_s = time.monotonic() + limit_s
    while not (value := await condition()):
        assert time.monotonic() < deadline_s, f"not within {limit_s} s: {what or condition}"
        await asyncio.sleep(_POLL_S)
    return value


def wait_until(
    condition: Callable[[], T],
    what: str = "",
    *,
    limit_s: float = LIMIT_S,
    poll_s: float = _POLL_S,
) -> T:
    """As ``until``, outside an event loop."""
    deadline_s = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, f"not within {limit_s} s: {what or condition}"
        time.sleep(poll_s)
    return value


async def until_probed(client: httpx.AsyncClient, path: str) -> httpx.Response:
    """Return what a server says of its readiness once its look at the ledger was in time."""

    async def ask() -> httpx.Response | None:
        answer = await client.get(path)
        return answer if answer.json()["ledger"] else None

    answer = await until_it(ask, "the ledger answers a probe in time")
    assert answer is not None
    return answer


async def until_nobody_is_served() -> None:
    """Wait until no server in this loop sends anything to a client who has gone."""

    def is_over() -> bool:
        names = {getattr(task.get_coro(), "__name__", "") for task in asyncio.all_tasks()}
        return "run_asgi" not in names

    await until(is_over, "no connection waits for events")
