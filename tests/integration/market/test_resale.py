"""Unused quota of an API, sold by the call: one stand, an API that serves well or misbehaves.

::

    a call by key ── served, charged once, split 90/10; the credential goes to the API alone
    what is not sold ── 404, 405, 400: never sent
    the API fails ── nothing charged, the quota given back, the connection rests
    quota ── never oversold, the owner's own use counted, its last call sold once
    several owners ── cheapest first, the next one where it fails
    an idempotency key ── one charge, one answer
"""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from click.testing import CliRunner, Result
from sqlalchemy import delete, select, update
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ledger.audit import find_violations
from ledger.database.engine import read, write
from ledger.resale.connections import approve_name
from ledger.tables import ApiCall, ApiConnection, ApiConnectionKey, ApiPeriod, table_of
from scripts.cli import commands
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.market import (
    OUTSIDER,
    SELLER,
    RunningMarket,
    bearer,
    make_settings,
    run_market,
)
from tests.support.resale import (
    API_KEY,
    LATEST,
    RunningApi,
    connect,
    make_connection,
    run_api,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

PRICE_USDC = 150_000
_names = (f"api-{number}" for number in count())


class Stand:
    """A market that resells one API by a fresh connection for each test."""

    def __init__(self, market: RunningMarket, api: RunningApi, seller: str, buyer: str) -> None:
        self.market = market
        self.api = api
        self.seller = seller
        self.buyer = buyer
        self.connection: dict[str, Any] = {}

    async def connect(self, **changes: Any) -> dict[str, Any]:
        changes = {"name": next(_names), **changes}
        key = changes.pop("seller", self.seller)
        self.connection = await connect(self.market, key, self.api.url, **changes)
        return self.connection

    async def call(self, path: str = LATEST, **options: Any) -> Any:
        method = options.pop("method", "GET")
        headers = {**bearer(self.buyer), **options.pop("headers", {})}
        url = f"/x402/{options.pop('under', self.connection['sold_under'])}/{path}"
        return await self.market.client.request(method, url, headers=headers, **options)

    async def ask_owner(self, path: str = "", **options: Any) -> Any:
        url = f"/v1/seller/connections/{self.connection['id']}{path}"
        method = options.pop("method", "GET")
        return await self.market.client.request(method, url, headers=bearer(self.seller), **options)

    def calls(self) -> list[dict[str, Any]]:
        """Return the connection's calls, oldest first, after the ledger's own audit."""
        call = table_of(ApiCall)
        with read(self.market.engine) as connection:
            assert find_violations(connection) == []
            rows = connection.execute(
                select(call)
                .where(call.c.connection_id == self.connection["id"])
                .order_by(call.c.call_id)
            ).mappings()
            return [dict(row) for row in rows]

    def period(self) -> dict[str, Any]:
        period = table_of(ApiPeriod)
        with read(self.market.engine) as connection:
            rows = connection.execute(
                select(period).where(period.c.connection_id == self.connection["id"])
            ).mappings()
            (row,) = rows.all()
            return dict(row)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resale")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(folder: Path) -> AsyncIterator[Stand]:
    engine = make_ledger(folder / "ledger.sqlite3")
    settings = make_settings(folder, resale_bytes_max=10_000)
    async with run_api(calls=10**9) as api, run_market(settings, engine) as market:
        seller, buyer = await market.get_key(), await market.get_buyer_key()
        yield Stand(market, api, seller, buyer)
    engine.dispose()


@pytest.fixture
def stand(running: Stand) -> Stand:
    running.api.behave = None
    running.api.requests.clear()
    running.api.bodies.clear()
    with write(running.market.engine) as connection:
        # A seller has 50 connections at most: those of the tests before are gone.
        connection.execute(delete(table_of(ApiConnectionKey)))
        connection.execute(update(table_of(ApiConnection)).values(status="deleted"))
    return running


# ------------------------------------------------------------------------------------ a good call


async def test_call__by_key__is_served_charged_and_split(stand: Stand) -> None:
    await stand.connect(subscription_usd="500")

    answer = await stand.call(headers={"cookie": "a=b", "x-forwarded-for": "1.2.3.4"})

    assert (answer.status_code, answer.json()["number"]) == (200, 3)
    assert answer.headers["x-market-cost-usdc"] == "150000"
    assert answer.headers["cache-control"] == "no-store"
    assert "x-quota-remaining" not in answer.headers
    (call,) = stand.calls()
    assert (call["cost_usdc"], call["earning_usdc"], call["fee_usdc"]) == (150_000, 135_000, 15_000)
    sent = stand.api.requests[0].headers
    assert sent["x-api-key"] == API_KEY
    assert {"authorization", "cookie", "x-forwarded-for"} & set(sent.keys()) == set()
    assert (stand.period()["sold_units"], stand.period()["reserved_units"]) == (1, 0)
    shown = (await stand.ask_owner("/status")).json()
    assert (shown["sold"], shown["for_sale"], shown["left"]) == (1, 6_800, 6_799)
    assert (shown["revenue_usdc"], shown["your_share_usdc"], shown["fee_usdc"]) == (
        150_000,
        135_000,
        15_000,
    )
    assert shown["net_usdc"] == 135_000 - 500_000_000


async def test_earnings__of_calls_and_sales__are_one_list_page_by_page(stand: Stand) -> None:
    await stand.connect()
    seller = bearer(stand.seller)
    path = "/v1/seller/earnings"

    async def read_page(**params: str) -> dict[str, Any]:
        answer = await stand.market.client.get(path, headers=seller, params=params)
        page: dict[str, Any] = answer.json()
        return page

    before = (await read_page(limit="1000"))["totals"]
    await stand.call()
    async with FakeEndpoint() as endpoint:
        await stand.market.list_offer(stand.seller, endpoint.url)
        await stand.market.chat(stand.buyer)
    await stand.call()
    after = await read_page(limit="1000")
    ids = [one["sale_id"] for one in after["earnings"]]
    paged: list[str] = []
    cursor = ""
    for _ in ids:
        page = await read_page(limit="1", cursor=cursor)
        paged += [one["sale_id"] for one in page["earnings"]]
        cursor = page["next_cursor"]

    assert [one["kind"] for one in after["earnings"][-3:]] == ["api_call", "inference", "api_call"]
    call = after["earnings"][-1]
    assert (call["connection"], call["operation"]) == (
        stand.connection["name"],
        "GET /v1/blocks/latest",
    )
    assert (call["units"], call["cost_usdc"], call["earning_usdc"]) == (1, 150_000, 135_000)
    assert (call["model"], call["payout_state"]) == (None, "accrued")
    totals = after["totals"]
    assert totals["api_calls"] - before["api_calls"] == 2
    assert totals["requests"] - before["requests"] == 1
    sold_usdc = sum(one["earning_usdc"] for one in after["earnings"][-3:])
    assert totals["earning_usdc"] - before["earning_usdc"] == sold_usdc
    assert paged == ids == sorted(ids)
    table = await stand.market.client.get(f"{path}.csv", headers=seller)
    assert table.text.splitlines()[-1].startswith(f"api_call,{call['sale_id']},")


async def test_call__with_body__reaches_the_api_as_it_was(stand: Stand) -> None:
    await stand.connect()
    address = "0x" + "11" * 20

    answer = await stand.call(
        "v1/balances/search", method="POST", json={"addresses": [address, address]}
    )

    assert answer.status_code == 200, answer.text
    assert len(answer.json()["balances"]) == 2
    assert stand.api.requests[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("credential", "seen"),
    [
        ("bearer", f"Bearer {API_KEY}"),
        ("header: X-Token", API_KEY),
        ("query: token", API_KEY),
    ],
)
async def test_credential__each_way__goes_where_the_owner_says(
    stand: Stand, credential: str, seen: str
) -> None:
    await stand.connect(credential=credential)
    stand.api.answer_with(lambda: JSONResponse({}))

    # The devnet's API refuses a key that is sent another way: what it saw is looked at.
    await stand.call("v1/blocks/1?verbose=a%20b")

    assert stand.api.seen(credential) == seen


async def test_connection__approved_name__is_sold_under_it(stand: Stand) -> None:
    name = next(_names)
    with write(stand.market.engine) as connection:
        approve_name(connection, name=name, owner=SELLER.address.lower(), now_s=1)
    await stand.connect(name=name)

    assert stand.connection["sold_under"] == name
    assert (await stand.call()).status_code == 200
    listed = (await stand.market.client.get("/v1/apis")).json()["apis"]
    assert [one["owner"] for one in listed if one["sold_under"] == name] == [None]


# ------------------------------------------------------------------------------- what is not sold


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("v1/blocks", "GET", 404),
        ("v1/blocks/1/2", "GET", 404),
        ("v1/blocks/1", "POST", 405),
        ("v1/blocks/..%2fadmin", "GET", 400),
        ("v1/blocks/%2e%2e/admin", "GET", 400),
        ("v1//blocks/1", "GET", 400),
        ("v1/blocks/1;a=b", "GET", 400),
        ("v1/blocks/1%0d%0aX:%20y", "GET", 400),
        ("v1/blocks/%252e%252e", "GET", 400),
        ("v1\\blocks/1", "GET", 400),
    ],
)
async def test_path__not_sold_or_ambiguous__is_never_sent(
    stand: Stand, path: str, method: str, status: int
) -> None:
    await stand.connect()

    answer = await stand.call(path, method=method)

    assert answer.status_code == status, answer.text
    assert stand.api.requests == []
    assert stand.calls() == []


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'[{"addresses":[]},{"addresses":[]}]', "application/json"),
        (b'{"query":"{a{b} c{d}}"}', "application/json"),
        (b'{"a":1,"a":2}', "application/json"),
        (b"<x/>", "application/xml"),
        (b'[{"a":1}]', "text/plain"),
    ],
)
async def test_body__several_calls_in_one__is_never_sent(
    stand: Stand, content: bytes, kind: str
) -> None:
    await stand.connect()

    answer = await stand.call(
        "v1/balances/search", method="POST", content=content, headers={"content-type": kind}
    )

    assert answer.status_code in (400, 415), answer.text
    assert stand.api.requests == []


