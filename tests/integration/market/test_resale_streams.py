"""Answers of resold APIs that are passed on while they arrive.

::

    an event stream ── its first piece is there before its last is made; charged once, at its end
    the credential in it, also in two pieces ── cut, charged nothing, off sale
    the API breaks off, or says too much ── cut, charged nothing
    the consumer leaves ── charged: the API has counted it
    an idempotency key ── comes whole, and again the same
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from starlette.responses import Response, StreamingResponse

from ledger.audit import find_violations
from ledger.database.engine import read
from ledger.tables import ApiCall, ApiPeriod, table_of
from tests.support.ledgers import make_ledger
from tests.support.market import RunningMarket, bearer, make_settings, run_market
from tests.support.resale import API_KEY, LATEST, RunningApi, connect, run_api
from tests.support.waiting import until

EVENT = b"data: " + b"x" * 1_000 + b"\n\n"
BYTES_MAX = 20_000


class Stand:
    """A market that sells calls of an API whose answers are event streams."""

    def __init__(self, market: RunningMarket, api: RunningApi, seller: str, buyer: str) -> None:
        self.market = market
        self.api = api
        self.seller = seller
        self.buyer = buyer
        self.path = ""
        self.connection: dict[str, Any] = {}
        self.go_on = asyncio.Event()

    async def connect(self, **changes: Any) -> None:
        self.connection = await connect(self.market, self.seller, self.api.url, **changes)
        self.path = f"/x402/{self.connection['sold_under']}/{LATEST}"

    def answer(self, *pieces: bytes | None, kind: str = "text/event-stream") -> None:
        """Answer with pieces; None waits until the test lets it go on."""

        async def say() -> AsyncIterator[bytes]:
            for piece in pieces:
                if piece is None:
                    await self.go_on.wait()
                else:
                    yield piece
                    await asyncio.sleep(0.02)  # a write of its own

        self.go_on.clear()
        self.api.answer_with(lambda: StreamingResponse(say(), media_type=kind))

    def stream(self, **headers: str) -> Any:
        return self.market.client.stream("GET", self.path, headers=bearer(self.buyer) | headers)

    async def call(self) -> dict[str, Any]:
        """Return the only call, once it is resolved, after the ledger's own audit."""
        call = table_of(ApiCall)

        def find() -> dict[str, Any] | None:
            with read(self.market.engine) as connection:
                row = connection.execute(select(call)).mappings().one()
                assert find_violations(connection) == []
            return dict(row) if row["state"] != "reserved" else None

        found = await until(find, "the call is resolved")
        assert found is not None
        return found

    def sold_units(self) -> tuple[int, int]:
        period = table_of(ApiPeriod)
        with read(self.market.engine) as connection:
            row = connection.execute(select(period.c.sold_units, period.c.reserved_units)).one()
        return int(row[0]), int(row[1])


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    settings = make_settings(tmp_path, resale_bytes_max=BYTES_MAX)
    async with run_api() as api, run_market(settings, engine) as market:
        stand = Stand(market, api, await market.get_key(), await market.get_buyer_key())
        await stand.connect(remaining_header=...)
        yield stand
        stand.go_on.set()
    engine.dispose()


async def read_until_cut(answer: httpx.Response) -> bytes:
    """Return what came of an answer that has no end. Raises where it has one."""
    seen = b""
    with pytest.raises(httpx.TransportError):
        async for piece in answer.aiter_raw():
            seen += piece
    return seen


async def test_stream__first_piece_is_there_before_the_last_is_made__is_charged_once(
    stand: Stand,
) -> None:
    stand.answer(EVENT, EVENT, None, b"data: [DONE]\n\n")

    async with stand.stream() as answer:
        pieces = answer.aiter_raw()
        first = await anext(pieces)
        reserved = stand.sold_units()
        stand.go_on.set()
        rest = b"".join([piece async for piece in pieces])

    assert first.startswith(b"data: xx")
    assert reserved == (0, 1), "nothing is charged before the end"
    assert first + rest == EVENT + EVENT + b"data: [DONE]\n\n"
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-market-cost-usdc"] == "150000"
    call = await stand.call()
    assert (call["state"], call["cost_usdc"], call["status"]) == ("posted", 150_000, 200)
    assert stand.sold_units() == (1, 0)


