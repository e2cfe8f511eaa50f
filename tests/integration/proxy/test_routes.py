"""The ordinary routes over HTTP: keys, models, positions, receipts, health, and the document.

::

    POST /keys
    ├── EOA: a key that works; the keeper is told
    ├── contract wallet: ERC-1271; not deployed yet: ERC-6492
    └── refused: time, signer, text, position, stale mirror, shape
    GET /models, /v1/models, /positions/{tokenId}, /receipts/{requestId}
    GET /healthz, /readyz, /metrics, /openapi.json
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from sqlalchemy import Engine, select

from contracts.events import ChainEvent
from contracts.signatures import ERC6492_SUFFIX
from ledger.chain.event_rows import save_events
from ledger.database.engine import read, write
from ledger.spending.batches import close_batch, plan_batch
from ledger.spending.receipt_views import ReceiptInvalid, check_offline
from ledger.spending.receipts import is_proof_valid
from ledger.tables import ApiKey, table_of
from proxy.keys.key_message import build_key_message
from tests.support.answers import MODEL
from tests.support.anvil import Anvil
from tests.support.deploy import World, deploy
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import DEPLOYMENT, make_ledger, make_state, put_cursor, put_positions
from tests.support.proxy import (
    PRICES,
    RunningProxy,
    make_key,
    make_settings,
    now_s,
    run_proxy,
    write_prices,
)
from tests.support.waiting import until, until_it, until_probed

OWNER: Final = Account.from_key("0x" + "11" * 32)
OUTSIDER: Final = Account.from_key("0x" + "22" * 32)

WALLET_SOURCE: Final = """
# pragma version 0.4.3
OWNER: immutable(address)

@deploy
def __init__(owner: address):
    OWNER = owner

@external
@view
def isValidSignature(digest: bytes32, signature: Bytes[65]) -> bytes4:
    r: uint256 = convert(slice(signature, 0, 32), uint256)
    s: uint256 = convert(slice(signature, 32, 32), uint256)
    v: uint256 = convert(slice(signature, 64, 1), uint256)
    assert ecrecover(digest, v, r, s) == OWNER, "wallet: not the owner"
    return 0x1626ba7e
"""
FACTORY_SOURCE: Final = """
# pragma version 0.4.3
initcode: Bytes[3000]

@deploy
def __init__(initcode: Bytes[3000]):
    self.initcode = initcode

@external
def create(salt: bytes32) -> address:
    return raw_create(self.initcode, salt=salt)
