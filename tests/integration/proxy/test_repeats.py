"""One charge for one idempotency key, however often the request comes, and where it comes.

::

    the same key and body
    ├── after it was answered: the same answer, whole or streamed; also at another proxy
    ├── while it runs: waits for it; after the bound: 409 request_in_progress
    ├── ten at once, over two proxies: one charge
    ├── it failed, or its process was killed and its lease ran out: it runs again
    ├── its answer was too long, or lost, or its position keeps enough: 409 with its id and cost
    ├── very many at once: a few wait, the others hear 409
    └── its key was revoked meanwhile: 401
    another body: 409; another API key, or a day later: another request
    a client that left its stream in the middle: the whole of it when it asks again
    in the database: neither prompt nor answer nor key can be read
"""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import Engine, event, func, insert, select, update

from ledger.database.engine import read, write
from ledger.kept_answers import KEPT_S, forget_answers
from ledger.spending.leases import sweep_leases
from ledger.tables import KeptAnswer, Position, Usage, table_of
from scripts.stack.anvil_path import ROOT
from scripts.stack.ports import free_port
from serving.http.repeated import WAITING_MAX
from tests.support.answers import TEXT
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import (
    DEPLOYMENT,
    SQLITE,
    Databases,
    make_state,
    put_cursor,
    put_positions,
)
from tests.support.proxy import (
    CHAT,
    KEY_SECRET,
    RunningProxy,
    make_body,
    make_key,
    now_s,
    run_proxy,
    settings_for,
    write_prices,
)
from tests.support.waiting import LIMIT_S, until, until_it

COST_USDC: Final = 12
KEPT: Final = table_of(KeptAnswer)
PROMPT: Final = "A prompt that nobody else may read."


async def ask(
    proxy: RunningProxy, name: str = "first", *, key: str | None = None, **changes: Any
) -> httpx.Response:
    headers = {"authorization": f"Bearer {key or make_key()}", "idempotency-key": name}
    return await proxy.client.post(CHAT, json=make_body(**changes), headers=headers)


def error_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), answer.text
    return error


def charged(proxy: RunningProxy) -> list[int]:
    return [usage["cost_usdc"] for usage in proxy.usage() if usage["cost_usdc"] is not None]


