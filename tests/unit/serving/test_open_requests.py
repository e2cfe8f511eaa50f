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


async def test_enter__as_many_as_allowed__503() -> None:
    in_flight, go_on = InFlight(2), asyncio.Event()
    places = [in_flight.enter("account", "key", is_proven=False) for _ in range(2)]
    tasks = [asyncio.create_task(in_flight.run(go_on.wait(), place)) for place in places]
    with pytest.raises(TryLater) as caught:
        in_flight.enter("other", "key", is_proven=False)
    assert (caught.value.status, caught.value.code) == (503, "overloaded")
    assert caught.value.headers["retry-after"] == "1"
    go_on.set()
    await asyncio.gather(*tasks)
    await asyncio.sleep(0)
    in_flight.enter("other", "key", is_proven=False)


async def test_keep__stream_that_goes_on__holds_the_place_of_its_request() -> None:
    in_flight, go_on, begun = InFlight(1), asyncio.Event(), asyncio.Event()

    async def begin() -> None:
        in_flight.keep(go_on.wait())
        begun.set()

    await in_flight.run(begin(), in_flight.enter("account", "key", is_proven=False))
    await asyncio.sleep(0)
    with pytest.raises(TryLater):
        in_flight.enter("account", "key", is_proven=False)
    go_on.set()
    while in_flight.count:
        await asyncio.sleep(0)
    in_flight.enter("account", "key", is_proven=False)


def enter_all(in_flight: InFlight, account: str, key: str, *, is_proven: bool = False) -> int:
    """Enter until refused; return how often."""
    entered = 0
    while True:
        try:
            in_flight.enter(account, key, is_proven=is_proven)
        except TryLater:
            return entered
        entered += 1


def test_enter__one_account_takes_all_it_gets__others_are_served() -> None:
    in_flight = InFlight(1_000)

    assert enter_all(in_flight, "greedy", "key") < 900
    assert enter_all(in_flight, "honest", "key") > 10


def test_enter__one_key_takes_all_it_gets__its_siblings_are_served() -> None:
    in_flight = InFlight(1_000)

    enter_all(in_flight, "account", "greedy child", is_proven=True)

    assert enter_all(in_flight, "account", "root", is_proven=True) > 10
    assert enter_all(in_flight, "another account", "key", is_proven=True) > 10


def test_enter__strangers_by_the_thousand__who_has_paid_is_served() -> None:
    in_flight = InFlight(1_000)
    for number in range(2_000):
        enter_all(in_flight, f"stranger {number}", "key")

    assert enter_all(in_flight, "has paid", "key", is_proven=True) > 100


@pytest.mark.parametrize(("is_proven", "places"), [(True, 875), (False, 657)])
def test_enter__one_key__gets_its_accounts_whole_share(is_proven: bool, places: int) -> None:
    """As a proxy, which is one key at its market: seven eighths of what is free to its kind."""
    assert enter_all(InFlight(1_000), "account", "key", is_proven=is_proven) == places


def test_enter__many_keys_of_a_greedy_account__half_of_the_reserve_is_left_to_others() -> None:
    in_flight = InFlight(1_000)
    for number in range(300):
        enter_all(in_flight, "greedy", f"child {number}", is_proven=True)

    for number in range(62):
        in_flight.enter(f"other {number}", "key", is_proven=True)


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
