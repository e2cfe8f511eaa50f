"""Somebody else has a supplier's password: what the owner can stop, and that nothing shuts it out.

::

    codes switched on lately ──► stay, whichever mail's link is used: the mailbox opens nothing
    address saved by a stranger ──► the owner undoes it by the mail, without signing in
        its own address, saved again ──► the stranger's never counts, not even for a while
    password and one-time codes changed ──► one link ends sessions and keys; a mail chooses a
        password; an operator takes a thief's codes off
    the link: looking changes nothing; once; late; nobody else's
    a flood of wrong sign-ins ──► its own browser gets in, and any other after a reset
"""

from collections.abc import AsyncIterator

import pyotp
import pytest
import pytest_asyncio
from sqlalchemy import select, update

from ledger.database.engine import read, write
from ledger.suppliers.accounts import find_supplier, load_credentials
from ledger.suppliers.reviews import load_audit
from ledger.tables import SupplierToken, SupplyAddress, table_of
from market.reviewer import ReviewRefused, take_codes_off
from market.suppliers.tries import ACCOUNT, BROWSER
from tests.support.mailbox import Mailbox, link_of, text_of
from tests.support.mailing_market import run_mailing_market
from tests.support.market import RunningMarket
from tests.support.suppliers import PASSWORD, Browser, join, token_of
from tests.support.supply import ADDRESS

pytestmark = pytest.mark.asyncio(loop_scope="module")

THIEF = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"
THIEFS_PASSWORD = "nine loud magpies sit"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mailbox() -> AsyncIterator[Mailbox]:
    async with Mailbox() as mailbox:
        yield mailbox


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def market(
    tmp_path_factory: pytest.TempPathFactory, mailbox: Mailbox
) -> AsyncIterator[RunningMarket]:
    """One market for all tests: each has an address of its own."""
    folder = tmp_path_factory.mktemp("stolen")
    async with run_mailing_market(folder, mailbox) as running:
        yield running


@pytest.fixture
def email(request: pytest.FixtureRequest) -> str:
    """An address that no other test has."""
    return f"{request.node.name.replace('_', '-')[:60]}@compute.example"


async def save_address(browser: Browser, address: str, network: str = "base") -> None:
    wish = {"network": network, "confirm_network": network, "address": address}
    saved = await browser.put("/v1/supply/payout-addresses", wish)
    assert saved.status_code == 200, saved.text


def find_id(market: RunningMarket, email: str) -> str:
    with read(market.engine) as connection:
        found = find_supplier(connection, email)
    assert found is not None
    return found.supplier_id


async def list_networks(browser: Browser) -> dict[str, tuple[str | None, str | None, bool]]:
    """Return what counts now, what counts later and whether it is preferred, by network."""
    listed = (await browser.get("/v1/supply/payout-addresses")).json()["networks"]
    return {
        one["network"]: (one["address"], one["pending_address"], one["is_preferred"])
        for one in listed
        if one["address"] or one["pending_address"] or one["is_preferred"]
    }


def let_addresses_count(market: RunningMarket) -> None:
    """Two days pass for what is not cancelled."""
    table = table_of(SupplyAddress)
    with write(market.engine) as connection:
        connection.execute(update(table).values(counts_from_s=table.c.saved_at_s))


