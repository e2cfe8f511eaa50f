"""From an application to a session, over HTTP with a real mail server.

::

    apply      the same answer whether known or not; one mail an hour; bad fields
    confirm    looking uses nothing up; once; guessed; late; by the form: redirected
    account    only in the browser that confirmed; weak passwords
    sign in    same answer for unknown and wrong; floods; codes, each once; rotation
    sessions   listed, ended; other sites' pages; without the token
    reset      once; all sessions end
    keys       scopes; revoked; a session is needed to make one
"""

from collections.abc import AsyncIterator
from email.message import EmailMessage
from urllib.parse import quote

import pyotp
import pytest
import pytest_asyncio
from sqlalchemy import select, update

from ledger.database.engine import read, write
from ledger.tables import (
    OutboxMail,
    SupplierKey,
    SupplierSession,
    SupplierThrottle,
    SupplierToken,
    table_of,
)
from tests.support.mailbox import Mailbox, link_of, text_of
from tests.support.mailing_market import run_mailing_market
from tests.support.market import PUBLIC_URL, RunningMarket, bearer
from tests.support.suppliers import PASSWORD, Browser, join, token_of
from tests.support.waiting import until

CONFIRM = "Confirm your e-mail address"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mailbox() -> AsyncIterator[Mailbox]:
    async with Mailbox() as mailbox:
        yield mailbox


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def market(
    tmp_path_factory: pytest.TempPathFactory, mailbox: Mailbox
) -> AsyncIterator[RunningMarket]:
    """One market for all tests: each has an address of its own."""
    folder = tmp_path_factory.mktemp("suppliers")
    async with run_mailing_market(folder, mailbox) as running:
        yield running


@pytest.fixture
def email(request: pytest.FixtureRequest) -> str:
    """An address that no other test has."""
    name = request.node.name.partition("[")[0].replace("_", "-")[:60]
    return f"{name}@compute.example"


@pytest.fixture
def browser(market: RunningMarket, email: str) -> Browser:
    return Browser(market, email)


def forget_throttles(market: RunningMarket) -> None:
    """An hour passes for who asks too often."""
    with write(market.engine) as connection:
        connection.execute(table_of(SupplierThrottle).delete())


async def apply_and_get_token(browser: Browser, mailbox: Mailbox) -> str:
    await browser.apply()
    return token_of(link_of(await mailbox.wait_for(CONFIRM, to=browser.email)))


async def test_apply__address_known_or_not__same_answer_another_mail(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    unknown = await Browser(market, email).apply()
    twice = await Browser(market, email).apply()
    await mailbox.wait_for(CONFIRM, to=email)
    forget_throttles(market)
    await join(market, mailbox, email=email)
    forget_throttles(market)
    known = await Browser(market, email).apply()
    await mailbox.wait_for("You have an account already", to=email)

    assert unknown.status_code == twice.status_code == known.status_code == 202
    assert unknown.content == twice.content == known.content
    assert [mail["Subject"] for mail in mailbox.mails if mail["To"] == email] == [
        CONFIRM,
        CONFIRM,
        "You have an account already",
    ]


async def test_confirm__looked_at_and_used__works_once(
    mailbox: Mailbox, browser: Browser, email: str
) -> None:
    token = await apply_and_get_token(browser, mailbox)
    path = f"/v1/supply/applications/verify?token={token}"
    for _ in range(3):
        page = await browser.get(path)
        assert page.status_code == 200
        assert token in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]

    form = {"content": f"token={token}", "headers": {"content-type": FORM}}
    redirected = await browser.ask("POST", "/v1/supply/applications/verify", **form)
    again = await browser.ask("POST", "/v1/supply/applications/verify", **form)

    assert redirected.status_code == 303
    assert redirected.headers["location"] == (
        f"/login.html?signup=1&supplier=1&prefill_email={quote(email, safe='')}"
    )
    assert (again.status_code, again.json()["error"]["code"]) == (400, "token_invalid")


FORM = "application/x-www-form-urlencoded"


async def test_confirm__late_or_guessed__refused(
    market: RunningMarket, mailbox: Mailbox, browser: Browser, email: str
) -> None:
    token = await apply_and_get_token(browser, mailbox)
    stored = table_of(SupplierToken)
    with write(market.engine) as connection:
        row = connection.execute(select(stored).where(stored.c.email == email)).mappings().one()
        lives_s = row["expires_at_s"] - row["created_at_s"]
        is_it = stored.c.email == email
        connection.execute(update(stored).where(is_it).values(expires_at_s=row["created_at_s"] - 1))

    assert lives_s == 48 * 3_600
    assert token not in str(dict(row))
    for text in (token, "A" * 43, "", "x"):
        answer = await browser.post("/v1/supply/applications/verify", {"token": text})
        assert answer.status_code == 400


async def test_page_of_confirmation__token_with_markup__is_no_markup(browser: Browser) -> None:
    page = await browser.get("/v1/supply/applications/verify?token=%22%3E%3Cscript%3E")

    assert "<script>" not in page.text


