"""Open requests: bounded, run to their end, waited for when the server stops."""

import asyncio

import pytest

from serving.http.errors import TryLater
from serving.http.open_requests import InFlight


async def test_run__caller_leaves__work_goes_on() -> None:
    in_flight, go_on, done = InFlight(10), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        done.set()

    caller = asyncio.create_task(in_flight.run(work()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert in_flight.count == 1
    go_on.set()
    await done.wait()
    await asyncio.sleep(0)
    assert in_flight.count == 0


async def test_check__as_many_as_allowed__503() -> None:
    in_flight, go_on = InFlight(2), asyncio.Event()
    tasks = [in_flight.keep(go_on.wait()) for _ in range(2)]
    with pytest.raises(TryLater) as caught:
        in_flight.check()
    assert (caught.value.status, caught.value.code) == (503, "overloaded")
    assert caught.value.headers["retry-after"] == "1"
    go_on.set()
    await asyncio.gather(*tasks)
    await asyncio.sleep(0)
    in_flight.check()


async def test_drain__waits_then_cancels_what_is_late() -> None:
    in_flight, ended = InFlight(10), []

    async def work(name: str, event: asyncio.Event) -> None:
        try:
            await event.wait()
        finally:
            await asyncio.sleep(0)  # as posting or voiding would
            ended.append(name)

    soon, never = asyncio.Event(), asyncio.Event()
    in_flight.keep(work("soon", soon))
    in_flight.keep(work("late", never))
    asyncio.get_running_loop().call_soon(soon.set)
    await in_flight.drain(0.05)
    assert ended == ["soon", "late"]
    assert in_flight.count == 0
    await in_flight.drain(10)


async def test_run__failure__is_the_callers() -> None:
    async def work() -> None:
        raise ValueError("broken")

    in_flight = InFlight(10)
    with pytest.raises(ValueError, match="broken"):
        await in_flight.run(work())
    await asyncio.sleep(0)
    assert in_flight.count == 0
