"""Responses that pass to an upstream which speaks them: as they are, and charged as every request.

::

    whole and streamed ── unread but for what costs; never stored; the charge of a chat
    refused ── hosted tools and stored state, before anything is reserved
    broken off ── the delivered part is charged, the error is an event
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ledger.database.engine import write
from tests.support.answers import MODEL, TEXT
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.proxy import RunningProxy, make_key, now_s, run_proxy, settings_for
from tests.support.waiting import until

PATH = "/api/current/v1/responses"
ASKED: dict[str, Any] = {"model": MODEL, "input": "Say hello.", "max_output_tokens": 100}


@pytest.fixture
async def proxy(provider: FakeEndpoint, tmp_path: Path) -> AsyncIterator[RunningProxy]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=now_s()))
        put_cursor(connection, now_s=now_s())
    async with run_proxy(settings_for(provider, tmp_path, upstream_responses=True), engine) as it:
        yield it
    engine.dispose()


async def ask(proxy: RunningProxy, **changes: Any) -> Any:
    headers = {"authorization": f"Bearer {make_key()}"}
    return await proxy.client.post(PATH, json={**ASKED, **changes}, headers=headers)


async def settle(proxy: RunningProxy) -> dict[str, Any]:
    await until(lambda: all(row["state"] != "reserved" for row in proxy.usage()))
    [row] = proxy.usage()
    return row


async def test_whole__passes_unread_but_for_what_costs(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.usage = {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}
    answer = await ask(proxy, store=True, novelty={"kept": 1})
    assert provider.requests == [{**ASKED, "store": False, "novelty": {"kept": 1}}]
    assert answer.json()["output"][0]["content"][0]["text"] == TEXT
    assert answer.headers["x-current-cost-usdc"] == "12"
    assert (await settle(proxy))["cost_usdc"] == 12


async def test_stream__events_pass_and_the_last_says_the_cost(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.usage = {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}
    answer = await ask(proxy, stream=True)
    datas = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    events = [json.loads(data) for data in datas]
    assert "".join(event.get("delta", "") for event in events) == TEXT
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["usage"]["cost"] == (await settle(proxy))["cost_usdc"] == 12


async def test_stream__dies__the_delivered_part_is_charged(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.behaviour, provider.piece_delay_s = "stream_dies", 0.02
    answer = await ask(proxy, stream=True)
    row = await settle(proxy)
    assert "upstream_disconnected" in answer.text
    assert 0 < row["cost_usdc"] <= row["ceiling_usdc"]


@pytest.mark.parametrize(
    "changes",
    [
        {"tools": [{"type": "web_search"}]},
        {"previous_response_id": "resp_1"},
        {"background": True},
        {"input": []},
        {"max_output_tokens": 0},
    ],
)
async def test_request__that_cannot_be_bounded__refused(
    proxy: RunningProxy, provider: FakeEndpoint, changes: dict[str, Any]
) -> None:
    assert (await ask(proxy, **changes)).status_code == 400
    assert (provider.requests, proxy.usage()) == ([], [])