async def test_account__in_another_browser_than_confirmed__refused(
    market: RunningMarket, mailbox: Mailbox, browser: Browser, email: str
) -> None:
    token = await apply_and_get_token(browser, mailbox)
    await browser.post("/v1/supply/applications/verify", {"token": token})

    elsewhere = await Browser(market, email).post("/v1/supply/accounts", {"password": PASSWORD})
    weak = await browser.post("/v1/supply/accounts", {"password": "short"})
    plain = await browser.post("/v1/supply/accounts", {"password": "aaaaaaaaaaaaaaaa"})
    opened = await browser.post("/v1/supply/accounts", {"password": PASSWORD})
    again = await browser.post("/v1/supply/accounts", {"password": PASSWORD})

    assert (elsewhere.status_code, elsewhere.json()["error"]["code"]) == (401, "not_verified")
    assert {weak.json()["error"]["code"], plain.json()["error"]["code"]} == {"weak_password"}
    assert opened.status_code == 201
    assert again.status_code == 401


async def test_sign_in__unknown_address_or_wrong_password__same_answer(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    await join(market, mailbox, email=email)

    wrong = await Browser(market, email).sign_in(password="not the password")
    unknown = await Browser(market, "nobody@compute.example").sign_in()

    assert wrong.status_code == unknown.status_code == 401
    assert wrong.content == unknown.content
    assert "set-cookie" not in wrong.headers


async def test_sign_in__flood__slows_down_for_one_account_and_not_the_next(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    await join(market, mailbox, email=email)

    codes = [
        (await Browser(market, email).sign_in(password=f"guess {n}")).status_code for n in range(12)
    ]
    other = await Browser(market, "other@compute.example").sign_in()

    assert codes.count(401) == 10
    assert codes[10:] == [429, 429]
    assert other.status_code == 401


async def test_session__cookie__is_kept_from_scripts_other_hosts_and_the_ledger(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    browser = await join(market, mailbox, email=email)
    before = dict(browser.cookies)
    again = await browser.sign_in()
    line = again.headers["set-cookie"]
    token = browser.cookies["__Host-supplier_session"]

    assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} <= {
        part.strip() for part in line.split(";")
    }
    assert "domain" not in line.lower()
    with read(market.engine) as connection:
        rows = connection.execute(select(table_of(SupplierSession))).mappings().all()
    assert token not in str([dict(row) for row in rows])
    old = Browser(market, email)
    old.cookies = before
    assert (await old.get("/v1/supply/account")).status_code == 401


async def test_session__other_sites_page_or_no_token__changes_nothing(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    browser = await join(market, mailbox, email=email)
    csrf_token, browser.csrf_token = browser.csrf_token, None
    without = await browser.post("/v1/supply/keys", {"scopes": ["offers:read"]})
    browser.csrf_token = csrf_token
    evil = {"origin": "https://evil.example"}
    other = await browser.post("/v1/supply/keys", {"scopes": ["offers:read"]}, headers=evil)
    null = await browser.post("/v1/supply/keys", {}, headers={"origin": "null"})
    cross = {"sec-fetch-site": "cross-site"}
    fetched = await browser.post("/v1/supply/keys", {}, headers=cross)
    signed_in = await browser.post(
        "/v1/supply/sessions", {"email": email, "password": PASSWORD}, headers=evil
    )
    own = await browser.post(
        "/v1/supply/keys", {"scopes": ["offers:read"]}, headers={"origin": PUBLIC_URL}
    )

    assert without.json()["error"]["code"] == "csrf_token_missing"
    assert {one.json()["error"]["code"] for one in (other, null, fetched, signed_in)} == {
        "wrong_origin"
    }
    assert own.status_code == 201


async def test_sessions__listed_and_ended__work_no_more(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    first = await join(market, mailbox, email=email)
    second = Browser(market, email)
    await second.sign_in()
    listed = (await first.get("/v1/supply/sessions")).json()
    assert listed["csrf_token"] == first.csrf_token
    (other,) = [one for one in listed["sessions"] if not one["is_current"]]

    assert (await first.delete(f"/v1/supply/sessions/{other['session_id']}")).status_code == 200
    assert (await second.get("/v1/supply/account")).status_code == 401
    assert (await first.delete(f"/v1/supply/sessions/{other['session_id']}")).status_code == 404
    kept = dict(first.cookies)
    assert (await first.delete("/v1/supply/sessions")).status_code == 200
    assert "__Host-supplier_session" not in first.cookies
    first.cookies = kept
    assert (await first.get("/v1/supply/account")).status_code == 401


async def test_reset__by_mail__once_and_ends_all_sessions(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    signed_in = await join(market, mailbox, email=email)
    stranger = Browser(market, email)
    known = await stranger.post("/v1/supply/password-resets", {"email": email})
    unknown = await stranger.post("/v1/supply/password-resets", {"email": "x@y.example"})
    assert known.content == unknown.content
    mail = await mailbox.wait_for("Choose another password", to=email)
    assert "#token=" in text_of(mail), "what follows # is in no log and no Referer"
    body = {"token": token_of(link_of(mail)), "password": "another five otters"}

    weak = await stranger.post("/v1/supply/password-resets/confirm", {**body, "password": "otters"})
    done = await stranger.post("/v1/supply/password-resets/confirm", body)
    again = await stranger.post("/v1/supply/password-resets/confirm", body)

    assert [weak.status_code, done.status_code, again.status_code] == [400, 200, 400]
    assert (await signed_in.get("/v1/supply/account")).status_code == 401
    assert (await stranger.sign_in()).status_code == 401
    assert (await stranger.sign_in(password="another five otters")).status_code == 201
    await mailbox.wait_for("Your password was changed", to=email)


async def test_codes__on__asked_for_and_each_counts_once(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    browser = await join(market, mailbox, email=email)
    begun = (await browser.post("/v1/supply/codes")).json()
    app = pyotp.TOTP(begun["secret"])
    now_s = market.front.app.state.services.database.now_s()
    code = app.at(now_s - 30)
    wrong = await browser.post("/v1/supply/codes/confirm", {"code": "000000"})
    confirmed = await browser.post("/v1/supply/codes/confirm", {"code": code})
    other = Browser(market, email)
    without = await other.sign_in()
    used = await other.sign_in(code=code)
    right = await other.sign_in(code=app.at(now_s + 30))

    assert wrong.status_code == 401
    assert confirmed.json() == {"has_codes": True}
    assert without.json()["error"]["code"] == "code_needed"
    assert used.json()["error"]["code"] == "code_wrong"
    assert right.status_code == 201
    assert (await other.delete("/v1/supply/codes")).json() == {"has_codes": False}


async def test_keys__scopes__hold_and_end_with_the_key(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    browser = await join(market, mailbox, email=email)
    wish = {"label": "lister", "scopes": ["offers:read", "offers:write"]}
    issued = (await browser.post("/v1/supply/keys", wish)).json()
    key = bearer(issued["api_key"])
    assert issued["api_key"].startswith("si_supply_")
    with read(market.engine) as connection:
        rows = connection.execute(select(table_of(SupplierKey))).mappings().all()
    assert issued["api_key"] not in str([dict(row) for row in rows])

    program = Browser(market, email)
    for path in ("/v1/supply/account", "/v1/supply/keys", "/v1/supply/sessions"):
        refused = await program.get(path, headers=key)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "session_needed")
    none = await browser.post("/v1/supply/keys", {"scopes": []})
    all_of_it = await browser.post("/v1/supply/keys", {"scopes": ["everything"]})
    assert (none.status_code, all_of_it.status_code) == (400, 400)
    path = f"/v1/supply/keys/{issued['key_id']}"
    assert (await browser.delete(path)).json() == {"key_id": issued["key_id"], "revoked": True}
    assert (await program.get("/v1/supply/keys", headers=key)).status_code == 401


async def test_mail__server_away_then_back__arrives(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    await mailbox.stop()
    await Browser(market, email).apply()
    mailer = market.front.app.state.services.suppliers.mailer
    await until(lambda: mailer.refused or None, "a try that failed")
    await mailbox.start()
    with write(market.engine) as connection:
        connection.execute(update(table_of(OutboxMail)).values(due_at_s=0))

    await mailbox.wait_for(CONFIRM, to=email)


async def test_mail__whose_note_was_lost__comes_twice_as_one_and_either_link_works_once(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    browser = Browser(market, email)
    await browser.apply()
    await mailbox.wait_for(CONFIRM, to=email)

    def mails() -> list[EmailMessage]:
        return [mail for mail in mailbox.mails if mail["To"] == email]

    table = table_of(OutboxMail)
    is_it = table.c.to_address == email

    def is_noted() -> bool:
        with read(market.engine) as connection:
            state = connection.execute(select(table.c.state).where(is_it)).scalar_one()
        return bool(state == "sent")

    await until(is_noted, "the mail is noted as sent")
    with write(market.engine) as connection:
        # The process died between the server's "yes" and its note of it.
        connection.execute(update(table).where(is_it).values(state="waiting", due_at_s=0))
    await until(lambda: len(mails()) == 2 or None, "the mail comes again")

    first, second = mails()
    assert first["Message-ID"] == second["Message-ID"]
    codes = [
        (await browser.post("/v1/supply/applications/verify", {"token": token})).status_code
        for token in (token_of(link_of(first)), token_of(link_of(second)))
    ]
    assert codes == [200, 400]


async def test_mail__recipient_refused__is_given_up(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    mailbox.refuses_to.add(email)
    await Browser(market, email).apply()

    def find() -> str | None:
        with read(market.engine) as connection:
            mail = table_of(OutboxMail)
            row = (
                connection.execute(select(mail).where(mail.c.to_address == email)).mappings().one()
            )
        return f"{row['state']} {row['error']}" if row["state"] != "waiting" else None

    assert await until(find, "the mail is given up") == "failed recipient_550"