async def test_address__saved_by_a_thief_who_shut_the_owner_out__is_stopped_by_the_mail(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    owner = await join(market, mailbox, email=email)
    await save_address(owner, ADDRESS)
    let_addresses_count(market)
    thief = Browser(market, email)
    await thief.sign_in()
    changed = {"password": PASSWORD, "new_password": THIEFS_PASSWORD}
    assert (await thief.ask("PUT", "/v1/supply/password", json=changed)).status_code == 200
    begun = (await thief.post("/v1/supply/codes")).json()
    code = pyotp.TOTP(begun["secret"]).now()
    assert (await thief.post("/v1/supply/codes/confirm", {"code": code})).status_code == 200
    key = (await thief.post("/v1/supply/keys", {"scopes": ["offers:write"]})).json()
    await save_address(thief, THIEF, "bep20")
    assert (await owner.sign_in()).status_code == 401

    mail = await mailbox.wait_for("Payout address for bep20", to=email)
    assert "POST" in text_of(mail) and "/v1/supply/undo" in text_of(mail)
    stranger, token = Browser(market, email), token_of(link_of(mail))
    page = await stranger.get(f"/v1/supply/undo?token={token}")
    assert "Stop it" in page.text
    assert len(await list_networks(thief)) == 2, "looking changes nothing"
    undone = await stranger.post("/v1/supply/undo", {"token": token})
    again = await stranger.post("/v1/supply/undo", {"token": token})

    assert undone.json() == {"undone": True, "cancelled_networks": ["bep20"]}
    assert (again.status_code, again.json()["error"]["code"]) == (400, "token_invalid")
    assert (await thief.get("/v1/supply/account")).status_code == 401
    assert (await thief.sign_in(password=THIEFS_PASSWORD)).status_code == 401
    used = {"authorization": f"Bearer {key['api_key']}"}
    assert (await Browser(market).get("/v1/supply/offers", headers=used)).status_code == 401
    mail = await mailbox.wait_for("Choose another password", to=email)
    chosen = {"token": token_of(link_of(mail)), "password": PASSWORD}
    await stranger.post("/v1/supply/password-resets/confirm", chosen)
    assert (await owner.sign_in()).json()["error"]["code"] == "code_needed"
    take_codes_off(market.engine, find_id(market, email))
    await mailbox.wait_for("One-time codes are off", to=email)
    assert (await owner.sign_in()).status_code == 201
    let_addresses_count(market)
    assert await list_networks(owner) == {"base": (ADDRESS, None, True)}


@pytest.mark.parametrize("change", ["codes", "password", "address"])
async def test_undo__by_who_has_the_mailbox_alone__leaves_new_codes_on(
    market: RunningMarket, mailbox: Mailbox, change: str
) -> None:
    email = f"mailbox-alone-{change}@compute.example"
    owner = await join(market, mailbox, email=email)
    begun = (await owner.post("/v1/supply/codes")).json()
    app, now_s = pyotp.TOTP(begun["secret"]), market.front.app.state.services.database.now_s()
    said = {"code": app.at(now_s - 30)}
    assert (await owner.post("/v1/supply/codes/confirm", said)).status_code == 200
    subject = "One-time codes are asked for"
    thief = Browser(market, email)
    if change == "password":
        subject = "Your password was changed"
        await thief.post("/v1/supply/password-resets", {"email": email})
        mail = await mailbox.wait_for("Choose another password", to=email)
        wish = {"token": token_of(link_of(mail)), "password": THIEFS_PASSWORD}
        await thief.post("/v1/supply/password-resets/confirm", wish)
    elif change == "address":
        subject = "Payout address for base"
        await save_address(owner, ADDRESS)
    token = token_of(link_of(await mailbox.wait_for(subject, to=email)))

    mailbox.mails.clear()

    undone = await thief.post("/v1/supply/undo", {"token": token})
    mail = await mailbox.wait_for("Choose another password", to=email)
    chosen = {"token": token_of(link_of(mail)), "password": "six new herons wade"}
    await thief.post("/v1/supply/password-resets/confirm", chosen)

    assert undone.status_code == 200
    assert (await owner.get("/v1/supply/account")).status_code == 401
    refused = await thief.sign_in(password=chosen["password"])
    assert refused.json()["error"]["code"] == "code_needed"
    opened = await owner.sign_in(password=chosen["password"], code=app.at(now_s + 30))
    assert opened.status_code == 201, "the owner's own codes open it"


async def test_undo__codes_that_were_begun_and_never_shown__are_forgotten(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    owner = await join(market, mailbox, email=email)
    await owner.post("/v1/supply/codes")
    await save_address(owner, ADDRESS)
    token = token_of(link_of(await mailbox.wait_for("Payout address for base", to=email)))

    await owner.post("/v1/supply/undo", {"token": token})

    with read(market.engine) as connection:
        found = load_credentials(connection, email=email)
    assert found is not None and found.totp is None


async def test_codes__taken_off_by_the_operator__end_sessions_and_are_written_down(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    owner = await join(market, mailbox, email=email)
    supplier_id = find_id(market, email)
    with pytest.raises(ReviewRefused, match="asks for one-time codes"):
        take_codes_off(market.engine, supplier_id)
    assert (await owner.get("/v1/supply/account")).status_code == 200, "a refusal changes nothing"
    begun = (await owner.post("/v1/supply/codes")).json()
    await owner.post("/v1/supply/codes/confirm", {"code": pyotp.TOTP(begun["secret"]).now()})

    take_codes_off(market.engine, supplier_id)

    assert (await owner.get("/v1/supply/account")).status_code == 401
    assert (await owner.sign_in()).status_code == 201
    with read(market.engine) as connection:
        entries = load_audit(connection, supplier_id=supplier_id, after="", limit=10)
    assert [(one["actor"], one["action"]) for one in entries] == [("command line", "codes_off")]


async def test_address__own_one_saved_again__the_thiefs_never_counts(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    owner = await join(market, mailbox, email=email)
    await save_address(owner, ADDRESS)
    let_addresses_count(market)
    await save_address(owner, THIEF)
    await mailbox.wait_for("Payout address for base", to=email)

    await save_address(owner, ADDRESS)
    await mailbox.wait_for("Payout address for base cancelled", to=email)
    let_addresses_count(market)

    assert await list_networks(owner) == {"base": (ADDRESS, None, True)}


async def test_address__another_one_saved_while_the_thiefs_cools__alone_will_count(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    owner = await join(market, mailbox, email=email)
    await save_address(owner, THIEF)
    await save_address(owner, ADDRESS)
    table = table_of(SupplyAddress)
    with write(market.engine) as connection:
        # The time comes at which the first one would have counted, and the second does not yet.
        connection.execute(update(table).where(table.c.address == THIEF).values(counts_from_s=1))

    assert await list_networks(owner) == {"base": (None, ADDRESS, True)}


async def test_address__cancelled_by_hand__never_counts_and_the_network_goes_back(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    owner = await join(market, mailbox, email=email)
    await save_address(owner, ADDRESS)
    let_addresses_count(market)
    wish = {"network": "bep20", "confirm_network": "bep20", "address": THIEF, "is_preferred": True}
    await owner.put("/v1/supply/payout-addresses", wish)
    before = await list_networks(owner)

    cancelled = await owner.delete("/v1/supply/payout-addresses/bep20")
    again = await owner.delete("/v1/supply/payout-addresses/bep20")
    counting = await owner.delete("/v1/supply/payout-addresses/base")

    assert before == {"base": (ADDRESS, None, False), "bep20": (None, THIEF, True)}
    assert (cancelled.status_code, again.status_code, counting.status_code) == (200, 404, 404)
    assert await list_networks(owner) == {"base": (ADDRESS, None, True)}
    await mailbox.wait_for("Payout address for bep20 cancelled", to=email)


async def test_network__chosen_again__is_told_by_mail(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    owner = await join(market, mailbox, email=email)
    await save_address(owner, ADDRESS)
    await save_address(owner, THIEF, "bep20")
    wish = {"network": "bep20", "confirm_network": "bep20", "address": THIEF, "is_preferred": True}

    await owner.put("/v1/supply/payout-addresses", wish)

    await mailbox.wait_for("Payouts go by bep20", to=email)


async def test_undo__late_guessed_or_of_another_purpose__changes_nothing(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    owner = await join(market, mailbox, email=email)
    await owner.post("/v1/supply/password-resets", {"email": email})
    reset = token_of(link_of(await mailbox.wait_for("Choose another password", to=email)))
    await save_address(owner, ADDRESS)
    token = token_of(link_of(await mailbox.wait_for("Payout address for base", to=email)))
    table = table_of(SupplierToken)
    with write(market.engine) as connection:
        connection.execute(update(table).where(table.c.purpose == "undo").values(expires_at_s=1))

    for bad in (token, reset, "A" * 43, "x"):
        refused = await owner.post("/v1/supply/undo", {"token": bad})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "token_invalid")

    assert await list_networks(owner) == {"base": (None, ADDRESS, True)}
    assert (await owner.sign_in()).status_code == 201


async def test_undo__by_the_pages_form__shows_that_it_is_stopped_and_not_from_other_sites(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    owner = await join(market, mailbox, email=email)
    await save_address(owner, ADDRESS)
    token = token_of(link_of(await mailbox.wait_for("Payout address for base", to=email)))
    form = {"content-type": "application/x-www-form-urlencoded"}
    evil = {**form, "origin": "https://evil.example"}
    content = f"token={token}"

    refused = await owner.ask("POST", "/v1/supply/undo", content=content, headers=evil)
    done = await owner.ask("POST", "/v1/supply/undo", content=content, headers=form)

    assert refused.json()["error"]["code"] == "wrong_origin"
    assert "Stopped" in done.text
    with read(market.engine) as connection:
        table = table_of(SupplierToken)
        left = select(table.c.purpose).where(table.c.email == email)
        assert "undo" not in connection.execute(left).scalars().all()


def flood(market: RunningMarket, email: str) -> None:
    """Strangers at many addresses try passwords of one account."""
    tries = market.front.app.state.services.suppliers.signing_in._tries
    now_s = market.front.app.state.services.database.now_s()
    with write(market.engine) as connection:
        for _ in range(ACCOUNT.tries_max):
            tries.may(connection, ACCOUNT, email, now_s=now_s)


async def test_sign_in__flood_from_many_addresses__the_owners_browser_gets_in(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    owner = await join(market, mailbox, email=email)
    await owner.delete("/v1/supply/sessions")
    flood(market, email)
    stranger = Browser(market, email)
    borrowed = Browser(market, email)
    borrowed.cookies["__Host-supplier_browser"] = "A" * 43
    other = await join(market, mailbox, email="another-owner@compute.example")
    of_another = Browser(market, email)
    of_another.cookies["__Host-supplier_browser"] = other.cookies["__Host-supplier_browser"]

    for browser in (stranger, borrowed, of_another):
        assert (await browser.sign_in()).status_code == 429
    assert (await owner.sign_in()).status_code == 201


async def test_sign_in__flood__who_is_not_known_gets_in_by_a_reset(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    await join(market, mailbox, email=email)
    flood(market, email)
    away = Browser(market, email)
    await away.post("/v1/supply/password-resets", {"email": email})
    mail = await mailbox.wait_for("Choose another password", to=email)
    chosen = {"token": token_of(link_of(mail)), "password": PASSWORD}
    assert (await away.sign_in()).status_code == 429

    await away.post("/v1/supply/password-resets/confirm", chosen)

    assert (await away.sign_in()).status_code == 201


async def test_sign_in__a_known_browser__tries_no_more_than_any_other(
    market: RunningMarket, mailbox: Mailbox, email: str
) -> None:
    owner = await join(market, mailbox, email=email)

    codes = [(await owner.sign_in(password=f"guess {n}")).status_code for n in range(12)]

    assert codes == [401] * BROWSER.tries_max + [429] * 2