async def test_stream__credential_in_two_pieces__is_cut_before_it_and_goes_off_sale(
    stand: Stand,
) -> None:
    key = API_KEY.encode()
    stand.answer(EVENT, b"data: " + key[:7], key[7:] + b"\n\n", EVENT)

    async with stand.stream() as answer:
        seen = await read_until_cut(answer)

    assert key[:7] not in seen
    call = await stand.call()
    assert (call["state"], call["void_reason"]) == ("voided", "credential_leaked")
    assert stand.sold_units() == (0, 0)
    path = f"/v1/seller/connections/{stand.connection['id']}"
    shown = await stand.market.client.get(path, headers=bearer(stand.seller))
    assert "credential" in shown.json()["suspended_for"]


async def test_stream__api_breaks_off__is_cut_and_costs_nothing(stand: Stand) -> None:
    async def break_off() -> AsyncIterator[bytes]:
        yield EVENT * 2
        await asyncio.sleep(0.02)
        raise ConnectionError("the API's own fault")

    stand.api.answer_with(lambda: StreamingResponse(break_off(), media_type="text/event-stream"))

    async with stand.stream() as answer:
        seen = await read_until_cut(answer)

    assert EVENT.startswith(seen[: len(EVENT)])
    call = await stand.call()
    assert (call["state"], call["is_api_failure"]) == ("voided", True)
    assert stand.sold_units() == (0, 0)


async def test_stream__longer_than_allowed__is_cut_and_costs_nothing(stand: Stand) -> None:
    stand.answer(*(EVENT,) * 30)

    async with stand.stream() as answer:
        seen = await read_until_cut(answer)

    assert len(seen) <= BYTES_MAX
    assert (await stand.call())["state"] == "voided"


async def test_stream__consumer_leaves__is_charged_all_the_same(stand: Stand) -> None:
    stand.answer(EVENT, EVENT, None, EVENT)

    async with stand.stream() as answer:
        await anext(answer.aiter_raw())
    stand.go_on.set()

    assert (await stand.call())["state"] == "posted"
    assert stand.sold_units() == (1, 0)


async def test_stream__while_it_goes_on__holds_its_place(stand: Stand) -> None:
    await stand.market.client.patch(
        f"/v1/seller/connections/{stand.connection['id']}",
        json={"at_once": 1},
        headers=bearer(stand.seller),
    )
    stand.answer(EVENT, EVENT, None, EVENT)

    async with stand.stream() as answer:
        pieces = answer.aiter_raw()
        await anext(pieces)
        beside = await stand.market.client.get(stand.path, headers=bearer(stand.buyer))
        stand.go_on.set()
        async for _ in pieces:
            pass
    await stand.call()
    stand.api.behave = None
    again = await stand.market.client.get(stand.path, headers=bearer(stand.buyer))

    assert (beside.status_code, again.status_code) == (429, 200)


async def test_stream__with_an_idempotency_key__comes_whole_and_again_the_same(
    stand: Stand,
) -> None:
    stand.answer(EVENT, EVENT)
    headers = bearer(stand.buyer) | {"idempotency-key": "once"}

    first = await stand.market.client.get(stand.path, headers=headers)
    again = await stand.market.client.get(stand.path, headers=headers)

    assert first.content == again.content == EVENT + EVENT
    assert "content-length" in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert (await stand.call())["state"] == "posted"


async def test_answer__of_another_media_type__comes_whole(stand: Stand) -> None:
    stand.answer(b"{", b"}", kind="application/json")

    answer = await stand.market.client.get(stand.path, headers=bearer(stand.buyer))

    assert (answer.content, answer.headers["content-length"]) == (b"{}", "2")


async def test_stream__refused__fails_over_as_any_answer(stand: Stand) -> None:
    stand.api.answer_with(lambda: Response(b"data: no\n\n", 500, media_type="text/event-stream"))

    answer = await stand.market.client.get(stand.path, headers=bearer(stand.buyer))

    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "api_failed")
