"""A supplier's offers, addresses and pay over HTTP, with a real endpoint behind the offers.

::

    offer    listed by the reference's body; probed; serves; paused; repriced; gone; refused fields
    probe    one ping a model, at most 16 tokens; why it failed; again after another key; many
             slow ones of one supplier
    address  confirmed, checked, cooled, mailed
    pay      usage, settled day, CSV of both, totals; notices of the rail
"""

import asyncio
import csv
import hashlib
import hmac
import io
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import delete, insert, select, update

from contracts.units import SECONDS_PER_DAY, utc_day
from ledger.audit import find_violations
from ledger.database.engine import read, write
from ledger.errors import LedgerUnavailable
from ledger.suppliers.accounts import set_kyb_status
from ledger.suppliers.callers import save_session, save_supplier_key
from ledger.suppliers.settlement import settle_chunk
from ledger.suppliers.supply_probes import take_due_probe
from ledger.tables import MarketSale, OutboxMail, SupplierPayout, SupplyDay, table_of
from market.suppliers import probing
from market.suppliers.payout_desk import mark_sent
from market.suppliers.probing import OFFERS_AT_ONCE, OFFERS_OF_ONE_AT_ONCE
from market.suppliers.settling_days import show_day
from market.suppliers.supplier_tokens import KEY_PREFIX, Scope, derive_csrf_token, make_token
from tests.support.answers import MODEL, PROVIDER_KEY
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.market import RunningMarket, bearer, make_settings, run_market
from tests.support.supply import ADDRESS, TERMS, put_supplier
from tests.support.waiting import until, until_it

pytestmark = pytest.mark.asyncio(loop_scope="module")

IPN_SECRET = "ipn-secret"


@dataclass
class Company:
    """A supplier with a key for programs, and a session whose password was just shown."""

    market: RunningMarket
    supplier_id: str
    key: str
    session: dict[str, str]

    async def ask(self, method: str, path: str, *, status: int = 200, **options: Any) -> Any:
        options.setdefault("headers", bearer(self.key))

        async def send() -> httpx.Response | None:
            answer = await self.market.client.request(method, f"/v1/supply/{path}", **options)
            # What a probe finds changes an offer too, between its reading and its writing.
            return None if '"offer_changed"' in answer.text else answer

        answer = await until_it(send, "no probe comes between")
        assert answer is not None
        assert answer.status_code == status, answer.text
        is_json = answer.headers["content-type"].startswith("application/json")
        return answer.json() if is_json else answer.text

    async def offer(self, url: str, *, status: int = 201, **changes: Any) -> Any:
        """List an offer by the reference's body."""
        body = {
            "provider_type": "openai_compatible",
            "api_key": PROVIDER_KEY,
            "base_url": url,
            "model_list": [MODEL],
            "bid_price_per_1m_usdt": "0.15",
            "rate_limit_rpm": 1_000,
            "quota_total": 1_000_000_000,
            **changes,
        }
        body = {name: value for name, value in body.items() if value is not ...}
        return await self.ask("POST", "offers", status=status, json=body)

    async def probed(self, offer_id: str) -> Any:
        """Return an offer once no probe is due."""

        async def look() -> Any:
            offer = await self.ask("GET", f"offers/{offer_id}")
            return None if offer["is_probe_due"] else offer

        return await until_it(look, "the offer is probed")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningMarket]:
    """One market for all tests: each has suppliers of its own."""
    folder = tmp_path_factory.mktemp("supply")
    engine = make_ledger(folder / "ledger.sqlite3")
    settings = make_settings(
        folder,
        refresh_interval_s=0.05,
        settle_interval_s=3_600,
        address_keys_per_minute_max=0,
        nowpayments_ipn_secret=IPN_SECRET,
        read_timeout_s=6.0,
    )
    async with run_market(settings, engine) as running:
        yield running


@pytest.fixture
def company(market: RunningMarket, request: pytest.FixtureRequest) -> Company:
    """A company of its own for each test, approved."""
    return make_company(market, request.node.name)


