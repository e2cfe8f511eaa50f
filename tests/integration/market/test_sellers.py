"""Sellers through a real market: sign-in, offers, discovery, earnings, and their keys' secrecy.

::

    sign-in: once; bound to domain, chain, address, role, time; 25 keys; revoked
    offers: the reference's own lines; decimals exact; idempotency; change; delete
    addresses: private, loopback, redirected: never called
    secrecy: a provider key is in no answer, log, error or file
    earnings: what was sold, payouts planned once
    the document: no 500 from random requests
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from eth_account.messages import encode_defunct
from sqlalchemy import select, update

from contracts.siwe import build_siwe
from ledger.database.clock import LedgerClock
from ledger.database.engine import read, write
from ledger.market_audit import find_market_mismatches
from ledger.payments.floor import save_floor
from ledger.selling.accounts import set_seller_terms
from ledger.selling.earnings import plan_payouts
from ledger.selling.offers import offer_keys
from ledger.tables import MarketOffer, MarketOfferKey, MarketPayout, MarketSale, table_of
from market.background import gather_earnings
from market.endpoints.sealing import FileKms, Sealer
from market.identity.keys import Role, make_nonce
from serving.process.ids import new_id
from tests.support.answers import MODEL, PROVIDER_KEY
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import DEPLOYMENT, Databases
from tests.support.market import (
    KMS_LINE,
    OUTSIDER,
    SECRET,
    SELLER,
    RunningMarket,
    bearer,
    make_settings,
    run_market,
    write_kms,
)
from tests.support.waiting import until

VENICE = "https://api.venice.ai/api/v1"


async def resolve_nothing(_host: str, _port: int) -> Sequence[str]:
    """No name is known: nothing leaves this machine."""
    return []


@pytest.fixture
async def market(databases: Databases, tmp_path: Path) -> AsyncIterator[RunningMarket]:
    """A market of its own, that knows no host but loopback."""
    settings = make_settings(tmp_path)
    async with run_market(settings, databases.open_ledger(), resolve=resolve_nothing) as running:
        yield running


# ---------------------------------------------------------------------------------------- sign-in


async def test_sign_in__signed_challenge__makes_a_key_once(market: RunningMarket) -> None:
    begun_s = time.time()
    challenge = (
        await market.client.get(f"/v1/seller/auth/challenge?address={SELLER.address}")
    ).json()
    asked_s = time.time()
    message = challenge["message"]
    signature = SELLER.sign_message(encode_defunct(text=message)).signature.to_0x_hex()
    body = {"message": message, "signature": signature, "label": "laptop"}

    first = await market.client.post("/v1/seller/auth/keys", json=body)
    second = await market.client.post("/v1/seller/auth/keys", json=body)

    assert first.status_code == 201
    key = first.json()["api_key"]
    assert key.startswith("si_seller_")
    assert begun_s + 299 <= challenge["expires_at"] <= asked_s + 301
    assert challenge["nonce"] in message
    assert (second.status_code, second.json()["error"]["code"]) == (401, "challenge_used")
    listed = await market.client.get("/v1/seller/auth/keys", headers=bearer(key))
    assert [entry["label"] for entry in listed.json()["keys"]] == ["laptop"]
    assert key not in listed.text


async def test_sign_in__wrong_in_any_part__is_refused(market: RunningMarket) -> None:
    now = datetime.now(UTC)

    def make(**changes: Any) -> dict[str, str]:
        role = changes.pop("role", Role.SELLER)
        signer = changes.pop("signer", SELLER)
        expires_at_s = changes.pop("expires_at_s", int(time.time()) + 300)
        values: dict[str, Any] = {
            "domain": "market.test",
            "address": SELLER.address,
            "statement": "Sign in.",
            "uri": "http://market.test",
            "chain_id": DEPLOYMENT.chain_id,
            "nonce": make_nonce(
                [SECRET.encode()], purpose=role, address=SELLER.address, expires_at_s=expires_at_s
            ),
            "issued_at": now,
            "resources": ("https://example.org",),
            **changes,
        }
        text = build_siwe(**values)
        signature = signer.sign_message(encode_defunct(text=text)).signature.to_0x_hex()
        return {"message": text, "signature": signature}

    wrong = {
        "domain": make(domain="elsewhere.test"),
        "uri": make(uri="http://elsewhere.test"),
        "chain": make(chain_id=1),
        "address": make(address=OUTSIDER.address, signer=OUTSIDER),
        "role": make(role=Role.BUYER),
        "expired": make(expires_at_s=int(time.time()) - 1),
        "foreign nonce": make(nonce="ab" * 32),
        "late": make(issued_at=datetime.fromtimestamp(time.time() - 400, UTC)),
        "not a message": {"message": "", "signature": "0x"},
        "not hex": {**make(), "signature": "0x..."},
    }
    for name, body in wrong.items():
        answer = await market.client.post("/v1/seller/auth/keys", json=body)
        assert answer.status_code in (400, 401), (name, answer.text)
    assert (await market.client.post("/v1/seller/auth/keys", json=make())).status_code == 201


async def test_sign_in__another_wallets_signature__asks_the_chain_and_fails_closed(
    market: RunningMarket,
) -> None:
    challenge = (
        await market.client.get(f"/v1/seller/auth/challenge?address={SELLER.address}")
    ).json()
    signature = OUTSIDER.sign_message(encode_defunct(text=challenge["message"]))
    body = {"message": challenge["message"], "signature": signature.signature.to_0x_hex()}

    answer = await market.client.post("/v1/seller/auth/keys", json=body)

    # The address might be a contract's; there is no node here to ask.
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "chain_unavailable")


async def test_keys__26th__is_refused_until_one_is_revoked(market: RunningMarket) -> None:
    keys = [(await market.issue_key(SELLER)).json() for _ in range(25)]

    refused = await market.issue_key(SELLER)
    await market.client.delete(
        f"/v1/seller/auth/keys/{keys[3]['key_id']}", headers=bearer(keys[0]["api_key"])
    )
    accepted = await market.issue_key(SELLER)

    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "too_many_keys")
    assert accepted.status_code == 201
    used = await market.client.get("/v1/seller/offers", headers=bearer(keys[3]["api_key"]))
    assert used.status_code == 401


# ----------------------------------------------------------------------------------------- offers


async def test_offers__the_references_own_lines__work_as_they_are_written(
    market: RunningMarket,
) -> None:
    headers = bearer(await market.get_key())
    # curl -d says so where no content type is given.
    form = {**headers, "content-type": "application/x-www-form-urlencoded"}
    create = """{
    "model": "claude-opus-4.6",
    "api_key": "your-provider-key",
    "seller_base_url": "https://api.venice.ai/api/v1",
    "price_input_per_1m": 12.00,
    "price_output_per_1m": 48.00
    }"""
    again = """{ "model": "claude-opus-4.6", "api_key": "***",
    "seller_base_url": "https://api.venice.ai/api/v1",
    "price_input_per_1m": 12.00, "price_output_per_1m": 48.00 }"""

    created = await market.client.post(
        "/v1/seller/offers", content=create, headers={**headers, "content-type": "application/json"}
    )
    second = await market.client.post("/v1/seller/offers", content=again, headers=form)
    listed = await market.client.get("/v1/seller/offers", headers=headers)
    patched = await market.client.patch(
        f"/v1/seller/offers/{created.json()['id']}",
        content='{ "price_input_per_1m": 10.00 }',
        headers=form,
    )
    earnings = await market.client.get("/v1/seller/earnings", headers=headers)
    health = await market.client.get("/v1/seller/health-log", headers=headers)

    assert (created.status_code, second.status_code) == (201, 201)
    assert len(listed.json()["offers"]) == 2
    assert (patched.json()["price_input_per_1m"], patched.json()["price_output_per_1m"]) == (10, 48)
    assert earnings.json()["earnings"] == []
    assert health.json()["failures"] == []
    assert "your-provider-key" not in created.text + listed.text + patched.text


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("12.00", 12_000_000),
        ("0.000001", 1),
        ("1e-6", 1),
        ("0", 0),
        ("0.1", 100_000),
        ("1234.567891", 1_234_567_891),
        ('"0.30"', 300_000),
        ("1e3", 1_000_000_000),
    ],
)
@pytest.mark.sampled(3)
async def test_offers__decimals__are_stored_exactly(
    market: RunningMarket, text: str, units: int
) -> None:
    key = await market.get_key()
    body = (
        f'{{"model": "m", "api_key": "k", "seller_base_url": "{VENICE}",'
        f' "price_input_per_1m": {text}, "price_output_per_1m": {text}, "cap_daily_usd": {text}}}'
    )

    answer = await market.client.post("/v1/seller/offers", content=body, headers=bearer(key))

    assert answer.status_code == 201, answer.text
    offer = table_of(MarketOffer)
    with read(market.engine) as connection:
        row = connection.execute(select(offer)).mappings().one()
    assert row["price_input_usdc_per_mtok"] == row["cap_daily_usdc"] == units


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"price_input_per_1m": "0.0000001"}, "price_input_per_1m"),
        ({"price_input_per_1m": -1}, "price_input_per_1m"),
        ({"price_input_per_1m": True}, "price_input_per_1m"),
        ({"price_input_per_1m": 1e300}, "price_input_per_1m"),
        ({"price_input_per_1m": "NaN"}, "price_input_per_1m"),
        ({"price_input_per_1m": ...}, "price_input_per_1m"),
        ({"cost_multiplier": 0.5}, "price_input_per_1m"),
        ({"api_key": "two words"}, "api_key"),
        ({"api_key": ...}, "api_key"),
        ({"payout_address": "0x" + "0" * 40}, "payout_address"),
        ({"payout_address": SELLER.address.swapcase().replace("X", "x")}, "payout_address"),
        *(
            ({"payout_address": address}, "payout_address")
            for address in sorted(DEPLOYMENT.own_contracts)
        ),
        ({"rate_limit_rpm": 0}, "rate_limit_rpm"),
        ({"model": "a b"}, "model"),
        ({"surprise": 1}, "surprise"),
        ({"seller_base_url": "http://api.venice.ai/v1"}, "seller_base_url"),
        ({"seller_base_url": "https://10.0.0.1/v1"}, "seller_base_url"),
        ({"seller_base_url": "https://169.254.169.254/latest"}, "seller_base_url"),
        ({"seller_base_url": "https://user:pass@api.venice.ai/v1"}, "seller_base_url"),
    ],
)
@pytest.mark.sampled(2)
async def test_offers__bad_field__is_400_and_names_it(
    market: RunningMarket, changes: dict[str, Any], param: str
) -> None:
    body = {
        "model": "m",
        "api_key": "k",
        "seller_base_url": VENICE,
        "price_input_per_1m": 1,
        "price_output_per_1m": 1,
        **changes,
    }
    body = {name: value for name, value in body.items() if value is not ...}
    key = await market.get_key()

    answer = await market.client.post("/v1/seller/offers", json=body, headers=bearer(key))

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


async def test_offers__payout_address_changed_to_our_own_contract__is_400(
    market: RunningMarket,
) -> None:
    key = await market.get_key()
    offer = await market.list_offer(key, VENICE)
    path = f"/v1/seller/offers/{offer['id']}"

    for address in (DEPLOYMENT.usdc.upper().replace("0X", "0x"), DEPLOYMENT.position):
        answer = await market.client.patch(
            path, json={"payout_address": address}, headers=bearer(key)
        )
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == "payout_address"

    shown = (await market.client.get(path, headers=bearer(key))).json()
    assert shown["payout_address"] == offer["payout_address"]


async def test_offers__multiplier__follows_the_reference_price(market: RunningMarket) -> None:
    key = await market.get_key()
    await market.list_offer(
        key, VENICE, price_input_per_1m=..., price_output_per_1m=..., cost_multiplier="0.5"
    )

    book = (await market.client.get(f"/api/markets/{MODEL}")).json()
    prices = (await market.client.get("/v1/prices")).json()["data"][0]

    assert (book["offers"][0]["price_input_per_1m"], book["offers"][0]["discount_pct"]) == (5, 50)
    assert prices["reference"]["source"] == "operator"
    assert prices["best_discount_pct"] == 50
    unknown = await market.client.post(
        "/v1/seller/offers",
        json={
            "model": "nobody-knows",
            "api_key": "k",
            "seller_base_url": VENICE,
            "cost_multiplier": 0.5,
        },
        headers=bearer(key),
    )
    assert unknown.json()["error"]["code"] == "no_reference_price"


async def test_offers__idempotency_key__makes_one_offer(market: RunningMarket) -> None:
    key = await market.get_key()
    headers = {**bearer(key), "idempotency-key": "once"}
    body = {
        "model": "m",
        "api_key": "k",
        "seller_base_url": VENICE,
        "price_input_per_1m": 1,
        "price_output_per_1m": 1,
    }

    first, second = await asyncio.gather(
        *(market.client.post("/v1/seller/offers", json=body, headers=headers) for _ in range(2))
    )
    other = await market.client.post(
        "/v1/seller/offers", json={**body, "api_key": "other"}, headers=headers
    )

    assert first.json()["id"] == second.json()["id"]
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")
    listed = await market.client.get("/v1/seller/offers", headers=bearer(key))
    assert len(listed.json()["offers"]) == 1


async def test_offers__anothers__cannot_be_seen_changed_or_deleted(market: RunningMarket) -> None:
    offer = await market.list_offer(await market.get_key(), VENICE)
    headers = bearer(await market.get_key(OUTSIDER))
    path = f"/v1/seller/offers/{offer['id']}"

    assert (await market.client.get(path, headers=headers)).status_code == 404
    patched = await market.client.patch(path, json={"status": "paused"}, headers=headers)
    assert patched.status_code == 404
    assert (await market.client.delete(path, headers=headers)).status_code == 404
    assert (await market.client.get("/v1/seller/offers", headers=headers)).json() == {"offers": []}


async def test_offers__paused__is_not_routed_to(market: RunningMarket) -> None:
    async with FakeEndpoint() as seller:
        seller_key = await market.get_key()
        offer = await market.list_offer(seller_key, seller.url)
        key = await market.get_buyer_key()

        await market.client.patch(
            f"/v1/seller/offers/{offer['id']}",
            json={"status": "paused"},
            headers=bearer(seller_key),
        )

        assert (await market.chat(key)).status_code == 404
        assert seller.requests == []


async def test_discover__lists_models_with_reference_prices(market: RunningMarket) -> None:
    async with FakeEndpoint() as seller:
        key = await market.get_key()
        body = {"api_key": PROVIDER_KEY, "seller_base_url": seller.url}

        answer = await market.client.post("/v1/seller/discover", json=body, headers=bearer(key))

        models = {entry["model"]: entry["reference"] for entry in answer.json()["models"]}
        assert models[MODEL]["price_input_per_1m"] == 10
        assert models["gpt-4o"]["source"] == "genai-prices"
        assert models["unpriced-model"] is None
        assert seller.keys == [f"Bearer {PROVIDER_KEY}"]
        assert PROVIDER_KEY not in answer.text


# -------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize("address", ["10.1.2.3", "169.254.169.254", "::1", "fd00::1", "0.0.0.0"])
async def test_addresses__name_that_turns_private__is_never_called(
    databases: Databases, tmp_path: Path, address: str
) -> None:
    answers: list[Sequence[str]] = [["93.184.216.34"]]

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return answers[-1]

    settings = make_settings(tmp_path, allow_loopback=False)
    async with run_market(settings, databases.open_ledger(), resolve=resolve) as market:
        seller_key = await market.get_key()
        await market.list_offer(seller_key, VENICE)
        answers.append([address])
        key = await market.get_buyer_key()

        refused = await market.client.post(
            "/v1/seller/offers",
            json={
                "model": "m",
                "api_key": "k",
                "seller_base_url": VENICE,
                "price_input_per_1m": 1,
                "price_output_per_1m": 1,
            },
            headers=bearer(seller_key),
        )
        # What was resolved when it was listed is not what is called.
        answer = await market.chat(key)

        assert refused.json()["error"]["code"] == "base_url_refused"
        assert address not in refused.text
        assert answer.status_code == 502
        assert market.sales()[0]["void_reason"] == "unreachable"


# ---------------------------------------------------------------------------------------- secrecy


async def test_secrecy__provider_key__is_in_no_file_answer_or_log(
    databases: Databases, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if databases.kind != "sqlite":
        pytest.skip("reads the database's own files")
    engine = databases.open_ledger()
    path = Path(str(engine.url.database))
    seen: list[str] = []
    async with run_market(make_settings(tmp_path), engine) as market, FakeEndpoint() as seller:
        seller_key = await market.get_key()
        kept = await market.list_offer(seller_key, seller.url)
        offer = await market.list_offer(seller_key, seller.url)
        key = await market.get_buyer_key()
        for behaviour in ("normal", "status_400", "status_401", "bad_json"):
            seller.behaviour = behaviour
            answer = await market.chat(key)
            seen += [answer.text, str(answer.headers)]
        for page in ("offers", "earnings", "health-log"):
            answer = await market.client.get(f"/v1/seller/{page}", headers=bearer(seller_key))
            seen.append(answer.text)
        with read(engine) as connection:
            sealed = offer_keys.load(connection, offer["id"])
        assert sealed is not None
        before = _read_files(path)
        assert sealed.ciphertext in before and sealed.wrapped_key in before

        deleted = await market.client.delete(
            f"/v1/seller/offers/{offer['id']}", headers=bearer(seller_key)
        )

        assert deleted.status_code == 200
        after = _read_files(path)
        assert sealed.ciphertext not in after and sealed.wrapped_key not in after
        with read(engine) as connection:
            left = connection.execute(select(table_of(MarketOfferKey).c.offer_id)).scalars().all()
        assert left == [kept["id"]]
        services = market.front.app.state.services
        seen += [repr(services), repr(services.sealer), repr(services.book.__dict__)]
    captured = capfd.readouterr()
    everything = "".join([*seen, captured.out, captured.err]).encode() + before + after
    for secret in (PROVIDER_KEY, seller_key, key):
        assert secret.encode() not in everything


def _read_files(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.parent.glob(path.name + "*")))


async def test_secrecy__kms_rotated__old_keys_open_and_are_wrapped_anew(
    databases: Databases, tmp_path: Path
) -> None:
    engine = databases.open_ledger()
    settings = make_settings(tmp_path)
    async with run_market(settings, engine) as market:
        offer = await market.list_offer(await market.get_key(), "http://127.0.0.1:9/v1")
    write_kms(tmp_path, "k2 " + "a7" * 32, KMS_LINE)

    async with run_market(settings, engine) as market:

        def is_wrapped() -> bool:
            with read(engine) as connection:
                return offer_keys.load_stale(connection, kms_key_id="k2", limit=10) == []

        await until(is_wrapped, "every key is wrapped by the new one")

    write_kms(tmp_path, "k2 " + "a7" * 32)
    with read(engine) as connection:
        sealed = offer_keys.load(connection, offer["id"])
    assert sealed is not None
    opened = Sealer(FileKms(tmp_path / "kms")).open(sealed, offer_id=offer["id"])
    assert opened == PROVIDER_KEY


# --------------------------------------------------------------------------------------- earnings


async def test_earnings__less_than_a_transfer_is_worth__are_paid_together_once_they_are_not(
    market: RunningMarket,
) -> None:
    async with FakeEndpoint() as seller:
        await market.list_offer(await market.get_key(), seller.url)
        key = await market.get_buyer_key()
        with write(market.engine) as connection:
            save_floor(connection, 1_000, now_s=1)
        database = market.front.app.state.services.database
        for _ in range(3):
            await market.chat(key)
            assert await gather_earnings(database, 1) == []
        await market.chat(key)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LedgerClock, "may_sweep", False)
            assert await gather_earnings(database, 1) == [], "what has vested is unknown"
        assert len(await gather_earnings(database, 1)) == 1
        with read(market.engine) as connection:
            paid = connection.execute(select(table_of(MarketPayout).c.amount_usdc)).scalars().all()
        assert paid == [4 * 285]


async def test_earnings__sold__are_listed_with_their_fee_and_paid_once(
    market: RunningMarket,
) -> None:
    async with FakeEndpoint() as seller:
        seller_key = await market.get_key()
        payee = "0x" + "77" * 20
        await market.list_offer(seller_key, seller.url, payout_address=payee)
        key = await market.get_buyer_key()
        for _ in range(3):
            await market.chat(key)
        database = market.front.app.state.services.database

        planned = await gather_earnings(database, 1)
        again = await gather_earnings(database, 1)

        earnings = (
            await market.client.get("/v1/seller/earnings", headers=bearer(seller_key))
        ).json()
        csv = await market.client.get("/v1/seller/earnings.csv", headers=bearer(seller_key))
        assert earnings["totals"] == {
            "requests": 3,
            "api_calls": 0,
            "earning_usdc": 855,
            "fee_usdc": 45,
            "unpaid_usdc": 0,
            "unvested_usdc": 0,
            "refunded_usdc": 0,
        }
        assert {line["fee_bps"] for line in earnings["earnings"]} == {500}
        assert len(csv.text.splitlines()) == 4
        assert (len(planned), again) == (1, [])
        payout = table_of(MarketPayout)
        with read(market.engine) as connection:
            row = connection.execute(select(payout)).mappings().one()
            assert find_market_mismatches(connection) == []
        assert (row["payee"], row["amount_usdc"]) == (payee, 855)


async def test_earnings__agreed_fee__counts_for_sales_from_then_on(market: RunningMarket) -> None:
    async with FakeEndpoint() as seller:
        await market.list_offer(await market.get_key(), seller.url)
        key = await market.get_buyer_key()
        await market.chat(key)
        with write(market.engine) as connection:
            set_seller_terms(
                connection, address=SELLER.address.lower(), fee_bps=0, now_s=int(time.time())
            )
        await market.front.app.state.services.book.refresh()

        await market.chat(key)

        assert [(s["earning_usdc"], s["fee_usdc"]) for s in market.sales()] == [(285, 15), (300, 0)]


async def test_mismatches__a_row_that_was_tampered_with__is_found(market: RunningMarket) -> None:
    async with FakeEndpoint() as seller:
        await market.list_offer(await market.get_key(), seller.url)
        key = await market.get_buyer_key()
        await market.chat(key)
    offer = table_of(MarketOffer)
    with write(market.engine) as connection:
        connection.execute(update(offer).values(total_used_usdc=1))

    with read(market.engine) as connection:
        found = find_market_mismatches(connection)

    assert len(found) == 1
    assert found[0][0].startswith("offer ")


async def test_public_pages__models_and_explanation(market: RunningMarket) -> None:
    key = await market.get_key()
    cheap = await market.list_offer(key, VENICE)
    dear = await market.list_offer(key, VENICE, price_output_per_1m=35)

    models = (await market.client.get("/v1/models")).json()
    explained = (
        await market.client.get(f"/v1/route/explain?model={MODEL}&min_discount_pct=30")
    ).json()
    missing = await market.client.get("/v1/route/explain?model=nobody")

    assert [model["id"] for model in models["data"]] == [MODEL]
    assert models["data"][0]["context_length"] == 2048
    assert [entry["offer_id"] for entry in explained["ranked"]] == [cheap["id"]]
    assert [(e["offer_id"], e["reason"]) for e in explained["dropped"]] == [
        (dear["id"], "minimum_discount")
    ]
    assert missing.status_code == 404
    assert json.loads(missing.text)["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("odd", ["%00", "a%00b", "%ff", "%F0%9F%98%80", "'", "a%20b", "x" * 65])
@pytest.mark.sampled(3)
async def test_ids__that_none_of_ours_can_be__are_refused(market: RunningMarket, odd: str) -> None:
    seller, buyer = await market.get_key(), await market.get_buyer_key()
    asked = [
        ("GET", f"/v1/seller/offers/{odd}", seller, {}),
        ("DELETE", f"/v1/seller/offers/{odd}", seller, {}),
        ("DELETE", f"/v1/seller/auth/keys/{odd}", seller, {}),
        ("DELETE", f"/v1/buyer/auth/keys/{odd}", buyer, {}),
        ("DELETE", f"/v1/buyer/providers/{odd}", buyer, {}),
        ("GET", f"/v1/video/generations/{odd}", buyer, {}),
        ("DELETE", f"/min5/v1/music/generations/{odd}", buyer, {}),
        ("GET", f"/v1/video/generations/{odd}", buyer, {"x-job-token": "job_x"}),
        ("GET", f"/v1/media/artifacts/{odd}", buyer, {}),
        ("GET", f"/api/markets/{odd}", buyer, {}),
        ("GET", f"/v1/seller/earnings?cursor={odd}", seller, {}),
        ("GET", f"/feed?cursor={odd}", seller, {}),
    ]
    for method, path, key, more in asked:
        answer = await market.client.request(method, path, headers={**bearer(key), **more})
        assert answer.status_code in (400, 404), (path, answer.text)


async def test_fields__that_are_no_text__are_refused_in_words(market: RunningMarket) -> None:
    key = await market.get_key()
    for raw in (b'{"\\ud800": 1}', b'{"model": "\\ud800"}', b'{"cap_daily_usd": 1e99999999999999}'):
        answer = await market.client.post(
            "/v1/seller/offers", content=raw, headers=bearer(key) | {"idempotency-key": "k"}
        )
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "invalid_json"


async def test_payouts__until_a_moment__leave_what_was_sold_after_it(market: RunningMarket) -> None:
    async with FakeEndpoint() as seller:
        await market.list_offer(await market.get_key(), seller.url)
        key = await market.get_buyer_key()
        for _ in range(2):
            assert (await market.chat(key)).status_code == 200
    early, late = await market.settled_sales()
    sale, payout = table_of(MarketSale), table_of(MarketPayout)
    with write(market.engine) as connection:
        is_late = sale.c.sale_id == late["sale_id"]
        at_s = int(early["resolved_at_s"])
        connection.execute(update(sale).where(is_late).values(resolved_at_s=at_s + 1))

    def plan(until_s: int) -> list[int]:
        """Gather once; return what all payouts come to, oldest first."""
        with write(market.engine) as connection:
            plan_payouts(
                connection, policies=["at_once"], until_s=until_s, now_s=at_s, make_id=new_id
            )
            rows = connection.execute(select(payout.c.amount_usdc).order_by(payout.c.payout_id))
            return [int(amount_usdc) for amount_usdc in rows.scalars()]

    assert plan(at_s - 1) == []
    assert plan(at_s) == [285], "what was sold in that very second is of it"
    assert plan(at_s) == [285]
    assert plan(at_s + 1) == [285, 285]
    market.sales()
