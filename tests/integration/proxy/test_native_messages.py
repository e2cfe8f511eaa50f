"""Messages that pass to an upstream which speaks them, such as a market: as they are.

::

    whole and streamed ── all but what costs; the charge of a chat; the dialect's headers
    refused ── what cannot be bounded, before anything is reserved
    broken off ── the delivered part is charged, the error is an event of the dialect
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

PATH = "/api/current/v1/messages"
ASKED: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Say hello."}],
    "max_tokens": 100,
}


@pytest.fixture
async def speaker() -> AsyncIterator[FakeEndpoint]:
    usage = {"input_tokens": 20, "output_tokens": 10}
    async with FakeEndpoint(usage=usage, speaks_messages=True) as endpoint:
        yield endpoint


@pytest.fixture
async def proxy(speaker: FakeEndpoint, tmp_path: Path) -> AsyncIterator[RunningProxy]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=now_s()))
        put_cursor(connection, now_s=now_s())
    async with run_proxy(settings_for(speaker, tmp_path, upstream_messages=True), engine) as it:
        yield it
    engine.dispose()


async def ask(proxy: RunningProxy, **changes: Any) -> Any:
    headers = {"x-api-key": make_key(), "anthropic-beta": "unknown-2031,compact-2026-01-12"}
    return await proxy.client.post(PATH, json={**ASKED, **changes}, headers=headers)


async def settle(proxy: RunningProxy) -> dict[str, Any]:
    await until(lambda: all(row["state"] != "reserved" for row in proxy.usage()))
    [row] = proxy.usage()
    return row


async def test_whole__passes_but_for_what_costs(proxy: RunningProxy, speaker: FakeEndpoint) -> None:
    compact = {"edits": [{"type": "compact_20260112"}]}
    answer = await ask(
        proxy, context_management=compact, novelty={"costs": 1}, metadata={"user_id": "u"}
    )
    assert speaker.requests == [{**ASKED, "metadata": {"user_id": "u"}}]
    assert speaker.headers[0]["anthropic-beta"] == "unknown-2031"
    assert answer.json()["content"][0]["text"] == TEXT
    assert answer.headers["x-current-cost-usdc"] == "12"
    assert answer.headers["request-id"] == answer.headers["x-request-id"]
    row = await settle(proxy)
    assert (row["cost_usdc"], row["end_user"]) == (12, "u")


async def test_stream__events_pass_and_the_last_says_the_cost(proxy: RunningProxy) -> None:
    answer = await ask(proxy, stream=True)
    datas = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    events = [json.loads(data) for data in datas]
    assert "".join(event.get("delta", {}).get("text", "") for event in events) == TEXT
    assert [event["type"] for event in events][-2:] == ["message_delta", "message_stop"]
    assert events[-2]["usage"]["cost"] == (await settle(proxy))["cost_usdc"] == 12


async def test_stream__dies__the_delivered_part_is_charged(
    proxy: RunningProxy, speaker: FakeEndpoint
) -> None:
    speaker.behaviour, speaker.piece_delay_s = "stream_dies", 0.02
    answer = await ask(proxy, stream=True)
    row = await settle(proxy)
    assert "upstream_disconnected" in answer.text
    assert 0 < row["cost_usdc"] <= row["ceiling_usdc"]


async def test_request__that_cannot_be_bounded__refused(
    proxy: RunningProxy, speaker: FakeEndpoint
) -> None:
    answer = await ask(proxy, tools=[{"type": "web_search_20250305", "name": "web_search"}])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_tool")
    assert (speaker.requests, proxy.usage()) == ([], [])
