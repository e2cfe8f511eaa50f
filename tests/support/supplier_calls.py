"""Every operation of suppliers and their reviewers, each called once so that it succeeds."""

from typing import Any

import pyotp
from sqlalchemy import select, update

from ledger.database.engine import read, write
from ledger.suppliers.accounts import find_supplier, set_kyb_status
from ledger.tables import SupplyOffer, table_of
from market.suppliers.nowpayments_ipn import sign
from market.suppliers.reviewing import grant
from tests.support.answers import MODEL, PROVIDER_KEY
from tests.support.kyb import ENTITY, KINDS, OWNER, SOURCE, send_document
from tests.support.mailbox import Mailbox, link_of
from tests.support.market import RunningMarket
from tests.support.suppliers import EMAIL, PASSWORD, Browser, join, token_of
from tests.support.supply import ADDRESS
from tests.support.waiting import until

NEW_PASSWORD = "seven quiet herons dive"
IPN_SECRET = "signs notices"


async def call_suppliers(
    market: RunningMarket, mailbox: Mailbox, endpoint_url: str
) -> dict[str, str]:
    """Call everything; return the headers of an operator's session that goes on.

    ``endpoint_url``: where a provider of the offers is.
    """
    supplier = await join(market, mailbox)
    await _ok(supplier, "GET", "/v1/supply/applications/verify?token=x")
    await _call_account(supplier, mailbox)
    await _call_filing(supplier)
    operator = await join(market, mailbox, email="operator@market.example")
    with write(market.engine) as connection:
        grant(connection, email=operator.email, role="operator", actor="command line", now_s=1)
    await _call_reviews(operator)
    await _call_offers(market, supplier, endpoint_url)
    await _call_pay(market, supplier)
    await _ok(supplier, "DELETE", "/v1/supply/sessions")
    await _call_undoing(supplier, mailbox)
    cookies = "; ".join(f"{name}={value}" for name, value in operator.cookies.items())
    return {"cookie": cookies, "x-csrf-token": operator.csrf_token or ""}


async def _ok(browser: Browser, method: str, path: str, body: Any = None) -> Any:
    options = {} if body is None else {"json": body}
    answer = await browser.ask(method, path, **options)
    assert answer.is_success, f"{method} {path}: {answer.text}"
    return answer.json() if answer.headers["content-type"] == "application/json" else answer


async def _call_account(supplier: Browser, mailbox: Mailbox) -> None:
    await _ok(supplier, "GET", "/v1/supply/account")
    await _ok(supplier, "POST", "/v1/supply/sessions/confirm", {"password": PASSWORD})
    secret = (await _ok(supplier, "POST", "/v1/supply/codes"))["secret"]
    await _ok(supplier, "POST", "/v1/supply/codes/confirm", {"code": pyotp.TOTP(secret).now()})
    await _ok(supplier, "DELETE", "/v1/supply/codes")
    changed = {"password": PASSWORD, "new_password": NEW_PASSWORD}
    await _ok(supplier, "PUT", "/v1/supply/password", changed)
    await _ok(supplier, "POST", "/v1/supply/password-resets", {"email": EMAIL})
    link = link_of(await mailbox.wait_for("Choose another password", to=EMAIL))
    reset = {"token": token_of(link), "password": PASSWORD}
    await _ok(supplier, "POST", "/v1/supply/password-resets/confirm", reset)
    await supplier.sign_in()
    other = Browser(supplier.market)
    await other.sign_in()
    listed = (await _ok(supplier, "GET", "/v1/supply/sessions"))["sessions"]
    (ended,) = [one["session_id"] for one in listed if not one["is_current"]]
    await _ok(supplier, "DELETE", f"/v1/supply/sessions/{ended}")
    wish = {"label": "lister", "scopes": ["offers:read", "offers:write"]}
    key_id = (await _ok(supplier, "POST", "/v1/supply/keys", wish))["key_id"]
    await _ok(supplier, "GET", "/v1/supply/keys")
    await _ok(supplier, "DELETE", f"/v1/supply/keys/{key_id}")


