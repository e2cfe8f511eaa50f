"""Streamed completions over HTTP: each way in which a stream can end, and what is charged for it.

::

    stream
    ├── to its end: passed on as it arrives, usage chunk with the cost, [DONE]
    │   └── upstream reports no usage, or reports it beside choices
    ├── upstream: refuses, dies at once, dies later, sends an error, sends garbage, has no end
    ├── client: leaves; reads on after a revocation
    ├── process: stops gracefully; its lease is renewed meanwhile
    └── ledger: gone when the charge is due
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, update

from ledger.database.engine import write
from ledger.errors import LedgerUnavailable
from ledger.spending.leases import sweep_leases
from ledger.tables import Position, table_of
from tests.support.answers import MODEL, PIECES, PROVIDER_KEY, TEXT
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.proxy import (
    CHAT,
    RunningProxy,
    make_body,
    make_key,
    make_settings,
    now_s,
    run_proxy,
    write_prices,
)
from tests.support.waiting import LIMIT_S, until, until_nobody_is_served

COST_REPORTED_USDC = 12  # 20 x 0.20 + 10 x 0.80 USD a million tokens


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=now_s()))
        put_cursor(connection, now_s=now_s())
    return engine


@pytest.fixture
async def proxy(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> AsyncIterator[RunningProxy]:
    settings = make_settings(
        upstream_url=provider.url,
        upstream_key=PROVIDER_KEY,
        prices_file=write_prices(tmp_path),
    )
    async with run_proxy(settings, engine) as running:
        yield running


@dataclass(frozen=True)
class Received:
    """A stream that was read to its end."""

    status: int
    headers: httpx.Headers
    chunks: list[dict[str, Any]]
    done: bool

    @property
    def text(self) -> str:
        """What the model said."""
        return "".join(
            choice["delta"].get("content", "")
            for chunk in self.chunks
            for choice in chunk.get("choices", ())
        )

    @property
    def usage(self) -> dict[str, Any]:
        """The last usage that was sent."""
        found: dict[str, Any] = [chunk["usage"] for chunk in self.chunks if "usage" in chunk][-1]
        return found

    @property
    def error(self) -> dict[str, Any]:
        """The error that ended it."""
        found: dict[str, Any] = self.chunks[-1]["error"]
        return found


async def receive(proxy: RunningProxy, **changes: Any) -> Received:
    headers = {"authorization": f"Bearer {make_key()}"}
    body = make_body(stream=True, **changes)
    async with proxy.client.stream("POST", CHAT, json=body, headers=headers) as response:
        raw = (await response.aread()).decode()
    datas = [part.removeprefix("data: ") for part in raw.split("\n\n") if part.startswith("data:")]
    chunks = [json.loads(data) for data in datas if data != "[DONE]"]
    return Received(response.status_code, response.headers, chunks, datas[-1:] == ["[DONE]"])


async def wait_for_end(proxy: RunningProxy) -> dict[str, Any]:
    """Wait until the only request is no longer open; return its usage row."""
    await until(lambda: proxy.front.app.state.services.completions.in_flight.count == 0)
    [usage] = proxy.usage()
    return usage


async def test_stream__to_its_end__passed_on_and_charged(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    received = await receive(proxy)

    assert received.status == 200
    assert received.headers["content-type"] == "text/event-stream"
    assert received.text == TEXT
    assert received.usage["cost"] == COST_REPORTED_USDC
    assert received.usage["total_tokens"] == 30
    assert received.done
    assert provider.requests[0]["stream_options"] == {"include_usage": True}
    usage = await wait_for_end(proxy)
    assert (usage["state"], usage["cost_usdc"]) == ("posted", COST_REPORTED_USDC)
    assert usage["request_id"] == received.headers["x-request-id"]
    assert int(received.headers["x-current-reserved-usdc"]) == usage["ceiling_usdc"]
    assert received.headers["x-current-model"] == MODEL
    assert "x-current-cost-usdc" not in received.headers  # not known yet when they were sent
    assert proxy.drawn_usdc() == COST_REPORTED_USDC


async def test_stream__usage_not_asked_for__every_chunk_has_a_choice(proxy: RunningProxy) -> None:
    received = await receive(proxy)
    assert all(chunk["choices"] for chunk in received.chunks)


async def test_stream__usage_asked_for__one_chunk_without_choices(proxy: RunningProxy) -> None:
    received = await receive(proxy, stream_options={"include_usage": True})
    without = [chunk for chunk in received.chunks if not chunk["choices"]]
    assert [chunk["usage"]["cost"] for chunk in without] == [COST_REPORTED_USDC]


async def test_stream__pieces__arrive_before_the_end(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.behaviour = "slow"
    headers = {"authorization": f"Bearer {make_key()}"}
    body = make_body(stream=True)
    async with proxy.client.stream("POST", CHAT, json=body, headers=headers) as response:
        lines = response.aiter_lines()
        assert "Hello!" in await asyncio.wait_for(anext(lines), LIMIT_S)
        assert proxy.usage()[0]["state"] == "reserved"
        provider.release.set()
        rest = [line async for line in lines]
    assert rest[-2:] == ["data: [DONE]", ""]


@pytest.mark.parametrize("behaviour", ["stream_no_usage", "stream_usage_with_choices"])
async def test_stream__unusual_usage__charged_all_the_same(
    proxy: RunningProxy, provider: FakeEndpoint, behaviour: str
) -> None:
    provider.behaviour = behaviour
    received = await receive(proxy)
    usage = await wait_for_end(proxy)
    assert received.done
    assert received.usage["cost"] == usage["cost_usdc"] > 0
    if behaviour == "stream_usage_with_choices":
        assert usage["cost_usdc"] == COST_REPORTED_USDC
    else:
        assert usage["completion_tokens"] == 9  # 25 bytes


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        ("status_500", 502, "upstream_error"),
        ("status_429", 503, "upstream_rate_limited"),
        ("status_400", 400, "context_length_exceeded"),
        ("too_cheap", 503, "price_changed"),
        ("not_a_completion", 502, "upstream_invalid_response"),
        ("redirect", 502, "upstream_error"),
    ],
)
async def test_stream__upstream_refuses__plain_error_and_given_back(
    proxy: RunningProxy, provider: FakeEndpoint, behaviour: str, status: int, code: str
) -> None:
    provider.behaviour = behaviour
    response = await proxy.chat(stream=True)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert PROVIDER_KEY not in response.text
    assert (await wait_for_end(proxy))["state"] == "voided"
    assert proxy.drawn_usdc() == 0


async def test_stream__dies_before_the_first_piece__given_back(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.behaviour = "stream_dies_at_once"
    received = await receive(proxy)
    assert received.error["code"] == "upstream_disconnected"
    assert received.error["message"].endswith("You are not charged.")
    assert (await wait_for_end(proxy))["state"] == "voided"


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ("stream_dies", "upstream_disconnected"),
        ("stream_bad_event", "upstream_disconnected"),
        ("stream_error", "upstream_error"),
    ],
)
async def test_stream__dies_later__the_delivered_part_is_charged(
    proxy: RunningProxy, provider: FakeEndpoint, behaviour: str, code: str
) -> None:
    provider.behaviour = behaviour
    provider.piece_delay_s = 0.02  # what is lost in a socket's buffer is nobody's to charge
    received = await receive(proxy)
    usage = await wait_for_end(proxy)
    assert received.text == TEXT
    assert not received.done
    assert received.error["code"] == code
    assert received.error["cost_usdc"] == usage["cost_usdc"] > 0
    assert received.error["message"].endswith("You are charged for what you received.")
    assert PROVIDER_KEY not in str(received.chunks)
    assert provider.url not in str(received.chunks)
    assert (usage["state"], usage["completion_tokens"]) == ("posted", 9)


async def test_stream__without_end__cut_at_what_was_reserved(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.behaviour = "stream_endless"
    received = await receive(proxy, max_tokens=20)
    usage = await wait_for_end(proxy)
    assert received.error["code"] == "ceiling_reached"
    assert 0 < usage["cost_usdc"] <= usage["ceiling_usdc"]
    assert received.usage["cost"] == usage["cost_usdc"]


async def test_stream__client_leaves__upstream_is_read_on_and_charged(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.behaviour = "slow"
    headers = {"authorization": f"Bearer {make_key()}"}
    body = make_body(stream=True)
    async with proxy.client.stream("POST", CHAT, json=body, headers=headers) as response:
        await anext(response.aiter_lines())
    provider.release.set()
    usage = await wait_for_end(proxy)
    assert (usage["state"], usage["cost_usdc"]) == ("posted", COST_REPORTED_USDC)


async def test_stream__client_leaves_and_upstream_stalls__charged_for_the_part(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> None:
    settings = make_settings(
        upstream_url=provider.url, stream_drain_s=2.0, prices_file=write_prices(tmp_path)
    )
    provider.behaviour = "stream_stalls"
    headers = {"authorization": f"Bearer {make_key()}"}
    body = make_body(stream=True)
    async with run_proxy(settings, engine) as proxy:
        async with proxy.client.stream("POST", CHAT, json=body, headers=headers) as response:
            await anext(response.aiter_lines())
            await until(lambda: provider.sent_pieces == PIECES)
        usage = await wait_for_end(proxy)
        assert usage["state"] == "posted"
        assert usage["completion_tokens"] == 9
        await until_nobody_is_served()


async def test_stream__key_revoked_meanwhile__ends_and_is_charged(
    proxy: RunningProxy, provider: FakeEndpoint, engine: Engine
) -> None:
    provider.behaviour = "stream_stalls"
    reading = asyncio.create_task(receive(proxy))
    await until(lambda: provider.sent_pieces == PIECES)
    with write(engine) as connection:
        connection.execute(update(table_of(Position)).values(key_epoch=1))
    received = await asyncio.wait_for(reading, LIMIT_S)
    assert received.error["code"] == "key_revoked"
    usage = await wait_for_end(proxy)
    assert (usage["state"], usage["completion_tokens"]) == ("posted", 9)


async def test_stream__longer_than_its_lease__renewed(
    proxy: RunningProxy, provider: FakeEndpoint, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = proxy.front.app.state.services.meter
    monkeypatch.setattr(meter, "_rules", replace(meter._rules, lease_s=2))
    provider.behaviour = "stream_stalls"
    reading = asyncio.create_task(receive(proxy))
    await until(
        lambda: any(
            usage["lease_expires_at_s"] > usage["reserved_at_s"] + 2 for usage in proxy.usage()
        )
    )
    [usage] = proxy.usage()
    with write(engine) as connection:
        # When it would have run out by the lease with which it began.
        assert sweep_leases(connection, now_s=usage["reserved_at_s"] + 2) == 0
    provider.release.set()
    assert (await reading).done


async def test_stream__reservation_swept_meanwhile__ended_without_charge(
    proxy: RunningProxy, provider: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = proxy.front.app.state.services.meter
    monkeypatch.setattr(meter, "_rules", replace(meter._rules, lease_s=1))
    provider.behaviour = "stream_stalls"
    reading = asyncio.create_task(receive(proxy))
    await until(lambda: provider.sent_pieces == PIECES)
    await meter.void(proxy.usage()[0]["request_id"], "lease_expired")
    received = await asyncio.wait_for(reading, LIMIT_S)
    assert received.error["code"] in ("reservation_lost", "settlement_failed")
    assert (await wait_for_end(proxy))["state"] == "voided"


async def test_stream__too_long__ended_and_charged(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> None:
    settings = make_settings(
        upstream_url=provider.url, stream_timeout_s=2.0, prices_file=write_prices(tmp_path)
    )
    provider.behaviour = "stream_stalls"
    async with run_proxy(settings, engine) as proxy:
        received = await receive(proxy)
        assert received.error["code"] == "stream_timeout"
        assert (await wait_for_end(proxy))["state"] == "posted"


async def test_stream__proxy_stops__finished_or_charged(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> None:
    settings = make_settings(
        upstream_url=provider.url, drain_timeout_s=1, prices_file=write_prices(tmp_path)
    )
    provider.behaviour = "stream_stalls"
    async with run_proxy(settings, engine) as proxy:
        reading = asyncio.create_task(receive(proxy))
        await until(lambda: provider.sent_pieces == PIECES)
    with pytest.raises(httpx.HTTPError):
        (await asyncio.wait_for(reading, LIMIT_S)).error  # noqa: B018 - it may also have been cut off
        raise httpx.HTTPError("told")
    [usage] = proxy.usage()
    assert (usage["state"], usage["completion_tokens"]) == ("posted", 9)


async def test_stream__ledger_gone_at_the_end__told_and_charged_later(
    proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([True] * 4)
    meter = proxy.front.app.state.services.completions._meter
    post = meter.post

    async def fail(*arguments: Any, **named: Any) -> Any:
        if next(failures, False):
            raise LedgerUnavailable("disk full")
        return await post(*arguments, **named)

    monkeypatch.setattr(meter, "post", fail)
    completions = proxy.front.app.state.services.completions
    impatient = replace(completions._stream_rules, post_retry_s=0.05)
    monkeypatch.setattr(completions, "_stream_rules", impatient)
    received = await receive(proxy)
    assert received.error["code"] == "settlement_failed"
    usage = await wait_for_end(proxy)
    assert (usage["state"], usage["cost_usdc"]) == ("posted", COST_REPORTED_USDC)


async def test_stream__not_charged_yet_when_the_proxy_stops__charged_before_it_ends(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(
        upstream_url=provider.url, drain_timeout_s=1, prices_file=write_prices(tmp_path)
    )
    async with run_proxy(settings, engine) as proxy:
        completions = proxy.front.app.state.services.completions
        patient = replace(completions._stream_rules, post_retry_s=3_600.0)
        monkeypatch.setattr(completions, "_stream_rules", patient)
        post = completions._meter.post
        failures = iter([True])

        async def fail(*arguments: Any, **named: Any) -> Any:
            if next(failures, False):
                raise LedgerUnavailable("disk full")
            return await post(*arguments, **named)

        monkeypatch.setattr(completions._meter, "post", fail)
        received = await receive(proxy)
        assert received.error["code"] == "settlement_failed"
        assert "the charge follows" in received.error["message"]
        assert [usage["state"] for usage in proxy.usage()] == ["reserved"]
    assert [(usage["state"], usage["cost_usdc"]) for usage in proxy.usage()] == [
        ("posted", COST_REPORTED_USDC)
    ]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"stream": "yes"}, "stream"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        (
            {"stream": True, "stream_options": {"include_usage": 1}},
            "stream_options.include_usage",
        ),
    ],
)
async def test_stream__nonsense__refused(
    proxy: RunningProxy, changes: dict[str, Any], param: str
) -> None:
    response = await proxy.chat(**changes)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