async def test_name__looks_like_a_known_api__is_refused(stand: Stand) -> None:
    body = {"name": "nanzen", "api_key": API_KEY, "monthly_quota": 10}
    for name in ("nansen-official", "arkharn", "kait0"):
        answer = await stand.market.client.post(
            "/v1/seller/connections", json={**body, "name": name}, headers=bearer(stand.seller)
        )
        assert answer.status_code == 400, (name, answer.text)
        assert answer.json()["error"]["param"] == "name"


@pytest.mark.parametrize(
    "payee",
    [
        # Mixed case, and one letter is not as EIP-55 has it.
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD".replace("Ef", "eF"),
        "0x" + "00" * 20,
        "0x1234",
        "vitalik.eth",
        5,
    ],
)
async def test_payout_address__with_a_slip__is_refused(stand: Stand, payee: Any) -> None:
    answer = await stand.market.client.post(
        "/v1/seller/connections",
        json=make_connection(stand.api.url, name="payees", payout_address=payee),
        headers=bearer(stand.seller),
    )

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == "payout_address"


# ------------------------------------------------------------------------------- the API misbehaves


@pytest.mark.parametrize("status", [500, 302, 429, 401, 402, 403])
async def test_call__api_fails__costs_nothing_and_the_quota_comes_back(
    stand: Stand, status: int
) -> None:
    await stand.connect()
    stand.api.answer_with(lambda: JSONResponse({"error": "no"}, status))

    answer = await stand.call()

    assert answer.status_code == 502, answer.text
    (call,) = stand.calls()
    assert (call["state"], call["status"], call["is_api_failure"]) == ("voided", status, True)
    assert (stand.period()["sold_units"], stand.period()["reserved_units"]) == (0, 0)


