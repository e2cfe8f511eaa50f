"""What the client of upstream does not do by itself."""

import asyncio

import pytest

from serving.models.upstream import heed_cancel


async def test_heed_cancel__client_forgets_that_it_was_cancelled__is_cancelled() -> None:
    async def forget() -> bytes:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return b"arrived at the same time"
        raise AssertionError("was not cancelled")

    reading = asyncio.create_task(heed_cancel(forget()))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_heed_cancel__nobody_cancelled__passes_on_what_arrives() -> None:
    async def arrive() -> bytes:
        return b"piece"

    assert await heed_cancel(arrive()) == b"piece"