def make_company(market: RunningMarket, name: str) -> Company:
    """Open the account of an approved company, with a key and a session."""
    supplier_id = hashlib.sha256(name.encode()).hexdigest()[:12]
    key, cookie = make_token(KEY_PREFIX), make_token()
    now_s = int(time.time())
    with write(market.engine) as connection:
        put_supplier(connection, supplier_id)
        save_supplier_key(
            connection,
            key_id=f"k-{supplier_id}",
            key_hash=key.token_hash,
            supplier_id=supplier_id,
            label="",
            scopes=frozenset(Scope),
            expires_at_s=None,
            now_s=1_000,
        )
        save_session(
            connection,
            session_hash=cookie.token_hash,
            session_id=f"i-{supplier_id}",
            supplier_id=supplier_id,
            user_agent="",
            expires_at_s=now_s + 3_600,
            now_s=now_s,
        )
    session = {
        "cookie": f"__Host-supplier_session={cookie.text}",
        "x-csrf-token": derive_csrf_token(cookie.text),
    }
    return Company(market, supplier_id, key.text, session)


# ------------------------------------------------------------------------------------------- offers


async def test_offer__by_the_references_body__is_probed_serves_and_is_counted(
    company: Company,
) -> None:
    async with FakeEndpoint() as endpoint:
        listed = await company.offer(endpoint.url)
        assert (listed["status"], listed["bid_price_per_1m_usdt"]) == ("pending_probe", "0.150000")
        offer = await company.probed(listed["id"])
        assert (offer["status"], offer["probe"]["ok"]) == ("active", True)
        (ping,) = endpoint.requests
        assert ping["messages"] == [{"role": "user", "content": "ping"}]
        assert (ping["model"], ping["max_tokens"]) == (MODEL, 16)
        assert endpoint.keys == [f"Bearer {PROVIDER_KEY}"]

        buyer = await company.market.get_buyer_key()
        answer = await company.market.chat(buyer, routing={"trusted_only": True})
        assert answer.status_code == 200, answer.text
        (listing,) = offer["models"]
        assert answer.headers["x-market-offer"] == listing["offer_id"]
        offer = await company.ask("GET", f"offers/{listed['id']}")
        assert (offer["quota_used"], offer["quota_reserved"]) == (30, 0)

        usage = await company.ask("GET", "usage")
        assert usage["totals"] == {
            "requests": 1,
            "input_tokens": 20,
            "output_tokens": 10,
            "gross": "0.000004",
        }
        await company.ask("DELETE", f"offers/{listed['id']}")
        await company.ask("GET", f"offers/{listed['id']}", status=404)
        answer = await company.market.chat(buyer)
        assert answer.status_code in (404, 503)
    with read(company.market.engine) as connection:
        assert find_violations(connection) == []


async def test_offer__paused_resumed_and_repriced__routing_follows(company: Company) -> None:
    async with FakeEndpoint() as endpoint:
        offer_id = (await company.offer(endpoint.url))["id"]
        await company.probed(offer_id)
        buyer = await company.market.get_buyer_key()

        assert (await company.ask("POST", f"offers/{offer_id}/pause"))["status"] == "paused"
        assert (await company.market.chat(buyer)).status_code in (404, 503)
        changed = await company.ask(
            "PATCH",
            f"offers/{offer_id}",
            json={"bid_price_per_1m_usdt": "0.2", "status": "active"},
        )
        assert (changed["status"], changed["bid_price_per_1m_usdt"]) == ("active", "0.200000")
        assert (await company.market.chat(buyer)).status_code == 200
        usage = await company.ask("GET", "usage")
        assert [line["bid_price_per_1m_usdt"] for line in usage["usage"]] == ["0.200000"]
        await company.ask("DELETE", f"offers/{offer_id}")