async def test_repeat__answered_before__same_answer_and_one_charge(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    first, second = await ask(proxy), await ask(proxy)

    assert (first.status_code, second.status_code) == (200, 200)
    assert second.content == first.content
    assert charged(proxy) == [COST_USDC]
    assert len(provider.requests) == 1
    # Its own requests are none of a provider's or a market's: the key stays here.
    assert "idempotency-key" not in provider.headers[0]
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["x-current-request-id"] == first.headers["x-request-id"]
    assert "idempotent-replayed" not in first.headers
    for name in ("content-type", "x-current-cost-usdc", "x-current-remaining-usdc"):
        assert second.headers[name] == first.headers[name]


async def test_repeat__of_a_stream__is_a_stream_with_the_same_events(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    first, second = await ask(proxy, stream=True), await ask(proxy, stream=True)

    assert second.headers["content-type"].startswith("text/event-stream")
    assert second.content == first.content
    assert second.content.endswith(b"data: [DONE]\n\n")
    assert (len(charged(proxy)), len(provider.requests)) == (1, 1)


async def test_repeat__another_body_or_kind__409_and_nothing_is_charged(
    proxy: RunningProxy,
) -> None:
    await ask(proxy)

    for changes in ({"max_tokens": 99}, {"stream": True}):
        refused = await ask(proxy, **changes)
        error_of(refused, 409, "idempotency_key_reused")
        assert refused.headers["x-should-retry"] == "false"
    assert charged(proxy) == [COST_USDC]


async def test_repeat__other_key_or_other_name__is_another_request(proxy: RunningProxy) -> None:
    await ask(proxy)

    await ask(proxy, "second")
    await ask(proxy, key=make_key(key_id="11" * 8))

    assert charged(proxy) == [COST_USDC] * 3


@pytest.mark.parametrize("name", ["", "x" * 201])
async def test_key__out_of_bounds__400(proxy: RunningProxy, name: str) -> None:
    error_of(await ask(proxy, name), 400, "invalid_idempotency_key")
    assert proxy.usage() == []


async def test_repeat__ten_at_once_over_two_proxies__one_charge_and_one_answer(
    proxy: RunningProxy, provider: FakeEndpoint, tmp_path: Path
) -> None:
    async with run_proxy(settings_for(provider, tmp_path), proxy.engine) as other:
        answers = await asyncio.gather(*(ask((proxy, other)[n % 2]) for n in range(10)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert charged(proxy) == [COST_USDC]
    assert len(provider.requests) == 1


async def test_repeat__first_still_runs__waits_for_it(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.behaviour = "slow"
    first = asyncio.create_task(ask(proxy))
    await until(lambda: provider.requests)
    second = asyncio.create_task(ask(proxy))
    in_flight = proxy.front.app.state.services.completions.in_flight
    await until(lambda: in_flight.count == 2)
    provider.release.set()

    assert (await second).content == (await first).content
    assert (charged(proxy), len(provider.requests)) == ([COST_USDC], 1)


async def test_repeat__first_runs_for_too_long__409_to_come_again(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> None:
    settings = settings_for(provider, tmp_path, idempotency_wait_s=0)
    async with run_proxy(settings, engine) as proxy:
        provider.behaviour = "slow"
        first = asyncio.create_task(ask(proxy))
        await until(lambda: provider.requests)

        refused = await ask(proxy)

        provider.release.set()
        request_id = (await first).headers["x-request-id"]
    assert error_of(refused, 409, "request_in_progress")["request_id"] == request_id
    assert refused.headers["retry-after"] == "2"
    assert "x-should-retry" not in refused.headers


async def test_repeat__first_failed__runs_again(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.behaviour = "status_500"
    error_of(await ask(proxy), 502, "upstream_error")
    provider.behaviour = "normal"

    # What was not charged is not kept: another body is as good.
    answer = await ask(proxy, max_tokens=99)

    assert answer.status_code == 200
    assert (charged(proxy), len(provider.requests)) == ([COST_USDC], 2)


async def test_repeat__first_refused_for_money__nothing_is_kept(
    proxy: RunningProxy, engine: Engine
) -> None:
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=now_s(), hold_usdc=0))
    error_of(await ask(proxy), 503, "hold_pending")

    with read(engine) as connection:
        assert connection.execute(select(KEPT)).all() == []
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=now_s()))
    assert (await ask(proxy)).status_code == 200


async def test_repeat__first_s_process_died__runs_again_once_it_is_known_dead(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> None:
    settings = settings_for(provider, tmp_path, idempotency_wait_s=0, drain_timeout_s=1)
    provider.behaviour = "slow"
    async with run_proxy(settings, engine) as dead:
        # A process that is killed neither posts nor voids.
        dead.front.app.state.services.completions._meter.void = _do_nothing
        first = asyncio.create_task(ask(dead))
        await until(lambda: provider.requests)
        first.cancel()
    provider.behaviour = "normal"
    async with run_proxy(settings, engine) as proxy:

        async def is_answered() -> httpx.Response | None:
            answer = await ask(proxy)
            if answer.status_code == 200:
                return answer
            error_of(answer, 409, "request_in_progress")
            return None

        answer = await until_it(is_answered, "the dead process's reservation is freed")

        assert answer is not None
        assert charged(proxy) == [COST_USDC]
        assert (await ask(proxy)).content == answer.content


async def test_repeat__first_s_process_was_killed__one_charge_after_the_sweep(
    provider: FakeEndpoint, tmp_path: Path
) -> None:
    facts = asdict(DEPLOYMENT)
    record = {name: facts.pop(name) for name in ("chain_id", "block_number", "block_hash")}
    (tmp_path / "deployment.json").write_text(json.dumps({**record, "contracts": facts}))
    port = free_port()
    with Databases(SQLITE, tmp_path) as databases:
        engine = databases.open_ledger()
        with write(engine) as connection:
            put_positions(connection, make_state(now_s=now_s()))
            put_cursor(connection, now_s=now_s())
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PROXY_")}
        environment = {
            **ours,
            "PROXY_RPC_URL": "http://127.0.0.1:9",
            "PROXY_LEDGER_URL": str(engine.url),
            "PROXY_DEPLOYMENT_FILE": str(tmp_path / "deployment.json"),
            "PROXY_KEY_SECRET": KEY_SECRET,
            "PROXY_UPSTREAM_URL": provider.url,
            "PROXY_PRICES_FILE": str(write_prices(tmp_path)),
            "PROXY_PORT": str(port),
        }
        provider.behaviour = "slow"
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                await until_it(lambda: _is_alive(client))
                headers = {"authorization": f"Bearer {make_key()}", "idempotency-key": "first"}
                asked = asyncio.create_task(
                    client.post(CHAT, json=make_body(), headers=headers, timeout=LIMIT_S)
                )
                await until(lambda: provider.requests)
                process.kill()
                with pytest.raises(httpx.TransportError):
                    await asked
        finally:
            process.kill()
            process.wait()
        provider.behaviour = "normal"
        settings = settings_for(provider, tmp_path, idempotency_wait_s=0)
        async with run_proxy(settings, engine) as proxy:
            error_of(await ask(proxy), 409, "request_in_progress")
            with write(engine) as connection:
                assert sweep_leases(connection, now_s=now_s() + settings.lease_s) == 1
            first, second = await ask(proxy), await ask(proxy)

            assert (first.status_code, second.content) == (200, first.content)
            assert charged(proxy) == [COST_USDC]
            assert proxy.drawn_usdc() == COST_USDC


async def _is_alive(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/api/current/healthz")).status_code == 200
    except httpx.TransportError:
        return False


async def _do_nothing(*_: object) -> bool:
    return True


@pytest.mark.parametrize("stream", [False, True])
async def test_repeat__answer_too_long_to_keep__409_with_its_id_and_cost(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path, stream: bool
) -> None:
    settings = settings_for(provider, tmp_path, idempotency_answer_bytes_max=10)
    async with run_proxy(settings, engine) as proxy:
        first = await ask(proxy, stream=stream)
        refused = await ask(proxy, stream=stream)

        error = error_of(refused, 409, "answer_not_kept")
        (cost_usdc,) = charged(proxy)
        assert first.status_code == 200
        assert error["request_id"] == first.headers["x-request-id"]
        assert error["cost_usdc"] == cost_usdc
        assert refused.headers["x-should-retry"] == "false"


async def test_repeat__position_keeps_enough_already__409_and_others_are_kept_on(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> None:
    async with run_proxy(settings_for(provider, tmp_path), engine) as proxy:
        await ask(proxy)
    with read(engine) as connection:
        (kept_bytes,) = connection.execute(select(func.length(KEPT.c.sealed))).scalars()
    settings = settings_for(provider, tmp_path, idempotency_position_bytes_max=kept_bytes)
    async with run_proxy(settings, engine) as proxy:
        second = await ask(proxy, name="second")
        refused = await ask(proxy, name="second")
        again = await ask(proxy)

        error = error_of(refused, 409, "answer_not_kept")
        assert error["request_id"] == second.headers["x-request-id"]
        assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
        assert charged(proxy) == [COST_USDC] * 2


async def test_repeat__very_many_at_once__a_few_wait_and_the_others_are_told(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.behaviour = "slow"
    first = asyncio.create_task(ask(proxy))
    await until(lambda: provider.requests)
    repeats = [asyncio.create_task(ask(proxy)) for _ in range(3 * WAITING_MAX)]
    await until(lambda: sum(repeat.done() for repeat in repeats) == 2 * WAITING_MAX)
    told = [repeat.result() for repeat in repeats if repeat.done()]
    provider.release.set()
    answers = await asyncio.gather(first, *repeats)

    assert {error_of(one, 409, "request_in_progress")["code"] for one in told}
    assert sum(answer.status_code == 200 for answer in answers) == 1 + WAITING_MAX
    assert charged(proxy) == [COST_USDC]


async def test_repeat__charged_but_its_answer_lost__409_and_no_second_charge(
    proxy: RunningProxy, engine: Engine
) -> None:
    await ask(proxy)
    with write(engine) as connection:
        connection.execute(update(KEPT).values(state="open", sealed=None, sealed_bytes=0))
        connection.execute(update(table_of(Usage)).values(resolved_at_s=now_s() - 61))

    assert error_of(await ask(proxy), 409, "answer_not_kept")["cost_usdc"] == COST_USDC
    assert charged(proxy) == [COST_USDC]


async def test_repeat__key_revoked_meanwhile__401_and_no_answer(
    proxy: RunningProxy, engine: Engine
) -> None:
    await ask(proxy)
    with write(engine) as connection:
        connection.execute(update(table_of(Position)).values(key_epoch=1))

    error_of(await ask(proxy), 401, "key_revoked")


async def test_repeat__a_day_later__is_another_request(proxy: RunningProxy, engine: Engine) -> None:
    await ask(proxy)
    with write(engine) as connection:
        assert forget_answers(connection, now_s=now_s() + KEPT_S - 60) == 0
        connection.execute(update(KEPT).values(expires_at_s=now_s()))

    assert (await ask(proxy)).status_code == 200
    assert charged(proxy) == [COST_USDC] * 2
    with write(engine) as connection:
        assert forget_answers(connection, now_s=now_s() + KEPT_S + 60) == 1


async def test_sweep__more_rows_than_one_turn_deletes__all_are_forgotten(
    proxy: RunningProxy, engine: Engine
) -> None:
    row = {"body_digest": "d" * 64, "state": "dropped", "expires_at_s": now_s() - 1, "owner": "o"}
    rows = [{**row, "lookup_id": f"{n:064d}", "request_id": f"r-{n}"} for n in range(2_001)]
    with write(engine) as connection:
        connection.execute(insert(KEPT), rows)
    await proxy.front.app.state.services.meter.sweep()
    with read(engine) as connection:
        assert connection.execute(select(func.count()).select_from(KEPT)).scalar_one() == 0


async def test_repeat__row_swept_between_insert_and_lock__the_key_is_new(
    proxy: RunningProxy, engine: Engine
) -> None:
    await ask(proxy)
    with write(engine) as connection:
        connection.execute(update(KEPT).values(expires_at_s=now_s()))
    swept: list[int] = []

    def sweep(connection: Any, _: Any, statement: str, *__: Any) -> None:
        if statement.startswith("INSERT INTO kept_answer") and not swept:
            swept.append(connection.exec_driver_sql("DELETE FROM kept_answer").rowcount)

    event.listen(engine, "after_cursor_execute", sweep)
    try:
        assert (await ask(proxy)).status_code == 200
    finally:
        event.remove(engine, "after_cursor_execute", sweep)
    assert swept == [1]
    assert charged(proxy) == [COST_USDC] * 2
    with read(engine) as connection:
        assert connection.execute(select(func.count()).select_from(KEPT)).scalar_one() == 1


async def test_stream__client_left_in_the_middle__gets_all_of_it_when_it_asks_again(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.behaviour = "stream_stalls"
    headers = {"authorization": f"Bearer {make_key()}", "idempotency-key": "left"}
    body = make_body(stream=True)
    async with proxy.client.stream("POST", CHAT, json=body, headers=headers) as first:
        async for _ in first.aiter_bytes():
            break
    provider.release.set()

    second = await ask(proxy, "left", stream=True)

    assert second.content.endswith(b"data: [DONE]\n\n")
    assert (len(charged(proxy)), len(provider.requests)) == (1, 1)


async def test_database__neither_prompt_nor_answer_nor_key_can_be_read(
    provider: FakeEndpoint, tmp_path: Path
) -> None:
    with Databases(SQLITE, tmp_path) as databases:
        engine = databases.open_ledger()
        with write(engine) as connection:
            put_positions(connection, make_state(now_s=now_s()))
            put_cursor(connection, now_s=now_s())
        async with run_proxy(settings_for(provider, tmp_path), engine) as proxy:
            messages = [{"role": "user", "content": PROMPT}]
            for name, stream in (("a-name-of-mine", False), ("another-name", True)):
                answer = await ask(proxy, name, messages=messages, stream=stream)
                assert answer.status_code == 200
            stored = b"".join(path.read_bytes() for path in tmp_path.glob("*.sqlite3*"))
        with read(engine) as connection:
            assert len(connection.execute(select(KEPT)).all()) == 2
    assert b"kept_answer" in stored
    for secret in (PROMPT, TEXT, "a-name-of-mine", "another-name", make_key()):
        assert secret.encode() not in stored