async def test_connection__refused_by_its_api__rests_and_is_not_asked(stand: Stand) -> None:
    await stand.connect()
    stand.api.answer_with(lambda: JSONResponse({}, 429, headers={"retry-after": "77"}))
    await stand.call()
    stand.api.behave = None

    answer = await stand.call()

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "api_resting")
    assert int(answer.headers["retry-after"]) > 60
    assert len(stand.api.requests) == 1
    assert (await stand.ask_owner("/test", method="POST")).json()["ok"] is True
    assert (await stand.call()).status_code == 200


async def test_call__api_says_not_found__is_passed_on_and_costs_nothing(stand: Stand) -> None:
    await stand.connect()

    answer = await stand.call("v1/blocks/9")

    assert (answer.status_code, answer.json()) == (404, {"error": "no such block"})
    assert answer.headers["x-market-cost-usdc"] == "0"
    assert stand.calls()[0]["void_reason"] == "status_404"


async def test_call__not_found_counts__is_charged_where_the_operation_says_so(stand: Stand) -> None:
    operation = {"method": "GET", "path": "/v1/blocks/{number}", "count_on": ["2xx", "404"]}
    await stand.connect(operations=[operation])

    answer = await stand.call("v1/blocks/9")

    assert (answer.status_code, answer.headers["x-market-cost-usdc"]) == (404, "150000")