async def test_offer__paused_and_repriced_in_mid_stream__the_stream_ends_at_its_own_bid(
    company: Company,
) -> None:
    async with FakeEndpoint() as endpoint:
        offer_id = (await company.offer(endpoint.url))["id"]
        await company.probed(offer_id)
        buyer = await company.market.get_buyer_key()
        endpoint.piece_delay_s = 0.3

        streaming = asyncio.create_task(company.market.chat(buyer, stream=True))
        await until(lambda: endpoint.sent_pieces or None, "the stream has begun")
        await company.ask("PATCH", f"offers/{offer_id}", json={"bid_price_per_1m_usdt": "0.9"})
        await company.ask("POST", f"offers/{offer_id}/pause")
        answer = await streaming

        assert answer.status_code == 200
        assert answer.text.rstrip().endswith("data: [DONE]")
        assert (await company.market.chat(buyer)).status_code in (404, 503)
        usage = await company.ask("GET", "usage")
        assert [(line["bid_price_per_1m_usdt"], line["requests"]) for line in usage["usage"]] == [
            ("0.150000", 1)
        ]
        offer = await company.ask("GET", f"offers/{offer_id}")
        assert (offer["status"], offer["quota_reserved"]) == ("paused", 0)
        await company.ask("DELETE", f"offers/{offer_id}")


async def test_offer__rate_limit_of_one__the_second_request_finds_nobody(company: Company) -> None:
    async with FakeEndpoint() as endpoint:
        offer_id = (await company.offer(endpoint.url, rate_limit_rpm=1))["id"]
        await company.probed(offer_id)
        buyer = await company.market.get_buyer_key()

        answers = [(await company.market.chat(buyer)).status_code for _ in range(2)]

        assert answers == [200, 503]
        await company.ask("DELETE", f"offers/{offer_id}")


async def test_offer__supplier_suspended__serves_nobody_and_is_shown_so(company: Company) -> None:
    async with FakeEndpoint() as endpoint:
        offer_id = (await company.offer(endpoint.url))["id"]
        await company.probed(offer_id)
        buyer = await company.market.get_buyer_key()
        with write(company.market.engine) as connection:
            set_kyb_status(
                connection,
                company.supplier_id,
                "suspended",
                change_id=f"{company.supplier_id}-2",
                now_s=2_000,
            )

        assert (await company.market.chat(buyer)).status_code in (404, 503)
        assert (await company.ask("GET", f"offers/{offer_id}"))["status"] == "suspended"
        await company.offer(endpoint.url, bid_price_per_1m_usdt="0.3", status=403)
        await company.ask("DELETE", f"offers/{offer_id}")


async def test_offer__the_same_again__is_refused(company: Company) -> None:
    async with FakeEndpoint() as endpoint:
        models = [MODEL, "unpriced-model"]
        first = await company.offer(endpoint.url, model_list=models)
        again = await company.offer(endpoint.url, model_list=models[::-1], status=409)
        other = await company.offer(endpoint.url, model_list=models, bid_price_per_1m_usdt="0.16")
        changed = await company.ask(
            "PATCH",
            f"offers/{other['id']}",
            json={"bid_price_per_1m_usdt": "0.15"},
            status=409,
        )

        assert again["error"]["code"] == changed["error"]["code"] == "offer_exists"
        assert first["id"] in again["error"]["message"]
        for offer in (first, other):
            await company.ask("DELETE", f"offers/{offer['id']}")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"provider_type": "closed"}, "provider_type"),
        ({"api_key": ...}, "api_key"),
        ({"api_key": "with space"}, "api_key"),
        ({"base_url": ...}, "base_url"),
        ({"base_url": "http://10.0.0.1/v1"}, "seller_base_url"),
        ({"model_list": []}, "model_list"),
        ({"model_list": [MODEL, MODEL]}, "model_list"),
        ({"model_list": ["x" * 300]}, "model_list[0]"),
        ({"bid_price_per_1m_usdt": 0.15}, "bid_price_per_1m_usdt"),
        ({"bid_price_per_1m_usdt": "0"}, "bid_price_per_1m_usdt"),
        ({"bid_price_per_1m_usdt": "-1"}, "bid_price_per_1m_usdt"),
        ({"bid_price_per_1m_usdt": "0.1234567"}, "bid_price_per_1m_usdt"),
        ({"bid_price_per_1m_usdt": "1e3"}, "bid_price_per_1m_usdt"),
        ({"rate_limit_rpm": 0}, "rate_limit_rpm"),
        ({"rate_limit_rpm": 1.5}, "rate_limit_rpm"),
        ({"quota_total": "1000"}, "quota_total"),
        ({"quota_total": 10**16}, "quota_total"),
        ({"legal_basis": "a\nb"}, "legal_basis"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_offer__bad_field__is_refused_by_its_name(
    company: Company, changes: dict[str, Any], param: str
) -> None:
    refused = await company.offer("http://127.0.0.1:9/v1", status=400, **changes)

    assert refused["error"]["param"] == param


# ------------------------------------------------------------------------------------------- probes


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        ("hang", "timeout"),
        ("redirect", "bad_format"),
        ("status_401", "auth"),
        ("status_402", "funds"),
        ("status_500", "server"),
        ("html", "bad_format"),
        ("not_a_completion", "bad_format"),
    ],
)
async def test_probe__endpoint_that_does_not_serve__fails_and_says_why(
    company: Company, behaviour: str, cause: str
) -> None:
    async with FakeEndpoint() as endpoint:
        endpoint.behaviour = behaviour
        offer = await company.probed((await company.offer(endpoint.url))["id"])

        assert offer["status"] == "probe_failed"
        (model,) = offer["probe"]["models"]
        assert (model["ok"], model["cause"]) == (False, cause)
        assert PROVIDER_KEY not in str(offer) and endpoint.url not in str(model)
        await company.ask("DELETE", f"offers/{offer['id']}")


