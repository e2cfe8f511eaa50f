"""A proxy's policies, of a position, of a child key and of a request, before a market and before a
lone upstream.

::

    before a market ── the request goes to who meets all of them, and costs what that one takes
    ├── nobody meets them: 503, nothing reserved, the market is not asked
    ├── a request and a child can only narrow; lifted again by null
    ├── one that admits lower grades: its lists have what only they serve
    └── quotes, streams, messages and responses are under the same policies
    before a lone upstream ── met as far as the operator declares
    setting them ── root key only, unknown children, nonsense by name; another server hears of it
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from ledger.database.engine import read, write
from ledger.tables import KeyPolicy, table_of
from tests.support.answers import MODEL
from tests.support.chain import Chain, run_chain
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.proxy import (
    CHAT,
    RunningProxy,
    make_body,
    make_key,
    now_s,
    run_proxy,
    settings_for,
)
from tests.support.waiting import until

ROOT = "/api/current"
CHEAP_USDC, PRIVATE_USDC = 20 * 5 + 10 * 20, 20 * 6 + 10 * 24
"""What 20 prompt tokens and 10 of output cost at the two offers."""


def bearer(key: str | None = None) -> dict[str, str]:
    return {"authorization": f"Bearer {make_key() if key is None else key}"}


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    """A market with a cheap offer, and a dearer one that keeps nothing and is in Europe."""
    async with run_chain(tmp_path) as chain:
        await chain.list_model(MODEL, (5, 20))
        await chain.market.list_offer(
            chain.seller_key,
            chain.provider.url,
            price_input_per_1m=6,
            price_output_per_1m=24,
            declares={"zdr": True, "region": "eu"},
        )
        await chain.refresh()
        yield chain


async def put(proxy: RunningProxy, path: str, policy: Any, key: str | None = None) -> Any:
    body = {"provider": policy}
    return await proxy.client.put(f"{ROOT}{path}", json=body, headers=bearer(key))


async def make_child(proxy: RunningProxy) -> tuple[str, str]:
    made = await proxy.client.post(f"{ROOT}/keys/children", json={}, headers=bearer())
    return made.json()["keyId"], made.json()["apiKey"]


# ------------------------------------------------------------------------------- before a market


async def test_request__with_a_policy__goes_to_who_meets_it_at_its_price(chain: Chain) -> None:
    answer = await chain.ask(provider={"zdr": True})
    settled = await chain.settle()
    assert answer.headers["x-current-cost-usdc"] == str(PRIVATE_USDC)
    assert (settled.buyer_usdc, settled.market_usdc) == (PRIVATE_USDC, PRIVATE_USDC)
    assert "provider" not in chain.provider.requests[-1]
    await chain.ask(provider={"data_collection": "allow"})
    assert (await chain.settle()).buyer_usdc == CHEAP_USDC


async def test_stream__with_a_policy__costs_what_the_market_charged(chain: Chain) -> None:
    await chain.ask(provider={"regions": ["eu"]}, stream=True)
    settled = await chain.settle()
    assert (settled.buyer_usdc, settled.market_usdc) == (PRIVATE_USDC, PRIVATE_USDC)


async def test_position__under_a_policy__holds_for_every_key_and_dialect(chain: Chain) -> None:
    proxy = chain.proxy
    told = await put(proxy, "/keys/policy", {"zdr": True})
    assert told.json() == {"position": {"zdr": True}, "key": None}
    _, child = await make_child(proxy)
    message = {"model": MODEL, "max_tokens": 100, "messages": make_body()["messages"]}
    for path, body in (
        (CHAT, make_body()),
        (f"{ROOT}/v1/messages", message),
        (f"{ROOT}/v1/responses", {"model": MODEL, "input": "Say hello."}),
        (f"{ROOT}/v1/completions", {"model": MODEL, "prompt": "Say hello."}),
    ):
        answer = await proxy.client.post(path, json=body, headers=bearer(child))
        assert answer.headers["x-current-cost-usdc"] == str(PRIVATE_USDC)
    quote = await proxy.client.post(f"{ROOT}/v1/quote", json=make_body(), headers=bearer())
    assert quote.json()["offers"][0]["input_usdc_per_mtok"] == 6_000_000

    lifted = await put(proxy, "/keys/policy", None)
    assert lifted.json() == {"position": None, "key": None}
    assert (await proxy.chat()).headers["x-current-cost-usdc"] == str(CHEAP_USDC)


async def test_child__and_request__only_narrow(chain: Chain) -> None:
    proxy = chain.proxy
    key_id, child = await make_child(proxy)
    await put(proxy, "/keys/policy", {"regions": ["eu"]})
    told = await put(proxy, f"/keys/children/{key_id}/policy", {"regions": ["eu", "us"]})
    assert told.json()["key"] == {"regions": ["eu", "us"]}
    own = await proxy.client.get(f"{ROOT}/keys/policy", headers=bearer(child))
    assert own.json() == {"position": {"regions": ["eu"]}, "key": {"regions": ["eu", "us"]}}

    wider = {"regions": ["us"], "data_collection": "allow", "zdr": False}
    refused = await proxy.chat(child, provider=wider)
    assert refused.json()["error"]["code"] == "no_provider_meets_policy"
    assert (await proxy.chat(child)).headers["x-current-cost-usdc"] == str(PRIVATE_USDC)
    await put(proxy, f"/keys/children/{key_id}/policy", {"max_price": {"prompt": 5.5}})
    assert (await proxy.chat(child)).status_code == 503
    # What a child may not is its own: the position's other keys go on.
    assert (await proxy.chat()).status_code == 200


async def test_nobody__meets_it__503_without_a_reservation(chain: Chain) -> None:
    asked = len(chain.provider.requests)
    answer = await chain.ask(provider={"quantizations": ["int4"]})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "no_provider_meets_policy"
    assert answer.headers["x-current-cost-usdc"] == "0"
    assert len(chain.provider.requests) == asked
    assert chain.proxy.usage() == chain.market.sales() == []


async def test_key__that_admits_lower_grades__sees_and_buys_what_only_they_serve(
    tmp_path: Path,
) -> None:
    async with run_chain(tmp_path, proxy_changes={"minimum_grade": "B"}) as chain:
        await chain.list_model(MODEL, (5, 20))
        await chain.refresh()
        proxy = chain.proxy
        key_id, child = await make_child(proxy)

        async def list_for_claude(headers: dict[str, str]) -> list[str]:
            # Anthropic's shape is no part of the document that the other client checks by.
            async with httpx.AsyncClient(base_url=proxy.client.base_url) as client:
                said = {"anthropic-version": "2023-06-01", **headers}
                answer = await client.get(f"{ROOT}/v1/models", headers=said)
            return [one["id"] for one in answer.json()["data"]]

        async def see(headers: dict[str, str]) -> list[list[str]]:
            found = [await list_for_claude(headers)]
            for path, field in (("/models", "models"), ("/v1/models", "data")):
                answer = await proxy.client.get(ROOT + path, headers=headers)
                found.append([one["id"] for one in answer.json()[field]])
            one = await proxy.client.get(f"{ROOT}/v1/models/{MODEL}", headers=headers)
            found.append([one.json()["id"]] if one.is_success else [])
            return found

        async def limit(models: list[str]) -> int:
            path = f"{ROOT}/keys/children/{key_id}"
            body = {"models": models}
            return (await proxy.client.patch(path, json=body, headers=bearer())).status_code

        nothing: list[list[str]] = [[]] * 4
        assert await see(bearer()) == await see(bearer(child)) == nothing
        assert (await proxy.chat(child)).json()["error"]["code"] == "model_not_found"
        assert await limit([MODEL]) == 400

        await put(proxy, f"/keys/children/{key_id}/policy", {"minimum_grade": "D"})
        assert await see(bearer(child)) == [[MODEL]] * 4
        # A key of Anthropic's clients stands in a header of its own.
        assert await list_for_claude({"x-api-key": child}) == [MODEL]
        assert await limit([MODEL]) == 200
        served = await proxy.chat(child)
        assert served.headers["x-current-grade"] == "D"
        assert served.headers["x-current-cost-usdc"] == str(CHEAP_USDC)
        assert (await chain.settle()).market_usdc == CHEAP_USDC

        # Other keys see what they saw, and so does who has none, or a wrong one.
        wrong = {"authorization": "Bearer current_0_0_bad"}
        for other in (bearer(), {}, wrong):
            assert await see(other) == nothing
        assert (await proxy.chat()).json()["error"]["code"] == "model_not_found"
        # The position's floor holds for the child too; what a child may, other keys may not.
        await put(proxy, "/keys/policy", {"minimum_grade": "C"})
        assert await see(bearer(child)) == await see(bearer()) == nothing
        await put(proxy, "/keys/policy", {"minimum_grade": "D"})
        assert await see(bearer()) == [[MODEL]] * 4
        await put(proxy, "/keys/policy", None)
        assert await see(bearer()) == nothing


async def test_seller__named_by_address__is_the_markets_to_judge(chain: Chain) -> None:
    nobody = "seller:0x" + "77" * 20
    answer = await chain.ask(provider={"only": [nobody]})
    assert answer.status_code == 503
    assert answer.json()["error"]["upstream_code"] == "no_seller_meets_policy"
    assert (await chain.ask(provider={"ignore": [nobody]})).status_code == 200


async def test_market__does_not_show_its_book__nothing_is_asked(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = chain.proxy.front.app.state.services.completions._upstream
    monkeypatch.setattr(upstream, "_list_bytes_max", 10)
    answer = await chain.ask(provider={"zdr": True})
    assert answer.status_code == 502
    assert chain.provider.requests == []


# ------------------------------------------------------------------------- before a lone upstream


@pytest.mark.parametrize(
    ("declared", "met", "unmet"),
    [
        (
            "",
            [{"sort": "latency"}, {"max_price": {"prompt": 0.2}}, {"only": ["upstream"]}],
            [
                {"zdr": True},
                {"max_price": {"prompt": 0.199999}},
                {"only": ["openai"]},
                {"trusted_only": True},
            ],
        ),
        (
            '{"zdr": true, "region": "eu", "parameters": ["seed"]}',
            [
                {"zdr": True, "regions": ["eu"]},
                {"data_collection": "deny"},
                {"require_parameters": True},
            ],
            [{"regions": ["us"]}, {"quantizations": ["bf16"]}],
        ),
    ],
)
async def test_lone_upstream__meets_what_its_operator_declares(
    tmp_path: Path, provider: FakeEndpoint, declared: str, met: list[Any], unmet: list[Any]
) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=now_s()))
        put_cursor(connection, now_s=now_s())
    settings = settings_for(provider, tmp_path, upstream_declares=declared)
    async with run_proxy(settings, engine) as proxy:
        for demand in met:
            assert (await proxy.chat(provider=demand, seed=1)).status_code == 200, demand
        for demand in unmet:
            assert (await proxy.chat(provider=demand, seed=1)).status_code == 503, demand
    # A lone upstream is not told: it could not heed it, and might refuse it.
    assert len(provider.requests) == len(met)
    assert all("provider" not in body for body in provider.requests)
    engine.dispose()


@pytest.fixture
async def provider() -> AsyncIterator[FakeEndpoint]:
    async with FakeEndpoint() as provider:
        yield provider


# ---------------------------------------------------------------------------------- setting them


async def test_policies__are_set_by_the_root_key_alone(chain: Chain) -> None:
    proxy = chain.proxy
    key_id, child = await make_child(proxy)
    for path in ("/keys/policy", f"/keys/children/{key_id}/policy"):
        refused = await put(proxy, path, {"zdr": False}, child)
        assert refused.json()["error"]["code"] == "child_key_forbidden"
        assert (await put(proxy, path, {}, "current_0_0_bad")).status_code == 401
    assert (await put(proxy, "/keys/children/0123456789ab/policy", {})).status_code == 404
    await proxy.client.delete(f"{ROOT}/keys/children/{key_id}", headers=bearer())
    assert (await put(proxy, f"/keys/children/{key_id}/policy", {})).status_code == 404


async def test_policy__nonsense__refused_by_name(chain: Chain) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "provider"),
        ({"provider": []}, "provider"),
        ({"provider": "openai"}, "provider"),
        ({"provider": {"zdr": 1}}, "provider.zdr"),
        ({"provider": {"routes": []}}, "provider.routes"),
        ({"provider": {}, "key": "x"}, "key"),
    ]
    url = f"{ROOT}/keys/policy"
    for body, param in wrong:
        answer: httpx.Response = await chain.proxy.client.put(url, json=body, headers=bearer())
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    policies: list[Any] = ["openai", {"zdr": 1}, [{}] * 9]
    for said in policies:
        assert (await chain.ask(provider=said)).status_code == 400


async def test_policy__set_at_one_server__counts_at_the_other(chain: Chain, tmp_path: Path) -> None:
    settings = settings_for(chain.provider, tmp_path)
    async with run_proxy(settings, chain.proxy.engine) as other:
        await put(other, "/keys/policy", {"zdr": True})

        def knows() -> bool:
            policies = chain.proxy.front.app.state.services.policies
            return bool(policies.get(0, "") == {"zdr": True})

        await until(knows)
        assert (await chain.proxy.chat()).headers["x-current-cost-usdc"] == str(PRIVATE_USDC)


async def test_child__revoked__its_policy_ends_with_it_everywhere(chain: Chain) -> None:
    child, _ = await make_child(chain.proxy)
    assert (await put(chain.proxy, f"/keys/children/{child}/policy", {"zdr": True})).is_success
    policies = chain.proxy.front.app.state.services.policies
    stored = table_of(KeyPolicy)
    assert policies.get(0, child) == {"zdr": True}

    ended = await chain.proxy.client.delete(f"{ROOT}/keys/children/{child}", headers=bearer())
    assert ended.is_success

    with read(chain.proxy.engine) as connection:
        kept = connection.execute(select(stored.c.policy)).scalars().all()
    assert kept == [None]
    await until(lambda: policies.get(0, child) is None)
