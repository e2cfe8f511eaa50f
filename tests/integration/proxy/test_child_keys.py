"""Child keys over HTTP, on both databases: made, changed, rotated, revoked, and their limits exact.

::

    POST /keys/children
    ├── by a root key: a key that works, within its limits; by a child: 403; odd limits: 400
    ├── PATCH: at once, without another key; DELETE: 401 from then on, and its stream is cut
    ├── rotate: the new one works, the old one for its grace
    └── the position's epoch: all end
    a limit
    ├── per request, day, month, lifetime, minute, concurrency: 429 with which, its value, used
    ├── fit: lowered to what it leaves; cheapest: among its models
    └── a burst on two proxies over one ledger: never passed, to the unit
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import Engine

from ledger.audit import find_violations
from ledger.database.engine import read, write
from ledger.database.notify import notify_positions
from ledger.spending.keys import load_child
from tests.support.answers import MODEL
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_state, put_cursor, put_positions
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
from tests.support.waiting import until

CHILDREN: Final = "/api/current/keys/children"
COST_USDC: Final = 12


@pytest.fixture
async def proxy(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> AsyncIterator[RunningProxy]:
    async with run_proxy(settings_for(provider, tmp_path), engine) as running:
        yield running


@pytest.fixture(autouse=True)
def audited(engine: Engine) -> Iterator[None]:
    """Every test ends with a ledger whose counters are the sums of its usage."""
    yield
    with read(engine) as connection:
        assert find_violations(connection) == []


def settings_for(provider: FakeEndpoint, directory: Path, **changes: Any) -> Any:
    return make_settings(
        upstream_url=provider.url,
        prices_file=write_prices(directory),
        stream_drain_s=0.5,
        **changes,
    )


async def ask(
    proxy: RunningProxy, method: str, path: str, body: Any = None, *, key: str | None = None
) -> httpx.Response:
    headers = {"authorization": f"Bearer {make_key() if key is None else key}"}
    content = None if body is None else json.dumps(body).encode()
    return await proxy.client.request(method, path, content=content, headers=headers)


async def make_child(proxy: RunningProxy, **terms: Any) -> dict[str, Any]:
    answer = await ask(proxy, "POST", CHILDREN, terms)
    assert answer.status_code == 201, answer.text
    issued: dict[str, Any] = answer.json()
    return issued


def error_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


async def measure_ceiling(proxy: RunningProxy) -> int:
    answer = await proxy.chat()
    assert answer.status_code == 200
    return int(answer.headers["x-current-reserved-usdc"])


async def test_child__without_limits__works_like_its_root(proxy: RunningProxy) -> None:
    issued = await make_child(proxy, label="ci")
    answer = await proxy.chat(issued["apiKey"])

    assert answer.status_code == 200
    assert issued["apiKey"].startswith("current_0_0_")
    (row,) = proxy.usage()
    assert row["key_id"] == issued["keyId"]
    own = (await ask(proxy, "GET", "/api/current/keys/self", key=issued["apiKey"])).json()
    assert (own["kind"], own["child"]["label"]) == ("child", "ci")
    used = {"day_usdc": 12, "month_usdc": 12, "lifetime_usdc": 12, "open_requests": 0}
    assert own["child"]["used"] == used
    root = (await ask(proxy, "GET", "/api/current/keys/self")).json()
    assert (root["kind"], root["child"]) == ("root", None)


async def test_child__sees_its_own_requests_only(proxy: RunningProxy) -> None:
    issued = await make_child(proxy)
    await proxy.chat()
    mine = (await proxy.chat(issued["apiKey"])).headers["x-request-id"]
    theirs = next(row["request_id"] for row in proxy.usage() if row["request_id"] != mine)

    listed = (await ask(proxy, "GET", "/api/current/usage", key=issued["apiKey"])).json()["data"]
    assert [entry["request_id"] for entry in listed] == [mine]
    assert len((await ask(proxy, "GET", "/api/current/usage")).json()["data"]) == 2
    for request_id, status in ((mine, 200), (theirs, 404)):
        path = f"/api/current/receipts/{request_id}"
        assert (await ask(proxy, "GET", path, key=issued["apiKey"])).status_code == status


async def test_children__managed_by_a_child__forbidden(proxy: RunningProxy) -> None:
    issued = await make_child(proxy)
    key, path = issued["apiKey"], f"{CHILDREN}/{issued['keyId']}"
    for method, where in (
        ("POST", CHILDREN),
        ("GET", CHILDREN),
        ("PATCH", path),
        ("POST", f"{path}/rotate"),
        ("DELETE", path),
    ):
        error_of(await ask(proxy, method, where, {}, key=key), 403, "child_key_forbidden")


async def test_children__odd_terms__refused(proxy: RunningProxy) -> None:
    odd: tuple[dict[str, Any], ...] = (
        {"day_usdc_max": -1},
        {"day_usdc_max": "5"},
        {"day_usdc_max": 2**63},
        {"concurrency_max": 1.5},
        {"models": "gpt-4o"},
        {"models": [""]},
        {"expires_at": "soon"},
        {"label": "x" * 101},
        {"daily_cap": 5},
    )
    for terms in odd:
        answer = await ask(proxy, "POST", CHILDREN, terms)
        assert error_of(answer, 400, "invalid_request")["param"].split(".")[0] in terms
    assert (await ask(proxy, "GET", CHILDREN)).json()["data"] == []


async def test_limits__of_amounts__refused_with_the_facts(proxy: RunningProxy) -> None:
    ceiling = await measure_ceiling(proxy)
    cases = (
        ("request", {"request_usdc_max": ceiling - 1}, 0, False),
        ("day", {"day_usdc_max": ceiling + COST_USDC - 1}, COST_USDC, True),
        ("month", {"month_usdc_max": ceiling + COST_USDC - 1}, COST_USDC, True),
        ("lifetime", {"lifetime_usdc_max": ceiling + COST_USDC - 1}, COST_USDC, False),
    )
    for name, terms, used, resets in cases:
        key = (await make_child(proxy, **terms))["apiKey"]
        if used:
            assert (await proxy.chat(key)).status_code == 200
        refused = await proxy.chat(key)
        error = error_of(refused, 429, "key_limit_reached")
        assert (error["limit"], error["limit_value"]) == (name, next(iter(terms.values())))
        assert (error["limit_used"], error["required_usdc"]) == (used, ceiling)
        assert (error["resets_at"] is not None) == resets
        assert refused.headers["x-should-retry"] == "false"
        # One unit less of output fits.
        fitted = await proxy.chat(key, fit=True)
        assert fitted.status_code == 200
        assert int(fitted.headers["x-current-reserved-usdc"]) < ceiling


async def test_limits__of_requests__refused_and_given_back(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    issued = await make_child(proxy, concurrency_max=1)
    provider.behaviour = "slow"
    first = asyncio.create_task(proxy.chat(issued["apiKey"]))
    await until(lambda: provider.requests)
    refused = await proxy.chat(issued["apiKey"])
    error = error_of(refused, 429, "rate_limit_exceeded")
    assert (error["limit"], error["limit_value"], error["limit_used"]) == ("concurrency", 1, 1)
    assert "x-should-retry" not in refused.headers
    provider.release.set()
    assert (await first).status_code == 200
    assert (await proxy.chat(issued["apiKey"])).status_code == 200

    none = await make_child(proxy, requests_per_minute_max=0)
    error = error_of(await proxy.chat(none["apiKey"]), 429, "rate_limit_exceeded")
    assert (error["limit"], error["limit_used"]) == ("requests_per_minute", 0)


async def test_limits__failed_request__counts_for_nothing(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    ceiling = await measure_ceiling(proxy)
    issued = await make_child(proxy, lifetime_usdc_max=ceiling)
    provider.behaviour = "status_500"
    assert (await proxy.chat(issued["apiKey"])).status_code == 502
    provider.behaviour = "normal"
    assert (await proxy.chat(issued["apiKey"])).status_code == 200


async def test_models__others_are_refused_and_cheapest_stays_within(proxy: RunningProxy) -> None:
    issued = await make_child(proxy, models=["gpt-4o"])

    error_of(await proxy.chat(issued["apiKey"], model=MODEL), 403, "model_not_allowed")
    answer = await proxy.chat(issued["apiKey"], model="cheapest")
    assert (answer.status_code, answer.headers["x-current-model"]) == (200, "gpt-4o")
    assert (await proxy.chat(model="cheapest")).headers["x-current-model"] == MODEL


async def test_models__that_nobody_offers__400_and_no_key(proxy: RunningProxy) -> None:
    for models in ([MODEL, "no-such-model"], ["cheapest"]):
        error = error_of(
            await ask(proxy, "POST", CHILDREN, {"models": models}), 400, "unknown_models"
        )
        assert error["param"] == "models"
        assert repr(models[-1]) in error["message"]
        assert repr(MODEL) not in error["message"]
    assert (await ask(proxy, "GET", CHILDREN)).json()["data"] == []
    issued = await make_child(proxy, models=[MODEL])
    path = f"{CHILDREN}/{issued['keyId']}"
    error_of(await ask(proxy, "PATCH", path, {"models": ["gone"]}), 400, "unknown_models")


async def test_models__provider_away__by_its_last_list_which_is_said(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.models = None
    await proxy.front.app.state.services.catalogue.refresh()

    made = await ask(proxy, "POST", CHILDREN, {"models": [MODEL]})
    refused = await ask(proxy, "POST", CHILDREN, {"models": ["no-such-model"]})

    assert (made.status_code, made.headers["x-current-models-fallback"]) == (201, "true")
    assert "by its last list" in error_of(refused, 400, "unknown_models")["message"]


async def test_change__at_once_for_the_same_key(proxy: RunningProxy) -> None:
    issued = await make_child(proxy, label="a", day_usdc_max=0, models=["gpt-4o"])
    path = f"{CHILDREN}/{issued['keyId']}"

    changed = await ask(proxy, "PATCH", path, {"day_usdc_max": None, "models": [MODEL]})
    assert changed.status_code == 200
    assert (changed.json()["label"], changed.json()["day_usdc_max"]) == ("a", None)
    assert (await proxy.chat(issued["apiKey"])).status_code == 200
    await ask(proxy, "PATCH", path, {"lifetime_usdc_max": COST_USDC})
    error = error_of(await proxy.chat(issued["apiKey"]), 429, "key_limit_reached")
    assert error["limit_used"] == COST_USDC
    await ask(proxy, "PATCH", path, {"expires_at": now_s() - 1})
    error_of(await proxy.chat(issued["apiKey"]), 401, "key_expired")
    (listed,) = (await ask(proxy, "GET", CHILDREN)).json()["data"]
    assert listed["state"] == "expired"
    error_of(await ask(proxy, "PATCH", f"{CHILDREN}/{'0' * 12}", {}), 404, "key_not_found")
    elsewhere = await ask(proxy, "PATCH", path, {}, key=make_key(1))
    assert elsewhere.status_code == 404


async def test_rotate__new_key_same_limits_old_one_for_its_grace(proxy: RunningProxy) -> None:
    issued = await make_child(proxy, lifetime_usdc_max=100_000)
    path = f"{CHILDREN}/{issued['keyId']}"
    assert (await proxy.chat(issued["apiKey"])).status_code == 200

    second = (await ask(proxy, "POST", f"{path}/rotate", {"grace_s": 600})).json()
    assert second["apiKey"] != issued["apiKey"]
    assert (second["keyId"], second["used"]["lifetime_usdc"]) == (issued["keyId"], COST_USDC)
    assert (await proxy.chat(issued["apiKey"])).status_code == 200
    assert (await proxy.chat(second["apiKey"])).status_code == 200

    third = (await ask(proxy, "POST", f"{path}/rotate")).json()
    for old in (issued, second):
        error_of(await proxy.chat(old["apiKey"]), 401, "key_rotated")
        error_of(
            await ask(proxy, "GET", "/api/current/keys/self", key=old["apiKey"]), 401, "key_rotated"
        )
    assert (await proxy.chat(third["apiKey"])).status_code == 200


async def test_revoke__refused_from_then_on(proxy: RunningProxy) -> None:
    issued = await make_child(proxy)
    path = f"{CHILDREN}/{issued['keyId']}"

    assert (await ask(proxy, "DELETE", path)).status_code == 204
    error_of(await proxy.chat(issued["apiKey"]), 401, "key_revoked")
    error_of(await ask(proxy, "DELETE", path), 404, "key_not_found")
    error_of(await ask(proxy, "POST", f"{path}/rotate", {}), 404, "key_not_found")
    (listed,) = (await ask(proxy, "GET", CHILDREN)).json()["data"]
    assert listed["state"] == "revoked"


async def test_epoch__ends_all_children(proxy: RunningProxy) -> None:
    issued = await make_child(proxy)
    with write(proxy.engine) as connection:
        put_positions(connection, make_state(now_s=now_s(), key_epoch=1))

    error_of(await proxy.chat(issued["apiKey"]), 401, "key_revoked")
    assert (await ask(proxy, "GET", CHILDREN, key=make_key(0, 1))).json()["data"] == []


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("child revoked", "key_revoked"),
        ("child rotated", "key_rotated"),
        ("epoch raised", "key_revoked"),
    ],
)
async def test_stream__key_revoked_meanwhile__cut(
    proxy: RunningProxy, provider: FakeEndpoint, how: str, code: str
) -> None:
    provider.behaviour = "stream_stalls"
    issued = await make_child(proxy)
    headers = {"authorization": f"Bearer {issued['apiKey']}"}
    body = make_body(stream=True)
    async with proxy.client.stream("POST", CHAT, json=body, headers=headers) as response:
        lines = response.aiter_lines()
        assert "Hello!" in await anext(lines)
        if how == "child revoked":
            path = f"{CHILDREN}/{issued['keyId']}"
            assert (await ask(proxy, "DELETE", path)).status_code == 204
        elif how == "child rotated":
            path = f"{CHILDREN}/{issued['keyId']}/rotate"
            assert (await ask(proxy, "POST", path)).status_code == 200
        else:
            with write(proxy.engine) as connection:
                put_positions(connection, make_state(now_s=now_s(), key_epoch=1))
                notify_positions(connection, [0])
        rest = [line async for line in lines]
    assert f'"{code}"' in "".join(rest)
    assert proxy.usage()[0]["state"] == "posted"


async def test_burst__two_proxies_one_ledger__cap_is_exact(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> None:
    settings = settings_for(provider, tmp_path)
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(run_proxy(settings, engine)) for _ in range(2)]
        ceiling = await measure_ceiling(proxies[0])
        provider.behaviour = "slow"
        issued = await make_child(proxies[0], day_usdc_max=5 * ceiling + ceiling // 2)
        asked = [asyncio.create_task(proxies[n % 2].chat(issued["apiKey"])) for n in range(24)]
        await until(lambda: sum(task.done() for task in asked) == 19)
        provider.release.set()
        answers = [await task for task in asked]
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200] * 5 + [429] * 19
        with read(engine) as connection:
            row = load_child(connection, issued["keyId"], token_id=0)
            assert row is not None
            assert (row["used_usdc"], row["open_requests"]) == (5 * COST_USDC, 0)


async def test_order__position_before_the_keys_limit(proxy: RunningProxy) -> None:
    issued = await make_child(proxy, day_usdc_max=0)
    with write(proxy.engine) as connection:
        put_positions(connection, replace(make_state(now_s=now_s()), hold_usdc=0))
    error_of(await proxy.chat(issued["apiKey"]), 503, "hold_pending")
    with write(proxy.engine) as connection:
        put_positions(connection, make_state(now_s=now_s()))
        put_cursor(connection, now_s=now_s() - 1_000)
    error_of(await proxy.chat(issued["apiKey"]), 429, "key_limit_reached")
    error_of(await proxy.chat(), 503, "chain_state_stale")


async def test_quote__writes_nothing_and_says_why_not(proxy: RunningProxy) -> None:
    async def quote(key: str, **changes: Any) -> httpx.Response:
        return await ask(proxy, "POST", "/api/current/v1/quote", make_body(**changes), key=key)

    issued = await make_child(proxy, request_usdc_max=50)
    admitted = (await quote(make_key())).json()
    assert (admitted["admitted"], admitted["refusal"]) == (True, None)
    assert (admitted["model"], admitted["max_tokens_applied"]) == (MODEL, 100)
    assert admitted["remaining_usdc"] == 500_000 - admitted["required_usdc"]

    refused = (await quote(issued["apiKey"])).json()
    assert (refused["admitted"], refused["refusal"]["code"]) == (False, "key_limit_reached")
    assert refused["refusal"]["limit"] == "request"
    fitted = (await quote(issued["apiKey"], fit=True)).json()
    assert fitted["admitted"]
    assert fitted["max_tokens_applied"] < 100
    assert fitted["required_usdc"] <= 50

    cheapest = (await quote(make_key(), model="cheapest")).json()
    assert [offer["model"] for offer in cheapest["offers"]] == [MODEL, "gpt-4o"]
    error_of(await quote(make_key(), model="nope"), 404, "model_not_found")
    error_of(await quote(make_key(7)), 404, "position_not_found")
    assert proxy.usage() == []
    assert proxy.demands() == {}
    # What was quoted is what is reserved.
    answer = await proxy.chat()
    assert int(answer.headers["x-current-reserved-usdc"]) == admitted["required_usdc"]