async def test_probe__another_model_answers__fails(company: Company) -> None:
    async with FakeEndpoint() as endpoint:
        endpoint.body = (
            b'{"id":"1","object":"chat.completion","model":"gpt-4o-mini","choices":[{"index":0,'
            b'"message":{"role":"assistant","content":"pong"},"finish_reason":"stop"}]}'
        )
        offer = await company.probed(
            (await company.offer(endpoint.url, model_list=["gpt-4o"]))["id"]
        )

        assert (offer["status"], offer["probe"]["models"][0]["cause"]) == (
            "probe_failed",
            "wrong_model",
        )
        await company.ask("DELETE", f"offers/{offer['id']}")


async def test_probe__after_another_key_and_by_hand__and_not_twice_at_once(
    company: Company,
) -> None:
    async with FakeEndpoint() as endpoint:
        endpoint.behaviour = "status_500"
        offer_id = (await company.offer(endpoint.url))["id"]
        await company.probed(offer_id)
        await company.ask("POST", f"offers/{offer_id}/probe", status=429)
        endpoint.behaviour = "normal"
        moved = {"base_url": f"{endpoint.url}/deeper"}
        refused = await company.ask("PATCH", f"offers/{offer_id}", json=moved, status=400)
        changed = await company.ask(
            "PATCH", f"offers/{offer_id}", json={"api_key": "sk-another-key"}
        )

        assert refused["error"]["param"] == "api_key"
        assert changed["status"] in ("pending_probe", "active")
        assert (await company.probed(offer_id))["status"] == "active"
        assert endpoint.keys[-1] == "Bearer sk-another-key"
        await company.ask("DELETE", f"offers/{offer_id}")