async def test_call__credential_in_the_answer__is_withheld_and_goes_off_sale(stand: Stand) -> None:
    await stand.connect()
    stand.api.answer_with(lambda: Response(b"debug: " + API_KEY.encode()))

    answer = await stand.call()

    assert answer.status_code == 502
    assert API_KEY not in answer.text
    assert (await stand.call()).status_code == 404
    assert "credential" in (await stand.ask_owner()).json()["suspended_for"]
    enabled = await stand.ask_owner(method="PATCH", json={"status": "enabled"})
    assert enabled.json()["suspended_for"] is None


@pytest.mark.parametrize("how", ["long", "endless", "gzip", "set_cookie"])
async def test_answer__out_of_bounds__is_refused_or_stripped(stand: Stand, how: str) -> None:
    await stand.connect()

    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1_000
            await asyncio.sleep(0)

    answers = {
        "long": lambda: Response(b"x" * 10_001),
        "endless": lambda: StreamingResponse(drip()),
        "gzip": lambda: Response(b"\x1f\x8b", headers={"content-encoding": "gzip"}),
        "set_cookie": lambda: Response(
            b"{}", headers={"set-cookie": "a=b", "location": "/x", "x-ratelimit-remaining": "5"}
        ),
    }
    stand.api.answer_with(answers[how])

    answer = await stand.call()

    assert answer.status_code == (200 if how == "set_cookie" else 502)
    assert {"set-cookie", "location", "x-ratelimit-remaining"} & set(answer.headers) == set()


# ------------------------------------------------------------------------------------------- quota


async def test_quota__last_call_asked_for_by_many__is_sold_once(stand: Stand) -> None:
    await stand.connect(monthly_quota=3, reserved=0, buffer_pct=0, remaining_header=...)

    answers = await asyncio.gather(*(stand.call() for _ in range(8)))

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * 3 + [503] * 5
    sold_out = next(answer for answer in answers if answer.status_code == 503)
    assert sold_out.json()["error"]["code"] == "quota_sold"
    assert stand.period()["sold_units"] == 3