"""


def put(engine: Engine, *, owner: str, mirror_age_s: int = 0, **changes: Any) -> None:
    state = replace(make_state(now_s=now_s(), **changes), owner=owner.lower())
    with write(engine) as connection:
        put_positions(connection, state)
        put_cursor(connection, now_s=now_s() - mirror_age_s)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    put(engine, owner=OWNER.address)
    return engine


@pytest.fixture
async def proxy(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> AsyncIterator[RunningProxy]:
    settings = make_settings(upstream_url=provider.url, prices_file=write_prices(tmp_path))
    async with run_proxy(settings, engine) as running:
        yield running


def make_wish(account: Any = OWNER, *, token_id: Any = "0", **changes: Any) -> dict[str, Any]:
    timestamp = time.time_ns() // 1_000_000
    text = build_key_message(token_id=0, timestamp_ms=timestamp)
    signature = "0x" + bytes(account.sign_message(encode_defunct(text=text)).signature).hex()
    return {"tokenId": token_id, "signature": signature, "timestamp": timestamp, **changes}


async def ask_key(proxy: RunningProxy, wish: Any) -> httpx.Response:
    # As the reference's curl does it: no JSON content type.
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return await proxy.client.post("/api/current/keys", content=json.dumps(wish), headers=headers)


def revoke_all_keys(engine: Engine, *, block_timestamp_s: int) -> None:
    """Mirror a ``bumpKeyEpoch`` of position 0 in a block of that time."""
    put(engine, owner=OWNER.address, key_epoch=1)
    bump = ChainEvent(
        name="KeyEpochBumped",
        contract="position",
        args={"tokenId": 0, "keyEpoch": 1},
        block_number=2,
        block_hash="0x" + "02" * 32,
        block_timestamp_s=block_timestamp_s,
        tx_hash="0x" + "03" * 32,
        log_index=0,
    )
    with write(engine) as connection:
        save_events(connection, [bump])


def code_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


# ----------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize("token_id", ["0", 0])
async def test_issue_key__owner__a_key_that_works(proxy: RunningProxy, token_id: Any) -> None:
    response = await ask_key(proxy, make_wish(token_id=token_id))

    assert response.status_code == 200
    issued = response.json()
    assert (issued["tokenId"], issued["keyEpoch"]) == ("0", 0)
    assert (await proxy.chat(issued["apiKey"])).status_code == 200
    with read(proxy.engine) as connection:
        [row] = connection.execute(select(table_of(ApiKey))).mappings()
    assert (row["key_id"], row["token_id"]) == (issued["keyId"], 0)
    assert proxy.demands() == {0: 0}


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"timestamp": 1_700_000_000_000}, (401, "signature_expired")),
        ({"timestamp": 2**52}, (401, "signature_expired")),
        ({"timestamp": "now"}, (400, "invalid_request")),
        ({"timestamp": True}, (400, "invalid_request")),
        ({"tokenId": "7"}, (404, "position_not_found")),
        ({"tokenId": "00"}, (400, "invalid_request")),
        ({"tokenId": "-1"}, (400, "invalid_request")),
        ({"tokenId": True}, (400, "invalid_request")),
        ({"tokenId": 2**70}, (400, "invalid_json")),
        ({"tokenId": None}, (400, "invalid_request")),
        ({"signature": "abc"}, (400, "invalid_signature")),
        ({"signature": 7}, (400, "invalid_request")),
    ],
)
@pytest.mark.sampled(2)
async def test_issue_key__wrong__refused(
    proxy: RunningProxy, wish: dict[str, Any], expected: tuple[int, str]
) -> None:
    response = await ask_key(proxy, {**make_wish(), **wish})

    assert code_of(response) == expected


async def test_issue_key__the_same_signature_again__no_second_key(proxy: RunningProxy) -> None:
    wish = make_wish()
    answers = await asyncio.gather(*(ask_key(proxy, wish) for _ in range(3)))

    assert sorted(answer.status_code for answer in answers) == [200, 401, 401]
    assert code_of(await ask_key(proxy, wish)) == (401, "nonce_used")
    with read(proxy.engine) as connection:
        assert len(connection.execute(select(table_of(ApiKey))).all()) == 1


async def test_issue_key__signed_before_the_keys_were_revoked__refused(
    proxy: RunningProxy, engine: Engine
) -> None:
    wish = make_wish()
    revoke_all_keys(engine, block_timestamp_s=wish["timestamp"] // 1_000 + 1)
    await until(lambda: now_s() > wish["timestamp"] // 1_000, "the block's second has come")

    assert code_of(await ask_key(proxy, wish)) == (401, "signature_expired")
    answer = await ask_key(proxy, make_wish())
    assert (answer.status_code, answer.json()["keyEpoch"]) == (200, 1)


async def test_issue_key__outsider_and_no_chain__asked_to_try_later(proxy: RunningProxy) -> None:
    # An outsider's signature leads to the question to the chain, and this proxy has none.
    response = await ask_key(proxy, make_wish(OUTSIDER))

    assert code_of(response) == (503, "chain_unavailable")


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 50_000])
async def test_issue_key__not_an_object__400(proxy: RunningProxy, raw: bytes) -> None:
    response = await proxy.client.post("/api/current/keys", content=raw)

    assert response.status_code == 400


async def test_issue_key__stale_mirror__503(proxy: RunningProxy, engine: Engine) -> None:
    put(engine, owner=OWNER.address, mirror_age_s=3_600)

    assert code_of(await ask_key(proxy, make_wish())) == (503, "chain_state_stale")


# ------------------------------------------------------------------------------ contract wallets


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Anvil() as anvil:
        yield deploy(anvil)


def compile_source(source: str) -> tuple[Any, str]:
    from vyper import compile_code

    output = compile_code(source, output_formats=["abi", "bytecode"])
    return output["abi"], output["bytecode"]


def deploy_factory(world: World, initcode: bytes) -> Any:
    abi, bytecode = compile_source(FACTORY_SOURCE)
    anvil = world.anvil
    admin = world.accounts["admin"]
    nonce = anvil.web3.eth.get_transaction_count(admin.address)
    transaction: Any = {
        "data": bytecode + encode(["bytes"], [initcode]).hex(),
        "nonce": nonce,
        "gas": 2_000_000,
        "gasPrice": 2 * anvil.web3.eth.gas_price,
        "chainId": anvil.web3.eth.chain_id,
        "value": 0,
    }
    signed = admin.sign_transaction(transaction)
    tx_hash = anvil.web3.eth.send_raw_transaction(signed.raw_transaction)
    receipt = anvil.web3.eth.wait_for_transaction_receipt(tx_hash, poll_latency=0.01)
    return anvil.web3.eth.contract(address=receipt["contractAddress"], abi=abi)


async def test_issue_key__contract_wallet__before_and_after_deployment(
    engine: Engine, tmp_path: Path, world: World
) -> None:
    _, bytecode = compile_source(WALLET_SOURCE)
    initcode = bytes.fromhex(bytecode[2:]) + encode(["address"], [OWNER.address])
    factory = deploy_factory(world, initcode)
    salt = b"\x07" * 32
    created = b"\xff" + bytes.fromhex(factory.address[2:]) + salt + keccak(initcode)
    wallet = to_checksum_address(keccak(created)[12:])
    put(engine, owner=wallet)
    creation = factory.functions.create(salt)
    data = bytes.fromhex(
        creation.build_transaction({"gas": 1, "gasPrice": 0, "nonce": 0})["data"][2:]
    )

    def wrapped(account: Any) -> dict[str, Any]:
        wish = make_wish(account)
        inner = bytes.fromhex(wish["signature"][2:])
        outer = encode(["address", "bytes", "bytes"], [factory.address, data, inner])
        return {**wish, "signature": "0x" + (outer + ERC6492_SUFFIX).hex()}

    settings = make_settings(rpc_url=world.anvil.url, prices_file=write_prices(tmp_path))
    deployment = replace(DEPLOYMENT, multicall3=world.deployment.multicall3)
    async with run_proxy(settings, engine, deployment=deployment) as proxy:
        assert code_of(await ask_key(proxy, make_wish())) == (401, "invalid_signature")
        assert code_of(await ask_key(proxy, wrapped(OUTSIDER))) == (401, "invalid_signature")
        assert (await ask_key(proxy, wrapped(OWNER))).status_code == 200
        assert world.anvil.reader.fetch_code_size(wallet) == 0  # asked, never executed

        world.send("admin", creation)

        assert (await ask_key(proxy, make_wish())).status_code == 200
        assert (await ask_key(proxy, wrapped(OWNER))).status_code == 200
        assert code_of(await ask_key(proxy, make_wish(OUTSIDER))) == (401, "invalid_signature")


async def test_position__pending_yield__is_the_adapters_view(
    provider: FakeEndpoint, tmp_path: Path, world: World
) -> None:
    token_id = world.open_position(deposit_usdc=1_000_000_000)
    world.earn(5_000_000)
    engine = make_ledger(tmp_path / "chain.sqlite3")
    put(engine, owner=OWNER.address, token_id=token_id)
    put(engine, owner=OWNER.address, token_id=token_id + 1)
    settings = make_settings(rpc_url=world.anvil.url, upstream_url=provider.url)
    deployment = replace(DEPLOYMENT, adapter=world.deployment.adapter)
    async with run_proxy(settings, engine, deployment=deployment) as proxy:

        async def pending(number: int) -> int | None:
            view = (await proxy.client.get(f"/api/current/positions/{number}")).json()
            found: int | None = view["pending_yield_usdc"]
            return found

        shown = await pending(token_id)
        assert shown is not None
        assert 0 < shown <= 5_000_000
        world.earn(5_000_000)
        assert await pending(token_id) == shown  # remembered for some seconds
        assert await pending(token_id + 1) is None  # the chain has no such position
    engine.dispose()


# -------------------------------------------------------------------- models, positions, receipts


async def test_models__live__with_prices(proxy: RunningProxy) -> None:
    listed = (await proxy.client.get("/api/current/models")).json()

    assert "fallback" not in listed
    models = {model["id"]: model for model in listed["models"]}
    assert models[MODEL] == {
        "id": MODEL,
        "owned_by": "devnet",
        "input_usdc_per_mtok": 200_000,
        "output_usdc_per_mtok": 800_000,
        "cached_input_usdc_per_mtok": 200_000,
        "per_request_usdc": 0,
        "price_source": "operator",
        "price_age_s": None,
        "context_tokens": 2_048,
    }
    assert models["gpt-4o"]["price_source"] == "genai-prices"
    assert models["unpriced-model"]["input_usdc_per_mtok"] is None


async def test_openai_models__a_list(proxy: RunningProxy) -> None:
    listed = (await proxy.client.get("/api/current/v1/models")).json()

    assert listed["object"] == "list"
    assert {entry["object"] for entry in listed["data"]} == {"model"}
    assert MODEL in [entry["id"] for entry in listed["data"]]


async def test_models__upstream_goes_down__last_list_with_fallback(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.models = None
    await proxy.front.app.state.services.catalogue.refresh()

    listed = (await proxy.client.get("/api/current/models")).json()

    assert listed["fallback"] is True
    assert MODEL in [model["id"] for model in listed["models"]]
    assert (await proxy.client.get("/api/current/readyz")).status_code == 503


async def test_position__public__adds_up(proxy: RunningProxy) -> None:
    await proxy.chat()

    view = (await proxy.client.get("/api/current/positions/0")).json()

    allowance = view["allowance"]
    assert view["owner"] == OWNER.address.lower()
    assert allowance["in_flight_usdc"] == 12
    assert allowance["held_usdc"] == 500_000
    assert allowance["remaining_today_usdc"] == 1_000_000 - 12
    assert view["harvest"]["interval_s"] == 1_800
    assert view["mirror"]["block_number"] == 10
    assert allowance["resets_at"].endswith("T00:00:00Z")


@pytest.mark.parametrize(
    ("token_id", "expected"),
    [
        ("7", (404, "position_not_found")),
        ("abc", (400, "invalid_token_id")),
        ("00", (400, "invalid_token_id")),
        ("9" * 30, (400, "invalid_token_id")),
        ("%D9%A1", (400, "invalid_token_id")),
    ],
)
async def test_position__wrong__refused(
    proxy: RunningProxy, token_id: str, expected: tuple[int, str]
) -> None:
    assert code_of(await proxy.client.get(f"/api/current/positions/{token_id}")) == expected


async def ask_receipt(proxy: RunningProxy, request_id: str, key: str) -> httpx.Response:
    return await proxy.client.get(
        f"/api/current/receipts/{request_id}", headers={"authorization": f"Bearer {key}"}
    )


async def test_receipt__settled__has_a_proof(proxy: RunningProxy, engine: Engine) -> None:
    answers = [await proxy.chat() for _ in range(5)]
    request_id = answers[2].headers["x-request-id"]
    posted = (await ask_receipt(proxy, request_id, make_key())).json()
    with write(engine) as connection:
        batch = plan_batch(connection, limits_usdc={0: 500_000}, now_s=now_s())
        assert batch is not None
        close_batch(connection, batch.batch_id, block_number=11, tx_hash="0x" + "cd" * 32)

    settled = (await ask_receipt(proxy, request_id, make_key())).json()

    assert (posted["state"], posted["settlement"]) == ("posted", None)
    assert settled["state"] == "settled"
    assert settled["cost_usdc"] == 12
    assert settled["settlement"]["tx_hash"] == "0x" + "cd" * 32
    proof = [bytes.fromhex(sibling[2:]) for sibling in settled["settlement"]["proof"]]
    root = bytes.fromhex(settled["settlement"]["receipts_root"][2:])
    assert is_proof_valid(bytes.fromhex(settled["leaf"][2:]), proof, root)


async def test_receipt__with_a_fee_of_the_request__its_leaf_has_the_whole_cost(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> None:
    # 20 prompt tokens at 0.2, 10 of output at 0.8 USDC a million, and 0.005 USDC for the request.
    priced = PRICES + 'usd_per_request = "0.005"\n'
    settings = make_settings(upstream_url=provider.url, prices_file=write_prices(tmp_path, priced))
    async with run_proxy(settings, engine) as proxy:
        answer = await proxy.chat()
        request_id = answer.headers["x-request-id"]
        with write(engine) as connection:
            batch = plan_batch(connection, limits_usdc={0: 500_000}, now_s=now_s())
            assert batch is not None
            close_batch(connection, batch.batch_id, block_number=11, tx_hash="0x" + "cd" * 32)
        receipt = (await ask_receipt(proxy, request_id, make_key())).json()

    assert answer.headers["x-current-cost-usdc"] == "5012"
    assert (receipt["cost_usdc"], receipt["per_request_usdc"]) == (5_012, 5_000)
    assert batch.total_usdc == 5_012
    assert check_offline(receipt) == receipt["settlement"]["receipts_root"]
    with pytest.raises(ReceiptInvalid, match="does not lead to the root"):
        check_offline({**receipt, "cost_usdc": 12})


async def test_receipt__of_another_position__looks_unknown(
    proxy: RunningProxy, engine: Engine
) -> None:
    request_id = (await proxy.chat()).headers["x-request-id"]
    put(engine, owner=OUTSIDER.address, token_id=1)

    others = await ask_receipt(proxy, request_id, make_key(token_id=1))
    unknown = await ask_receipt(proxy, "no-such-request", make_key())

    assert code_of(others) == code_of(unknown) == (404, "receipt_not_found")
    assert others.json() == unknown.json()


async def test_receipt__bad_key__401(proxy: RunningProxy, engine: Engine) -> None:
    request_id = (await proxy.chat()).headers["x-request-id"]
    put(engine, owner=OWNER.address, key_epoch=1)

    assert code_of(await ask_receipt(proxy, request_id, make_key())) == (401, "key_revoked")
    assert code_of(await ask_receipt(proxy, request_id, "x")) == (401, "invalid_api_key")
    bare = await proxy.client.get(f"/api/current/receipts/{request_id}")
    assert code_of(bare) == (401, "missing_api_key")


# ---------------------------------------------------------------------------------------- health


async def test_health__all_well(proxy: RunningProxy) -> None:
    await proxy.chat()
    await proxy.chat("current_0_0_x")

    assert (await proxy.client.get("/api/current/healthz")).json() == {"status": "ok"}
    ready = await until_probed(proxy.client, "/api/current/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert (ready.json()["mirror_block_number"], ready.json()["mirror_lag_blocks"]) == (10, 0)
    metrics = (await proxy.client.get("/api/current/metrics")).text
    assert 'current_proxy_requests_total{code="ok"} 1.0\n' in metrics
    assert 'current_proxy_requests_total{code="invalid_api_key"} 1.0\n' in metrics
    assert "current_proxy_charged_micro_usdc_total 12.0\n" in metrics
    assert "current_proxy_request_seconds_count 2.0\n" in metrics


async def test_ready__operator_s_credit_is_spent__said_until_a_request_is_served(
    proxy: RunningProxy, provider: FakeEndpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    spent = "current_proxy_operator_credit_spent"
    provider.behaviour = "status_402"
    refused = await proxy.chat()
    assert code_of(refused) == (503, "operator_credit_spent")
    assert refused.headers["x-should-retry"] == "false"

    ready = await proxy.client.get("/api/current/readyz")
    assert (ready.status_code, ready.json()["operator_credit"]) == (503, False)
    assert f"{spent} 1.0\n" in (await proxy.client.get("/api/current/metrics")).text
    assert "operator_credit_spent" in capsys.readouterr().out

    provider.behaviour = "normal"
    assert (await proxy.chat()).status_code == 200
    ready = await until_probed(proxy.client, "/api/current/readyz")
    assert (ready.status_code, ready.json()["operator_credit"]) == (200, True)
    assert f"{spent} 0.0\n" in (await proxy.client.get("/api/current/metrics")).text


async def test_ready__upstream_leaves_and_comes_back__is_told_without_the_lists_pause(
    provider: FakeEndpoint, tmp_path: Path, engine: Engine
) -> None:
    prices = write_prices(tmp_path)
    settings = make_settings(
        upstream_url=provider.url, prices_file=prices, catalogue_interval_s=3_600
    )
    async with run_proxy(settings, engine) as proxy:

        async def find_upstream() -> bool:
            ready = await proxy.client.get("/api/current/readyz")
            # The ledger's answer has a limit of time, which a busy machine may miss.
            assert ready.json()["upstream"] or ready.status_code == 503
            return bool(ready.json()["upstream"])

        async def is_away() -> bool:
            return not await find_upstream()

        assert await find_upstream()
        listed, provider.models = provider.models, None
        await until_it(is_away, "upstream is away")
        # The list is known to be old meanwhile, too.
        await proxy.front.app.state.services.catalogue.refresh()
        provider.models = listed
        await until_it(find_upstream, "upstream is back")
        assert (await proxy.chat()).status_code == 200


async def test_ready__stale_mirror__503(proxy: RunningProxy, engine: Engine) -> None:
    put(engine, owner=OWNER.address, mirror_age_s=3_600)

    ready = await proxy.client.get("/api/current/readyz")

    assert (ready.status_code, ready.json()["mirror"]) == (503, False)


async def test_document__has_every_route(proxy: RunningProxy) -> None:
    document = (await proxy.client.get("/openapi.json")).json()

    completions = document["paths"]["/api/current/v1/chat/completions"]["post"]
    assert "x-current-cost-usdc" in completions["responses"]["200"]["headers"]
    assert {"/api/current/keys", "/api/current/receipts/{requestId}"} <= document["paths"].keys()


async def test_unknown_path__404_in_our_shape(proxy: RunningProxy) -> None:
    response = await proxy.client.get("/api/current/nothing")

    assert code_of(response) == (404, "not_found")
    assert response.headers["x-request-id"]


async def test_sweep__dead_reservations__are_given_back(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> None:
    from ledger.spending.admission import AdmissionRules
    from ledger.spending.metering import Reserve
    from ledger.tables.usage import Reservation

    rules = AdmissionRules(hold_margin_s=0, max_staleness_s=60, lease_s=0)
    with write(engine) as connection:
        left_over = Reservation("dead", 0, 0, "k", MODEL, 100, 1, 1)
        Reserve(left_over, rules, now_s() - 1)(connection)
    settings = make_settings(
        upstream_url=provider.url, sweep_interval_s=0.05, prices_file=write_prices(tmp_path)
    )
    async with run_proxy(settings, engine) as proxy:
        await until(lambda: proxy.drawn_usdc() == 0)

        assert [usage["void_reason"] for usage in proxy.usage()] == ["lease_expired"]


# ------------------------------------------------------------------------------------- usage


async def test_usage__many_requests__pages_newest_first_and_csv_has_all(
    proxy: RunningProxy,
) -> None:
    headers = {"authorization": f"Bearer {make_key()}"}
    for _ in range(5):
        assert (await proxy.chat()).status_code == 200
    seen: list[str] = []
    parameters = {"limit": "2"}
    while True:
        page = await proxy.client.get("/api/current/usage", headers=headers, params=parameters)
        assert page.status_code == 200
        seen += [entry["request_id"] for entry in page.json()["data"]]
        if page.json()["next_cursor"] is None:
            break
        parameters["cursor"] = page.json()["next_cursor"]
    assert seen == [row["request_id"] for row in reversed(proxy.usage())]
    table = await proxy.client.get("/api/current/usage.csv", headers=headers)
    assert table.headers["content-type"].startswith("text/csv")
    assert [line.split(",")[0] for line in table.text.splitlines()[1:]] == seen


async def test_usage__anothers_requests_or_times__not_listed(proxy: RunningProxy) -> None:
    assert (await proxy.chat()).status_code == 200
    headers = {"authorization": f"Bearer {make_key()}"}
    empty = await proxy.client.get(
        "/api/current/usage", headers=headers, params={"to": str(now_s() - 60)}
    )
    assert empty.json() == {"data": [], "next_cursor": None}
    stranger = {"authorization": f"Bearer {make_key(1)}"}
    refused = await proxy.client.get("/api/current/usage", headers=stranger)
    assert refused.status_code == 404
    nonsense = await proxy.client.get("/api/current/usage?from=x", headers=headers)
    assert nonsense.json()["error"]["param"] == "from"
