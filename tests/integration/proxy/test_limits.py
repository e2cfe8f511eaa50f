"""What protects the proxy over HTTP: sign-in, rates, headers; what it shows of prices and chain.

::

    POST /keys by EIP-4361
    ├── a message as GET /keys/nonce says: a key; the same again: 401; ten at once: one key
    └── another's signature, another address: 401; the plain text turned off: 403
    rates: a key, an address, wishes for keys: 429 with Retry-After; monitors are let through
    headers beyond the bound: 431 (endless ones: tests/integration/serving)
    prices: upstream's own first, with their age; cached tokens at their price, in receipt and leaf
    pending yield: the adapter's view; null while the node is down
    next harvest: when a cent is there, by the chain's clock; none without principal or a node
    └── below a cent: estimated, at the pace of the principal that is left
"""

import asyncio
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from sqlalchemy import Engine, select, update

from contracts.events import ChainEvent
from contracts.reader import ChainReader
from ledger.chain.event_rows import save_events
from ledger.database.engine import read, write
from ledger.spending.batches import plan_batch
from ledger.spending.keys import NONCE_KEPT_S, forget_nonces
from ledger.spending.receipts import Receipt, ServedNote
from ledger.tables import ApiKey, Mirror, UsedNonce, table_of
from tests.support.answers import MODEL
from tests.support.clocks import stand_still
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import DEPLOYMENT, Databases, make_state, put_cursor, put_positions
from tests.support.proxy import (
    RunningProxy,
    make_key,
    now_s,
    run_proxy,
    settings_for,
)

OWNER: Final = Account.from_key("0x" + "11" * 32)
OUTSIDER: Final = Account.from_key("0x" + "22" * 32)
KEYS: Final = "/api/current/keys"


@pytest.fixture
def engine(databases: Databases) -> Engine:
    engine = databases.open_ledger()
    with write(engine) as connection:
        state = make_state(now_s=now_s())
        put_positions(connection, replace(state, owner=OWNER.address.lower()))
        put_cursor(connection, now_s=now_s())
    return engine


async def sign_in(
    proxy: RunningProxy, *, signer: Any = OWNER, address: str = OWNER.address
) -> dict[str, str]:
    said = (await proxy.client.get(f"{KEYS}/nonce", params={"tokenId": "0"})).json()
    at = datetime.now(UTC).isoformat()
    message = said["template"].replace("<address>", address).replace("<time>", at)
    signature = signer.sign_message(encode_defunct(text=message)).signature.to_0x_hex()
    return {"message": message, "signature": signature}


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_sign_in__once__a_key_that_works(proxy: RunningProxy) -> None:
    wish = await sign_in(proxy)
    issued = await proxy.client.post(KEYS, json=wish)

    assert issued.status_code == 200, issued.text
    assert (await proxy.chat(issued.json()["apiKey"])).status_code == 200
    assert code_of(await proxy.client.post(KEYS, json=wish)) == (401, "nonce_used")


async def test_sign_in__ten_at_once__one_key(proxy: RunningProxy) -> None:
    wish = await sign_in(proxy)
    answers = await asyncio.gather(*(proxy.client.post(KEYS, json=wish) for _ in range(10)))

    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 9
    with read(proxy.engine) as connection:
        assert len(connection.execute(select(table_of(ApiKey))).all()) == 1
        ((nonce, expires_at_s),) = connection.execute(select(table_of(UsedNonce))).all()
    assert nonce in wish["message"]
    assert now_s() < expires_at_s <= now_s() + 300
    with write(proxy.engine) as connection:
        assert forget_nonces(connection, now_s=expires_at_s + NONCE_KEPT_S) == 0
        assert forget_nonces(connection, now_s=expires_at_s + NONCE_KEPT_S + 1) == 1


async def test_sign_in__by_another__refused(proxy: RunningProxy) -> None:
    other = await sign_in(proxy, signer=OUTSIDER, address=OUTSIDER.address)
    assert code_of(await proxy.client.post(KEYS, json=other)) == (401, "invalid_signature")
    wish = await sign_in(proxy)
    changed = {**wish, "message": wish["message"].replace("127.0.0.1", "evil")}
    assert code_of(await proxy.client.post(KEYS, json=changed)) == (401, "invalid_message")
    # A refused wish uses no nonce up.
    assert (await proxy.client.post(KEYS, json=wish)).status_code == 200