async def test_probe__ledger_fails_meanwhile__goes_on(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()

    def fail_once(*args: Any, **options: Any) -> Any:
        if failed.is_set():
            return take_due_probe(*args, **options)
        failed.set()
        raise LedgerUnavailable("the database is away")

    async with FakeEndpoint() as endpoint:
        endpoint.behaviour = "slow"
        offer_id = (await company.offer(endpoint.url))["id"]
        await until(lambda: endpoint.requests, "it is being probed")
        monkeypatch.setattr(probing, "take_due_probe", fail_once)
        await until(failed.is_set, "the ledger fails")
        endpoint.release.set()
        await company.probed(offer_id)

        assert len(endpoint.requests) == 1
        await company.ask("DELETE", f"offers/{offer_id}")


async def test_probe__many_slow_endpoints_of_one_supplier__hold_up_no_other(
    tmp_path: Path,
) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    # A hanging probe lasts far longer than this test waits for the other one.
    settings = make_settings(
        tmp_path,
        refresh_interval_s=0.05,
        settle_interval_s=3_600,
        address_keys_per_minute_max=0,
        read_timeout_s=60,
    )
    async with (
        FakeEndpoint() as slow,
        FakeEndpoint() as quick,
        run_market(settings, engine) as market,
    ):
        slow.behaviour = "hang"
        crowd, other = make_company(market, "crowd"), make_company(market, "other")
        for bid in range(1, OFFERS_AT_ONCE + 2):
            await crowd.offer(slow.url, bid_price_per_1m_usdt=f"0.{bid:02d}")
        await until(lambda: len(slow.requests) >= OFFERS_OF_ONE_AT_ONCE, "some are being probed")
        probed = await other.probed((await other.offer(quick.url))["id"])

        assert probed["status"] == "active"
    engine.dispose()


# ---------------------------------------------------------------------------------------- addresses


async def test_address__saved__cools_is_mailed_and_needs_a_session(company: Company) -> None:
    body = {"network": "base", "confirm_network": "base", "address": ADDRESS.lower()}
    await company.ask("PUT", "payout-addresses", json=body, status=403)
    for _ in range(2):
        listed = await company.ask("PUT", "payout-addresses", json=body, headers=company.session)

    (base,) = [one for one in listed["networks"] if one["network"] == "base"]
    assert (base["address"], base["pending_address"]) == (None, ADDRESS)
    assert (base["asset"], base["rail"], base["is_preferred"]) == ("USDC", "chain", True)
    table = table_of(OutboxMail)
    with read(company.market.engine) as connection:
        mails = connection.execute(
            select(table.c.template).where(table.c.supplier_id == company.supplier_id)
        ).scalars()
        assert list(mails) == ["payout_address"]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"confirm_network": "erc20"}, "confirm_network"),
        ({"network": "sol", "confirm_network": "sol"}, "network"),
        ({"address": "0x" + "0" * 40}, "address"),
        ({"address": "0x" + "a3" * 20}, "address"),
        ({"address": "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8"}, "address"),
        ({"network": "trc20", "confirm_network": "trc20"}, "address"),
        ({"address": None}, "address"),
    ],
)
async def test_address__bad__is_refused_with_the_reason(
    company: Company, changes: dict[str, Any], param: str
) -> None:
    body = {"network": "base", "confirm_network": "base", "address": ADDRESS, **changes}

    refused = await company.ask(
        "PUT", "payout-addresses", json=body, headers=company.session, status=400
    )

    assert refused["error"]["param"] == param


# ---------------------------------------------------------------------------------------------- pay


async def test_pay__a_settled_day__is_told_alike_by_pages_and_csv(company: Company) -> None:
    market = company.market
    async with FakeEndpoint() as endpoint:
        offer_id = (await company.offer(endpoint.url, bid_price_per_1m_usdt="10"))["id"]
        await company.probed(offer_id)
        buyer = await market.get_buyer_key()
        for _ in range(3):
            assert (await market.chat(buyer)).status_code == 200
        await company.ask("DELETE", f"offers/{offer_id}")
    body = {"network": "bep20", "confirm_network": "bep20", "address": ADDRESS}
    await company.ask("PUT", "payout-addresses", json=body, headers=company.session)
    table, sale = table_of(SupplyDay), table_of(MarketSale)
    with write(market.engine) as connection:
        # The sales of all tests here are made yesterday's, and the address an old one.
        today = connection.execute(select(table.c.day)).scalars().first() or 0
        connection.execute(update(table).values(day=table.c.day - 1))
        connection.execute(
            update(sale)
            .where(sale.c.payout_id.is_not(None))
            .values(payout_id=sale.c.supply_offer_id + f":{today - 1}")
        )
        now_s = (today + 3) * SECONDS_PER_DAY
        settle_chunk(connection, day=utc_day(now_s) - 1, terms=TERMS, now_s=now_s)

    page = await company.ask("GET", "payouts")
    (payout,) = page["payouts"]
    assert (payout["status"], payout["rail"], payout["net"]) == ("pending", "manual", "0.000765")
    mark_sent(market.engine, payout["payout_id"], "0x" + "ab" * 32)
    page = await company.ask("GET", "payouts")
    overview = await company.ask("GET", "overview")
    lines = list(csv.DictReader(io.StringIO(await company.ask("GET", "payouts.csv"))))
    used = list(csv.DictReader(io.StringIO(await company.ask("GET", "usage.csv"))))

    assert (
        page["totals"]
        == overview["payouts"]
        == {
            "gross": "0.000900",
            "fee": "0.000135",
            "sent": "0.000765",
            "underway": "0.000000",
            "failed": "0.000000",
            "carried": "0.000000",
        }
    )
    (line,) = lines
    assert (line["status"], line["tx_hash"], line["net_usd"]) == (
        "sent",
        "0x" + "ab" * 32,
        "0.000765",
    )
    assert (line["asset"], line["network"], line["address"]) == ("USDT", "bep20", ADDRESS)
    assert [row["requests"] for row in used] == ["3"]
    assert used[0]["payout_id"] == line["payout_id"]