async def _call_filing(supplier: Browser) -> None:
    await _ok(supplier, "GET", "/v1/supply/kyb")
    await _ok(supplier, "PUT", "/v1/supply/kyb/entity", {"version": 0, "content": ENTITY})
    await _ok(supplier, "PUT", "/v1/supply/kyb/owners", {"version": 0, "content": [OWNER]})
    await _ok(supplier, "PUT", "/v1/supply/kyb/source", {"version": 0, "content": SOURCE})
    await _ok(supplier, "PUT", "/v1/supply/kyb", {"entity": {"version": 1, "content": ENTITY}})
    await _ok(supplier, "GET", "/v1/supply/kyb/requirements")
    for kind in (*KINDS, "business_history"):
        sent = await send_document(supplier, kind=kind)
        assert sent.status_code == 201, sent.text
    await _ok(supplier, "DELETE", f"/v1/supply/kyb/documents/{sent.json()['document_id']}")
    await _ok(supplier, "POST", "/v1/supply/kyb/submit")


async def _call_reviews(operator: Browser) -> None:
    queue = await _ok(operator, "GET", "/v1/review/applications")
    path = f"/v1/review/applications/{queue['applications'][0]['supplier_id']}"
    (version,) = (await _ok(operator, "GET", path))["versions"]
    await _ok(operator, "GET", f"{path}/documents/{version['documents'][0]['document_id']}")
    item = {"requirement": "documents.bank_proof", "text": "Not readable.", "inside": ""}
    wish = {"version": 1, "decision": "revise", "items": [item], "note": "asked by mail"}
    await _ok(operator, "POST", f"{path}/decisions", wish)
    await _ok(operator, "GET", "/v1/review/audit")
    await _ok(operator, "GET", "/v1/operator/overview")
    await _ok(operator, "GET", "/v1/operator/audit")


async def _call_offers(market: RunningMarket, supplier: Browser, endpoint_url: str) -> None:
    with read(market.engine) as connection:
        found = find_supplier(connection, supplier.email)
    assert found is not None
    with write(market.engine) as connection:
        set_kyb_status(connection, found.supplier_id, "approved", change_id="approved", now_s=1)
    wish = {
        "provider_type": "openai_compatible",
        "api_key": PROVIDER_KEY,
        "base_url": endpoint_url,
        "model_list": [MODEL],
        "bid_price_per_1m_usdt": "0.15",
        "rate_limit_rpm": 1_000,
        "quota_total": 1_000_000_000,
    }
    path, table = "/v1/supply/offers", table_of(SupplyOffer)
    one = f"{path}/{(await _ok(supplier, 'POST', path, wish))['id']}"

    def is_probed() -> bool:
        # Not by HTTP: the document shows what an operation answers first.
        with read(market.engine) as connection:
            return connection.execute(select(table.c.probed_at_s)).scalar_one() not in (None, 1)

    await until(is_probed, "the offer is probed")
    await _ok(supplier, "GET", one)
    await _ok(supplier, "GET", path)
    await _ok(supplier, "PATCH", one, {"bid_price_per_1m_usdt": "0.14"})
    await _ok(supplier, "POST", f"{one}/pause")
    await _ok(supplier, "POST", f"{one}/resume")
    with write(market.engine) as connection:
        connection.execute(update(table).values(probed_at_s=1))
    await _ok(supplier, "POST", f"{one}/probe")
    await until(is_probed, "the offer is probed")
    await _ok(supplier, "DELETE", one)


async def _call_undoing(supplier: Browser, mailbox: Mailbox) -> None:
    token = token_of(link_of(await mailbox.wait_for("Payout address for base", to=EMAIL)))
    await _ok(supplier, "GET", f"/v1/supply/undo?token={token}")
    await _ok(supplier, "POST", "/v1/supply/undo", {"token": token})


async def _call_pay(market: RunningMarket, supplier: Browser) -> None:
    await _ok(supplier, "POST", "/v1/supply/sessions/confirm", {"password": PASSWORD})
    wish = {"network": "base", "confirm_network": "base", "address": ADDRESS}
    await _ok(supplier, "PUT", "/v1/supply/payout-addresses", wish)
    other = {"network": "bep20", "confirm_network": "bep20", "address": ADDRESS}
    await _ok(supplier, "PUT", "/v1/supply/payout-addresses", other)
    await _ok(supplier, "DELETE", "/v1/supply/payout-addresses/bep20")
    for name in ("payout-addresses", "payouts", "payouts.csv", "usage", "usage.csv", "overview"):
        await _ok(supplier, "GET", f"/v1/supply/{name}")
    raw = b'{"id":"5000000713","status":"finished"}'
    headers = {"x-nowpayments-sig": sign(raw, IPN_SECRET)}
    noticed = await market.client.post("/v1/supply/payouts/ipn", content=raw, headers=headers)
    assert noticed.is_success, noticed.text