async def test_quota__owner_uses_more_than_the_reserve__less_is_for_sale(stand: Stand) -> None:
    await stand.connect(monthly_quota=100, reserved=30, buffer_pct=0)
    stand.api.answer_with(lambda: JSONResponse({}, headers={"x-quota-remaining": "50"}))

    await stand.call()

    # 50 are gone, one of them sold here: 49 by the owner, 19 more than the reserve.
    assert (stand.period()["own_units"], stand.period()["for_sale_units"]) == (49, 51)
    assert (await stand.ask_owner("/status")).json()["left"] == 50


async def test_quota__credits_stated_by_the_answer__are_counted_within_the_bound(
    stand: Stand,
) -> None:
    operation = {
        "method": "GET",
        "path": "/v1/blocks/latest",
        "units_from": "json: usage.credits",
        "units_max": 10,
    }
    await stand.connect(operations=[operation], unit="credits", price_usd="0.01")
    stand.api.answer_with(lambda: JSONResponse({"usage": {"credits": 4}}))

    answer = await stand.call()

    assert (answer.headers["x-market-units"], answer.headers["x-market-cost-usdc"]) == (
        "4",
        "40000",
    )
    stand.api.answer_with(lambda: JSONResponse({"usage": {"credits": 4_000}}))
    assert (await stand.call()).headers["x-market-cost-usdc"] == "100000"


async def test_quota__raised_or_given_back_elsewhere__is_sold_again(stand: Stand) -> None:
    await stand.connect(monthly_quota=1, reserved=0, buffer_pct=0, remaining_header=...)
    await stand.call()
    assert (await stand.call()).json()["error"]["code"] == "quota_sold"

    await stand.ask_owner(method="PATCH", json={"monthly_quota": 2})

    assert (await stand.call()).status_code == 200
    assert (await stand.call()).json()["error"]["code"] == "quota_sold"
    await stand.ask_owner(method="PATCH", json={"time_zone": "Asia/Tokyo"})
    assert (await stand.call()).json()["error"]["code"] == "quota_sold"
    with write(stand.market.engine) as connection:
        period = table_of(ApiPeriod)
        connection.execute(
            update(period)
            .where(period.c.connection_id == stand.connection["id"])
            .values(for_sale_units=3)
        )
    # Another process gave it back: the next look at the ledger sees it.
    await stand.ask_owner("/test", method="POST")
    assert (await stand.call()).status_code == 200


# ----------------------------------------------------------------------------------- several owners


async def test_product__cheapest_fails__the_next_owner_serves(stand: Stand) -> None:
    name = next(_names)
    other = await stand.market.get_key(OUTSIDER)
    with write(stand.market.engine) as connection:
        for owner in (SELLER, OUTSIDER):
            approve_name(connection, name=name, owner=owner.address.lower(), now_s=1)
    dear = await stand.connect(name=name, price_usd="0.2")
    cheap = await stand.connect(name=name, price_usd="0.1", seller=other)
    failed: list[str] = []

    async def fail_once(_: Request) -> Response | None:
        if failed:
            return None
        failed.append("once")
        return JSONResponse({}, 500)

    stand.api.behave = fail_once

    answer = await stand.call(under=name)

    assert (answer.status_code, answer.headers["x-market-cost-usdc"]) == (200, "200000")
    assert stand.calls()[0]["is_api_failure"] is True
    stand.connection = dear
    assert stand.calls()[0]["state"] == "posted"
    assert cheap["id"] != dear["id"]


async def test_product__one_owner_takes_no_parameters__the_other_serves(stand: Stand) -> None:
    name = next(_names)
    other = await stand.market.get_key(OUTSIDER)
    with write(stand.market.engine) as connection:
        for owner in (SELLER, OUTSIDER):
            approve_name(connection, name=name, owner=owner.address.lower(), now_s=1)
    strict = {"method": "GET", "path": f"/{LATEST}", "query": []}
    await stand.connect(name=name, price_usd="0.1", seller=other, operations=[strict])
    dear = await stand.connect(name=name, price_usd="0.2")

    answer = await stand.call(f"{LATEST}?verbose=1", under=name)

    assert (answer.status_code, answer.headers["x-market-cost-usdc"]) == (200, "200000")
    assert (await stand.call(under=name)).headers["x-market-cost-usdc"] == "100000"
    assert stand.connection == dear