async def test_plain_text__turned_off__only_sign_in(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> None:
    settings = settings_for(provider, tmp_path, legacy_key_message=False, domain="pay.example")
    async with run_proxy(settings, engine) as proxy:
        wish = {"tokenId": "0", "signature": "0x", "timestamp": int(time.time() * 1_000)}
        assert code_of(await proxy.client.post(KEYS, json=wish)) == (403, "sign_in_required")
        signed = await sign_in(proxy)
        assert signed["message"].startswith("pay.example wants")
        assert (await proxy.client.post(KEYS, json=signed)).status_code == 200


async def test_rates__each_bucket__429_with_retry_after(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> None:
    settings = settings_for(
        provider,
        tmp_path,
        key_requests_per_minute_max=3,
        address_requests_per_minute_max=10,
        address_keys_per_minute_max=1,
        trusted_proxies="127.0.0.0/8",
    )
    async with run_proxy(settings, engine) as proxy:
        stand_still(proxy.front.app.state.services.limits)
        statuses = [(await proxy.chat()).status_code for _ in range(3)]
        refused = await proxy.chat()
        assert statuses == [200] * 3
        assert code_of(refused) == (429, "rate_limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        assert (await proxy.chat(make_key(0, 0, "11" * 8))).status_code == 200

        assert (await proxy.client.post(KEYS, json={})).status_code == 400
        assert code_of(await proxy.client.post(KEYS, json={})) == (429, "rate_limited")
        while (await proxy.client.get("/api/current/models")).status_code == 200:
            pass
        models = await proxy.client.get("/api/current/models")
        assert code_of(models) == (429, "rate_limited")
        assert models.headers["x-request-id"]
        assert (await proxy.client.get("/api/current/healthz")).status_code == 200
        elsewhere = {"x-forwarded-for": "198.51.100.1"}
        other = await proxy.client.get("/api/current/models", headers=elsewhere)
        assert other.status_code == 200


async def test_headers__too_long__431(proxy: RunningProxy) -> None:
    headers = {"x-filler": "x" * 33_000, "authorization": f"Bearer {make_key()}"}
    for path in ("/api/current/models", "/api/current/v1/models"):
        answer = await proxy.client.get(path, headers=headers)
        assert code_of(answer) == (431, "headers_too_large")
    chat = await proxy.client.post("/api/current/v1/chat/completions", headers=headers, json={})
    assert code_of(chat) == (431, "headers_too_large")


async def test_cached_tokens__cost_less__in_receipt_and_leaf(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.prices = [
        {
            "id": MODEL,
            "input_usdc_per_mtok": 1_000_000,
            "output_usdc_per_mtok": 2_000_000,
            "cached_input_usdc_per_mtok": 250_000,
        }
    ]
    provider.usage = {
        "prompt_tokens": 20,
        "completion_tokens": 10,
        "total_tokens": 30,
        "prompt_tokens_details": {"cached_tokens": 12},
    }
    await proxy.front.app.state.services.catalogue.refresh()
    listed = (await proxy.client.get("/api/current/models")).json()["models"]
    shown = next(model for model in listed if model["id"] == MODEL)
    assert (shown["price_source"], shown["cached_input_usdc_per_mtok"]) == ("upstream", 250_000)
    assert shown["price_age_s"] <= 600

    answer = await proxy.chat()
    # 8 x 1 + 12 x 0.25 + 10 x 2 USD a million tokens.
    assert answer.headers["x-current-cost-usdc"] == "31"
    with write(proxy.engine) as connection:
        plan_batch(connection, limits_usdc={0: 500_000}, now_s=now_s())
    headers = {"authorization": f"Bearer {make_key()}"}
    path = f"/api/current/receipts/{answer.headers['x-request-id']}"
    receipt = (await proxy.client.get(path, headers=headers)).json()
    assert (receipt["cached_tokens"], receipt["cached_input_usdc_per_mtok"]) == (12, 250_000)
    names = [name for name in Receipt.__dataclass_fields__ if name in receipt]
    assert set(names) == set(Receipt.__dataclass_fields__)
    assert (receipt["leaf_version"], receipt["served"]["seller"]) == (2, "upstream")
    served = {name: receipt["served"][name] for name in ServedNote.__dataclass_fields__}
    served["seller_salt"] = served["seller_salt"].removeprefix("0x")
    figures = {name: receipt[name] for name in names if name != "served"}
    leaf = Receipt(**figures, served=ServedNote(**served).close()).leaf()
    assert receipt["leaf"] == "0x" + leaf.hex()
    (line,) = (await proxy.client.get("/api/current/usage", headers=headers)).json()["data"]
    assert line["cached_tokens"] == 12

    provider.prices = None
    await proxy.front.app.state.services.catalogue.refresh()
    listed = (await proxy.client.get("/api/current/models")).json()
    assert next(m for m in listed["models"] if m["id"] == MODEL)["price_source"] == "operator"


async def test_pending_yield__node_down__null_and_the_rest_stands(proxy: RunningProxy) -> None:
    view = (await proxy.client.get("/api/current/positions/0")).json()

    assert view["pending_yield_usdc"] is None
    assert view["allowance"]["held_usdc"] == 500_000
    assert view["mirror"]["lag_blocks"] == 0
    assert (view["harvest"]["next_at"], view["harvest"]["no_harvest_because"]) == (None, "unknown")


def answer_pending(monkeypatch: pytest.MonkeyPatch, pending_usdc: int) -> None:
    answer = pending_usdc.to_bytes(32, "big")
    monkeypatch.setattr(ChainReader, "fetch_call", lambda *_, **__: answer)


async def test_next_harvest__a_cent_is_there__due_after_the_interval(
    proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_pending(monkeypatch, 10_000)
    with write(proxy.engine) as connection:
        state = make_state(now_s=now_s() - 600, credited_usdc=0, hold_usdc=0)
        put_positions(connection, state)

    harvest = (await proxy.client.get("/api/current/positions/0")).json()["harvest"]
    refused = (await proxy.chat()).json()["error"]

    due = datetime.fromtimestamp(state.last_harvest_at_s + 1_800, UTC)
    assert datetime.fromisoformat(harvest["next_at"]) == due
    assert harvest["no_harvest_because"] is None
    assert (refused["code"], refused["next_harvest_at"]) == ("never_harvested", harvest["next_at"])


async def test_next_harvest__no_principal__none_is_promised(
    proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_pending(monkeypatch, 0)
    with write(proxy.engine) as connection:
        state = make_state(now_s=now_s(), credited_usdc=0, hold_usdc=0)
        put_positions(connection, replace(state, principal_usdc=0, shares=0))

    harvest = (await proxy.client.get("/api/current/positions/0")).json()["harvest"]
    refused = (await proxy.chat()).json()["error"]

    assert (harvest["next_at"], harvest["no_harvest_because"]) == (None, "no_principal")
    assert (refused["next_harvest_at"], refused["no_harvest_because"]) == (None, "no_principal")
    assert "Wait" not in refused["message"]


async def test_next_harvest__half_a_cent_and_less_principal__estimated_by_what_is_left(
    proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_pending(monkeypatch, 5_000)
    began_s = now_s() - 8_000
    with write(proxy.engine) as connection:
        state = make_state(now_s=now_s(), credited_usdc=0, hold_usdc=0)
        put_positions(connection, replace(state, last_harvest_at_s=began_s, principal_usdc=10))
        save_events(
            connection,
            [
                make_principal_event("Deposited", began_s - 50, 10_000_000),
                make_principal_event("PrincipalWithdrawn", began_s + 4_000, 2_500_000),
            ],
        )

    harvest = (await proxy.client.get("/api/current/positions/0")).json()["harvest"]
    refused = (await proxy.chat()).json()["error"]

    # 4,000 s of 10 USDC and 4,000 s of 2.5 brought half a cent: 20,000 s of 2.5 bring the rest.
    wait_s = datetime.fromisoformat(harvest["next_at"]).timestamp() - now_s()
    assert 19_900 < wait_s < 20_100
    assert harvest["is_estimate"] is refused["is_estimate"] is True


def make_principal_event(name: str, at_s: int, principal_usdc: int) -> ChainEvent:
    owner = "0x" + "aa" * 20
    args: dict[str, int | str | bool] = {"tokenId": 0, "owner": owner, "assets": 1}
    if name == "Deposited":
        args |= {"shares": 1, "principalAfter": principal_usdc, "sharesAfter": 1}
    else:
        args |= {"sharesBurned": 1, "principalAfter": principal_usdc, "sharesAfter": 1, "loss": 0}
    return ChainEvent(
        contract="adapter",
        name=name,
        args=args,
        block_number=at_s,
        block_hash="0x" + "0a" * 32,
        block_timestamp_s=at_s,
        tx_hash="0x" + "0b" * 32,
        log_index=0,
    )


async def test_resets_at__chain_ahead_of_this_host__its_day_everywhere(
    proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_pending(monkeypatch, 0)
    day_s = 86_400
    midnight_s = (now_s() // day_s + 3) * day_s
    with write(proxy.engine) as connection:
        state = make_state(now_s=midnight_s + 7, daily_smoothing_bps=1, hold_usdc=0)
        put_positions(connection, state)
        connection.execute(update(table_of(Mirror)).values(block_timestamp_s=midnight_s + 7))

    shown = (await proxy.client.get("/api/current/positions/0")).json()["allowance"]
    answer = await proxy.chat(max_tokens=4_096)

    expected = datetime.fromtimestamp(midnight_s + day_s, UTC)
    assert datetime.fromisoformat(shown["resets_at"]) == expected
    assert answer.json()["error"]["code"] == "daily_cap_reached"
    assert answer.json()["error"]["resets_at"] == shown["resets_at"]
    assert answer.headers["retry-after"] == str(day_s - 7)


async def test_logs__of_a_request__have_its_id(
    proxy: RunningProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = await proxy.client.get("/api/current/positions/0")

    lines = [line for line in capsys.readouterr().out.splitlines() if "request_served" in line]
    assert len(lines) == 1
    assert answer.headers["x-request-id"] in lines[0]
    assert DEPLOYMENT.adapter not in json.dumps(lines)
