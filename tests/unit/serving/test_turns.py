"""Waiting for a place."""

import asyncio

import pytest

from serving.process.turns import NoPlace, Turns


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_take__none_free__waits_for_one_given_back() -> None:
    turns = Turns(1)
    await turns.take("a", wait_s=60)
    waiting = asyncio.create_task(turns.take("b", wait_s=60))
    await settle()
    assert not waiting.done()

    turns.give_back("a")
    await waiting
    turns.give_back("b")
    assert turns.is_idle


async def test_take__several_wait__who_holds_least_is_first() -> None:
    turns = Turns(3)
    for tenant in ("a", "a", "b"):
        await turns.take(tenant, wait_s=60)
    order: list[str] = []

    async def want(tenant: str) -> None:
        await turns.take(tenant, wait_s=60)
        order.append(tenant)

    tasks = [asyncio.create_task(want(tenant)) for tenant in ("a", "b", "c")]
    await settle()
    turns.give_back("a")
    await settle()
    assert order == ["c"]
    turns.give_back("c")
    turns.give_back("b")
    turns.give_back("a")
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("wait_s", [0.0, 0.001])
async def test_take__none_in_time__no_place_and_nobody_waits(wait_s: float) -> None:
    turns = Turns(1)
    await turns.take("a", wait_s=0)

    with pytest.raises(NoPlace):
        await turns.take("b", wait_s=wait_s)

    turns.give_back("a")
    assert turns.is_idle


async def test_take__cancelled_as_it_is_granted__the_place_is_given_back() -> None:
    turns = Turns(1)
    await turns.take("a", wait_s=0)
    waiting = asyncio.create_task(turns.take("b", wait_s=60))
    await settle()
    turns.give_back("a")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert turns.is_idle


async def test_take__one_tenant_hangs_with_all_it_gets__another_gets_a_place() -> None:
    turns = Turns(128)
    taken = 0
    with pytest.raises(NoPlace):
        while True:
            await turns.take("hanging", wait_s=0)
            taken += 1

    await turns.take("honest", wait_s=0)
    assert taken == 112