async def test_product__cheapest_fails_and_credit_covers_no_other__is_a_failure(
    stand: Stand,
) -> None:
    name = next(_names)
    other = await stand.market.get_key(OUTSIDER)
    with write(stand.market.engine) as connection:
        for owner in (SELLER, OUTSIDER):
            approve_name(connection, name=name, owner=owner.address.lower(), now_s=1)
    await stand.connect(name=name, price_usd="10000")
    await stand.connect(name=name, price_usd="0.1", seller=other)
    stand.api.answer_with(lambda: JSONResponse({}, 500))

    answer = await stand.call(under=name)

    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "api_failed")


# ------------------------------------------------------------------------------------- idempotency


async def test_idempotency_key__again__is_one_charge_and_one_answer(stand: Stand) -> None:
    await stand.connect()
    key = {"idempotency-key": f"once-{stand.connection['id']}"}

    first, second = await stand.call(headers=key), await stand.call(headers=key)

    assert first.content == second.content
    assert second.headers["idempotent-replayed"] == "true"
    assert len(stand.calls()) == 1
    other = await stand.call("v1/blocks/1", headers=key)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")


async def test_idempotency_key__again_after_a_charged_404__is_the_same_404(stand: Stand) -> None:
    operation = {"method": "GET", "path": "/v1/blocks/{number}", "count_on": ["2xx", "404"]}
    await stand.connect(operations=[operation])
    key = {"idempotency-key": f"gone-{stand.connection['id']}"}

    answers = [await stand.call("v1/blocks/9", headers=key) for _ in range(2)]

    assert [one.status_code for one in answers] == [404, 404]
    assert len(stand.calls()) == 1


# ---------------------------------------------------------------------------------- owners


async def test_owner__new_address__needs_the_key_again(stand: Stand) -> None:
    await stand.connect()

    refused = await stand.ask_owner(method="PATCH", json={"base_url": "http://127.0.0.1:9"})

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "api_key")
    changed = await stand.ask_owner(method="PATCH", json={"price_usd": "0.07"})
    assert changed.json()["price_usdc"] == 70_000
    assert (await stand.call()).headers["x-market-cost-usdc"] == "70000"


async def test_owner__disables_and_deletes__nothing_is_sold_and_the_log_stays(stand: Stand) -> None:
    await stand.connect()
    await stand.call()

    await stand.ask_owner(method="PATCH", json={"status": "disabled"})

    assert (await stand.call()).status_code == 404
    page = (await stand.ask_owner("/calls")).json()
    assert [call["operation"] for call in page["calls"]] == ["GET /v1/blocks/latest"]
    table = (await stand.ask_owner("/calls.csv")).text
    assert table.startswith("call_id,")
    assert (await stand.ask_owner(method="DELETE")).json()["deleted"] is True
    assert (await stand.ask_owner()).status_code == 404