async def test_csv__of_more_than_a_page__has_every_line_once(company: Company) -> None:
    days = 2_500
    payout = {
        **dict.fromkeys(("gross_usdc", "net_usdc", "requests", "input_tokens"), 1),
        **dict.fromkeys(("fee_bps", "fee_usdc", "carried_in_usdc", "carried_out_usdc"), 0),
        **dict.fromkeys(("network_fee_usdc", "output_tokens", "usd_rate_at_s", "tries"), 0),
        **dict.fromkeys(("next_try_at_s", "created_at_s", "changed_at_s", "first_day"), 0),
        "retries": 0,
        "code_tries": 0,
        "is_verified": False,
        "status": "sent",
        "rail": "manual",
        "network": "bep20",
        "asset": "USDT",
        "usd_rate": "1",
        "usd_rate_source": "par",
        "supplier_id": company.supplier_id,
    }
    usage = {
        **dict.fromkeys(("bid_usdc_per_mtok", "requests", "input_tokens"), 1),
        "output_tokens": 0,
        "paid_tokens": 0,
        "supply_offer_id": "0-0",
        "payout_id": "settled",
        "supplier_id": company.supplier_id,
    }
    with write(company.market.engine) as connection:
        many = [{**payout, "payout_id": f"0-{day:05d}", "day": day} for day in range(days)]
        connection.execute(insert(table_of(SupplierPayout)), many)
        connection.execute(insert(table_of(SupplyDay)), [{**usage, "day": n} for n in range(days)])

    async def list_lines(path: str, column: str) -> list[str]:
        text = await company.ask("GET", path)
        return [line[column] for line in csv.DictReader(io.StringIO(text))]

    ids = [f"0-{day:05d}" for day in range(days)]
    try:
        assert await list_lines("payouts.csv", "payout_id") == ids[::-1]
        assert await list_lines("payouts.csv?limit=1500", "payout_id") == ids[::-1][:1_500]
        assert await list_lines("payouts.csv?cursor=0-01000", "payout_id") == ids[:1_000][::-1]
        assert await list_lines("usage.csv", "day") == [show_day(day) for day in range(days)]
        assert len(await list_lines("usage.csv?limit=1000", "day")) == 1_000
    finally:
        with write(company.market.engine) as connection:
            for table in (table_of(SupplierPayout), table_of(SupplyDay)):
                is_its = table.c.supplier_id == company.supplier_id
                connection.execute(delete(table).where(is_its))


def sign_notice(raw: bytes) -> dict[str, str]:
    return {"x-nowpayments-sig": hmac.new(IPN_SECRET.encode(), raw, hashlib.sha512).hexdigest()}


async def test_notice__signed__has_the_payout_looked_at_and_changes_nothing(
    company: Company,
) -> None:
    raw = b'{"id":"5000000713","status":"finished"}'
    told = [
        await company.ask("POST", "payouts/ipn", content=raw, headers=sign_notice(raw))
        for _ in range(2)
    ]

    assert told == [{"ok": True}] * 2


@pytest.mark.parametrize(
    ("raw", "headers"),
    [
        (b'{"id":"1"}', {}),
        (b'{"id":"1"}', {"x-nowpayments-sig": "0" * 128}),
        (b'{"id":"2"}', sign_notice(b'{"id":"1"}')),
        (b"\xff", sign_notice(b"\xff")),
    ],
)
async def test_notice__forged__is_refused(
    company: Company, raw: bytes, headers: dict[str, str]
) -> None:
    await company.ask("POST", "payouts/ipn", content=raw, headers=headers, status=400)
