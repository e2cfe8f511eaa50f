"""Every operation of suppliers and their reviewers, each called once so that it succeeds."""

from typing import Any

import pyotp

from ledger.database.engine import write
from market.suppliers.reviewing import grant
from tests.support.kyb import ENTITY, KINDS, OWNER, SOURCE, send_document
from tests.support.mailbox import Mailbox, link_of
from tests.support.market import RunningMarket
from tests.support.suppliers import EMAIL, PASSWORD, Browser, join, token_of

NEW_PASSWORD = "seven quiet herons dive"


async def call_suppliers(market: RunningMarket, mailbox: Mailbox) -> dict[str, str]:
    """Call everything; return the headers of an operator's session that goes on."""
    supplier = await join(market, mailbox)
    await _ok(supplier, "GET", "/v1/supply/applications/verify?token=x")
    await _call_account(supplier, mailbox)
    await _call_filing(supplier)
    operator = await join(market, mailbox, email="operator@market.example")
    with write(market.engine) as connection:
        grant(connection, email=operator.email, role="operator", actor="command line", now_s=1)
    await _call_reviews(operator)
    await _ok(supplier, "DELETE", "/v1/supply/sessions")
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