async def test_command__file_status_test_and_disable__do_what_they_say(
    stand: Stand, tmp_path: Path
) -> None:
    name = next(_names)
    (tmp_path / "key").write_text(stand.seller)
    (tmp_path / "apis.yaml").write_text(
        "api_connections:\n"
        f"  - name: {name}\n"
        f'    api_key: "{API_KEY}"\n'
        f"    base_url: {stand.api.url}\n"
        "    credential: 'header: x-api-key'\n"
        "    operations: [GET /v1/blocks/latest]\n"
        "    monthly_quota: 10000\n"
        "    reserved: 3000  # Keep for yourself\n"
        "    markup: 3x\n"
        "    subscription_usd: 500\n"
        "  - name: kaito\n"
        f'    api_key: "{API_KEY}"\n'
        "    monthly_quota: 5000\n"
    )
    options = [
        *("--market-url", str(stand.market.client.base_url).rstrip("/")),
        *("--key-file", str(tmp_path / "key")),
    ]

    async def run(*words: str) -> Result:
        arguments = ["marketplace", "api", *words, *options]
        return await asyncio.to_thread(CliRunner(mix_stderr=False).invoke, commands, arguments)

    enabled = await run("enable", str(tmp_path / "apis.yaml"))
    shown = await run("status")
    tried = await run("test", name)
    disabled = await run("disable", name)
    again = await run("enable", str(tmp_path / "apis.yaml"))

    # Kaito's address is not known: it is asked for, and the other entry is on sale all the same.
    assert (enabled.exit_code, "has to be said" in enabled.stderr) == (1, True)
    assert f"{name}: enabled, calls at " in enabled.stdout
    assert (shown.exit_code, f"{name}  enabled" in shown.stdout) == (0, True)
    assert (tried.exit_code, "answered 200" in tried.stdout) == (0, True)
    assert f"{name}: disabled" in disabled.stdout
    assert f"{name}: enabled" in again.stdout
    assert API_KEY not in "".join(one.stdout + one.stderr for one in (enabled, shown, tried, again))


async def test_owner__changes_that_cross__are_all_kept(stand: Stand) -> None:
    await stand.connect()
    changes = [{"price_usd": "0.07"}, {"reserved": 7}, {"description": "of blocks"}]

    answers = await asyncio.gather(
        *(stand.ask_owner(method="PATCH", json=change) for change in changes)
    )

    assert [one.status_code for one in answers] == [200, 200, 200]
    shown = (await stand.ask_owner("/status")).json()
    listed = (await stand.market.client.get("/v1/apis")).json()["apis"]
    (sold,) = [one for one in listed if one["sold_under"] == stand.connection["sold_under"]]
    assert (shown["reserved"], sold["description"]) == (7, "of blocks")
    assert sold["operations"][0]["price_usdc"] == 70_000


async def test_trial__credential_in_the_answer__goes_off_sale_too(stand: Stand) -> None:
    await stand.connect()
    stand.api.answer_with(lambda: Response(API_KEY.encode()))

    tried = await stand.ask_owner("/test", method="POST")

    assert tried.json()["error"] == "credential_leaked"
    assert "credential" in (await stand.ask_owner()).json()["suspended_for"]
    assert (await stand.call()).status_code == 404


async def test_trial__says_what_remains__is_learned(stand: Stand) -> None:
    await stand.connect(monthly_quota=100, reserved=0, buffer_pct=0)
    stand.api.answer_with(lambda: JSONResponse({}, headers={"x-quota-remaining": "3"}))
    await stand.call()
    stand.api.answer_with(lambda: JSONResponse({}, headers={"x-quota-remaining": "99"}))

    await stand.ask_owner("/test", method="POST")

    assert (await stand.ask_owner("/status")).json()["left"] == 99


async def test_cached_answer__of_fewer_units_than_the_bound__costs_what_it_took(
    stand: Stand,
) -> None:
    operation = {
        "method": "GET",
        "path": "/v1/blocks/latest",
        "units_from": "json: used",
        "units_max": 10,
        "cache_s": 60,
    }
    await stand.connect(operations=[operation], unit="credits", price_usd="0.01")
    stand.api.answer_with(lambda: JSONResponse({"used": 4}))

    answers = [await stand.call() for _ in range(2)]

    assert [one.headers["x-market-cost-usdc"] for one in answers] == ["40000", "40000"]
    assert len(stand.api.requests) == 1


async def test_consumer__above_its_limit__hears_when_to_come_again(stand: Stand) -> None:
    await stand.connect(consumer_per_minute=1)

    first, second = await stand.call(), await stand.call()

    assert (first.status_code, second.status_code) == (200, 429)
    assert 1 <= int(second.headers["retry-after"]) <= 60
