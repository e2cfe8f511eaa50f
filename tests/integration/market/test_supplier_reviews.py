"""From the first section to an approval, over HTTP; and what the ledger, the log and the mail say.

::

    sections    prefilled; two tabs; out of order; locked while they are reviewed
    owners      the number is nowhere; the same under another key; kept by owner_id
    documents   too long; replaced ones are erased; those of a version stay
    reviews     by version, once, never one's own; four eyes; items and mail; the audit log stays
"""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import Engine, inspect, select, table, text
from sqlalchemy.exc import DatabaseError

from ledger.database.engine import read, write
from ledger.suppliers.reviews import note_audit
from ledger.tables import KybDocument, KybIdentity, table_of
from market.endpoints.sealing import KmsUnavailable
from market.suppliers.document_checks import BYTES_MAX
from market.suppliers.reviewing import grant
from tests.support.kyb import (
    ENTITY,
    ID_NUMBER,
    KINDS,
    OWNER,
    PDF,
    SOURCE,
    file_everything,
    make_png,
    send_document,
)
from tests.support.ledgers import Databases, make_ledger
from tests.support.mailbox import Mailbox, text_of
from tests.support.market import KMS_LINE, RunningMarket, make_settings, run_market, write_kms
from tests.support.suppliers import APPLICATION, Browser, join

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mailbox() -> AsyncIterator[Mailbox]:
    async with Mailbox() as mailbox:
        yield mailbox


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def market(
    tmp_path_factory: pytest.TempPathFactory, mailbox: Mailbox
) -> AsyncIterator[RunningMarket]:
    """One market for all tests: each has suppliers of its own."""
    folder = tmp_path_factory.mktemp("reviews")
    engine = make_ledger(folder / "ledger.sqlite3")
    settings = make_settings(
        folder, smtp_url=mailbox.url, mail_interval_s=0.02, address_keys_per_minute_max=0
    )
    async with run_market(settings, engine) as running:
        yield running
    engine.dispose()


@pytest_asyncio.fixture(loop_scope="module")
async def supplier(
    market: RunningMarket, mailbox: Mailbox, request: pytest.FixtureRequest
) -> Browser:
    """A supplier of this test's own, signed in."""
    return await join(market, mailbox, email=name_address(request, "supplier"))


def name_address(request: pytest.FixtureRequest, who: str) -> str:
    name = re.sub(r"[^a-z]+", "-", request.node.name.partition("[")[0])
    return f"{name[5:45]}.{who}@compute.example"


async def make_reviewer(
    market: RunningMarket, mailbox: Mailbox, email: str, role: str = "reviewer"
) -> Browser:
    """Return somebody with a role, signed in."""
    browser = await join(market, mailbox, email=email)
    with write(market.engine) as connection:
        grant(connection, email=email, role=role, actor="command line", now_s=1)
    return browser


async def supplier_id_of(browser: Browser) -> str:
    return str((await browser.get("/v1/supply/account")).json()["supplier_id"])


async def decide(reviewer: Browser, supplier_id: str, **wish: Any) -> tuple[int, str]:
    """Decide, and return the status with the code, or with the supplier's status."""
    answer = await reviewer.post(f"/v1/review/applications/{supplier_id}/decisions", wish)
    body = answer.json()
    is_done = answer.status_code == 201
    return answer.status_code, body["kyb_status"] if is_done else body["error"]["code"]


def read_everything(engine: Engine) -> list[bytes]:
    """Return every value of every row of every table."""
    kept: list[bytes] = []
    with read(engine) as connection:
        for name in inspect(connection).get_table_names():
            for row in connection.execute(select(text("*")).select_from(table(name))):
                kept += [one if isinstance(one, bytes) else str(one).encode() for one in row]
    return kept


ITEM = {
    "requirement": "documents.bank_proof",
    "text": "The account's holder is not readable.",
    "inside": "looks retouched",
}


async def test_sections__in_any_order_by_two_tabs__nothing_is_overwritten(
    supplier: Browser,
) -> None:
    first = (await supplier.get("/v1/supply/kyb")).json()
    assert first["kyb_status"] == "draft"
    assert first["entity"]["content"]["legal_name"] == APPLICATION["legal_name"]
    assert first["source"]["content"]["providers"] == APPLICATION["providers"]

    source = {"version": 0, "content": {"legal_basis": "A contract."}}
    saved = (await supplier.put("/v1/supply/kyb/source", source)).json()
    assert (saved["kyb_status"], saved["source"]["version"]) == ("pending", 1)
    again = await supplier.put("/v1/supply/kyb/source", source)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "section_changed")

    entity = {"version": 0, "content": ENTITY}
    stale = {"version": 0, "content": SOURCE}
    both = await supplier.put("/v1/supply/kyb", {"entity": entity, "source": stale})
    assert both.status_code == 409
    kept = (await supplier.get("/v1/supply/kyb")).json()
    assert (kept["entity"]["version"], kept["source"]["version"]) == (0, 1)
    due = kept["requirements"]["currently_due"]
    assert "entity.registration_number" in due
    assert "source.legal_basis" not in due
    early = await supplier.post("/v1/supply/kyb/submit")
    assert (early.status_code, early.json()["error"]["code"]) == (409, "requirements_due")


async def test_submit__of_what_another_tab_has_changed__is_refused_unseen(
    supplier: Browser,
) -> None:
    for section, content in (("entity", ENTITY), ("owners", [OWNER]), ("source", SOURCE)):
        await supplier.put(f"/v1/supply/kyb/{section}", {"content": content})
    ids = []
    for kind in KINDS:
        ids.append((await send_document(supplier, kind=kind)).json()["document_id"])
    seen = {"versions": {"entity": 1, "owners": 1, "source": 1}, "documents": ids}

    async def submit(body: Any) -> tuple[int, str]:
        answer = await supplier.post("/v1/supply/kyb/submit", body)
        said = answer.json()
        return answer.status_code, said["error"]["code"] if "error" in said else said["kyb_status"]

    # The other tab saves a section, and replaces a document.
    renamed = {**ENTITY, "legal_name": "Another Pte. Ltd."}
    await supplier.put("/v1/supply/kyb/entity", {"version": 1, "content": renamed})
    assert await submit(seen) == (409, "section_changed")
    seen["versions"] = {"entity": 2, "owners": 1}
    other = (await send_document(supplier, kind=KINDS[0])).json()["document_id"]
    assert await submit(seen) == (409, "documents_changed")
    odd_bodies: list[Any] = [{"versions": {"entity": "2"}}, {"documents": "all"}, {"odd": 1}, []]
    for odd in odd_bodies:
        assert (await submit(odd))[0] == 400
    seen["documents"] = [other, *ids[1:]]
    assert await submit(seen) == (201, "under_review")


async def test_owners__two_tabs_with_the_same_version__the_second_is_told_and_nothing_is_lost(
    supplier: Browser,
) -> None:
    first = [{**OWNER, "share_pct": "40"}]
    other = {**OWNER, "legal_name": "Bo Li", "id_number": "BL 77-88.99", "share_pct": "60"}
    saved = await supplier.put("/v1/supply/kyb/owners", {"content": first})
    (known,) = saved.json()["owners"]["content"]
    kept = {**{name: known[name] for name in OWNER if name in known}, "owner_id": known["owner_id"]}

    both = await supplier.put("/v1/supply/kyb/owners", {"version": 1, "content": [kept, other]})
    alone = await supplier.put("/v1/supply/kyb/owners", {"version": 1, "content": [kept]})
    unread = await supplier.put("/v1/supply/kyb/owners", {"content": [kept]})
    together = await supplier.put(
        "/v1/supply/kyb",
        {"entity": {"content": ENTITY}, "owners": {"version": 1, "content": [kept]}},
    )

    assert both.status_code == 200, both.text
    for refused in (alone, unread, together):
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "section_changed")
    stands = (await supplier.get("/v1/supply/kyb")).json()
    assert [one["share_pct"] for one in stands["owners"]["content"]] == ["40", "60"]
    assert stands["entity"]["version"] == 0, "of several sections all are saved, or none"


async def test_owners__saved_again_without_the_number__keep_it(supplier: Browser) -> None:
    saved = await supplier.put("/v1/supply/kyb/owners", {"content": [OWNER]})
    (owner,) = saved.json()["owners"]["content"]
    assert "id_number" not in owner
    without = {**OWNER, "id_number": None, "owner_id": owner["owner_id"], "share_pct": "55.5"}

    changed = await supplier.put("/v1/supply/kyb/owners", {"version": 1, "content": [without]})
    moved = {**without, "nationality": "FR"}
    other = await supplier.put("/v1/supply/kyb/owners", {"version": 2, "content": [moved]})
    twice = {**OWNER, "share_pct": "20"}
    double = await supplier.put(
        "/v1/supply/kyb/owners", {"version": 2, "content": [without, twice]}
    )

    (kept,) = changed.json()["owners"]["content"]
    assert (kept["owner_id"], kept["share_pct"]) == (owner["owner_id"], "55.5")
    assert other.json()["error"]["code"] == "id_number_wrong"
    assert double.json()["error"]["code"] == "owner_twice"


async def test_documents__too_long__refused_and_replaced_ones_erased(
    market: RunningMarket, supplier: Browser
) -> None:
    await supplier.put("/v1/supply/kyb/entity", {"content": ENTITY})
    padding = b"%" + b" " * (BYTES_MAX - len(PDF) - 2) + b"\n"
    longest = PDF.replace(b"%PDF-1.4\n", b"%PDF-1.4\n" + padding)
    assert len(longest) == BYTES_MAX
    taken = await send_document(supplier, longest)
    too_long = await send_document(supplier, b"%PDF-1.4\n" + b" " * (BYTES_MAX - 8))
    picture = await send_document(supplier, make_png(), name="a.png", media_type="image/png")

    assert (taken.status_code, picture.status_code) == (201, 201), (taken.text, picture.text)
    assert too_long.status_code == 413
    document = table_of(KybDocument)
    with read(market.engine) as connection:
        rows = {row["document_id"]: row for row in connection.execute(select(document)).mappings()}
    replaced, kept = rows[taken.json()["document_id"]], rows[picture.json()["document_id"]]
    assert (replaced["ciphertext"], replaced["wrapped_key"]) == (None, None)
    assert replaced["erased_at_s"] is not None
    assert kept["is_current"]
    assert make_png() not in bytes(kept["ciphertext"])


async def test_document__while_the_kms_is_away__is_not_taken_and_says_so(
    market: RunningMarket, supplier: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise KmsUnavailable("AWS KMS: timeout")

    monkeypatch.setattr(market.front.app.state.services.sealer, "seal_bytes", refuse)

    refused = await send_document(supplier)

    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "kms_unavailable")
    assert (await supplier.get("/v1/supply/kyb")).json()["documents"] == []


async def test_review__revision_then_approval__by_version_with_mail(
    market: RunningMarket, mailbox: Mailbox, supplier: Browser, request: pytest.FixtureRequest
) -> None:
    reviewer = await make_reviewer(market, mailbox, name_address(request, "reviewer"))
    supplier_id = await supplier_id_of(supplier)
    assert await file_everything(supplier) == 1
    locked = await supplier.put("/v1/supply/kyb/entity", {"version": 1, "content": ENTITY})
    assert locked.json()["error"]["code"] == "kyb_locked"
    queue = (await reviewer.get("/v1/review/applications")).json()["applications"]
    assert supplier_id in {one["supplier_id"] for one in queue}

    assert await decide(reviewer, supplier_id, version=1, decision="revise") == (
        400,
        "items_missing",
    )
    revised = await decide(reviewer, supplier_id, version=1, decision="revise", items=[ITEM])
    assert revised == (201, "revision_needed")
    mail = await mailbox.wait_for("KYB: please revise 1 item", to=supplier.email)
    assert ITEM["text"] in text_of(mail)
    assert ITEM["inside"] not in mail.as_string()
    found = (await supplier.get("/v1/supply/kyb/requirements")).json()
    assert found["errors"] == [
        {"requirement": ITEM["requirement"], "code": "needs_revision", "reason": ITEM["text"]}
    ]

    await send_document(
        supplier, make_png(), kind="bank_proof", name="b.png", media_type="image/png"
    )
    assert (await supplier.post("/v1/supply/kyb/submit")).json()["version"] == 2
    late = await decide(reviewer, supplier_id, version=1, decision="approve")
    assert late == (409, "version_outdated")
    seen = (await reviewer.get(f"/v1/review/applications/{supplier_id}")).json()
    assert [one["version"] for one in seen["versions"]] == [2, 1]
    assert seen["versions"][0]["changed"] == ["documents.bank_proof"]
    outcomes = await asyncio.gather(
        *(decide(reviewer, supplier_id, version=2, decision="approve") for _ in range(2))
    )
    assert sorted(outcomes) == [(201, "approved"), (409, "not_possible")]
    await mailbox.wait_for("KYB approved", to=supplier.email)
    # The first version's document is still what was decided on.
    first = seen["versions"][1]["documents"]
    (bank,) = [one for one in first if one["kind"] == "bank_proof"]
    path = f"/v1/review/applications/{supplier_id}/documents/{bank['document_id']}"
    document = await reviewer.get(path)
    assert document.content == PDF
    assert document.headers["content-disposition"].startswith("attachment;")
    assert document.headers["x-content-type-options"] == "nosniff"
    assert document.headers["content-security-policy"].startswith("sandbox;")
    assert (await supplier.get(path)).status_code == 403


async def test_review__by_the_supplier_itself_or_without_the_role__refused(
    market: RunningMarket, mailbox: Mailbox, supplier: Browser, request: pytest.FixtureRequest
) -> None:
    supplier_id = await supplier_id_of(supplier)
    await file_everything(supplier)
    assert await decide(supplier, supplier_id, version=1, decision="approve") == (
        403,
        "role_missing",
    )
    with write(market.engine) as connection:
        grant(connection, email=supplier.email, role="operator", actor="command line", now_s=1)
    assert await decide(supplier, supplier_id, version=1, decision="approve") == (
        403,
        "own_application",
    )
    reviewer = await make_reviewer(market, mailbox, name_address(request, "reviewer"))
    assert await decide(reviewer, supplier_id, version=1, decision="suspend", items=[ITEM]) == (
        403,
        "role_missing",
    )
    rejected = await decide(reviewer, supplier_id, version=1, decision="reject", items=[ITEM])
    assert rejected == (201, "rejected")
    for path in ("/v1/supply/kyb/submit",):
        assert (await supplier.post(path)).json()["error"]["code"] == "kyb_locked"


async def test_review__by_the_applicants_mailbox_or_as_its_owner__refused(
    market: RunningMarket, mailbox: Mailbox, supplier: Browser, request: pytest.FixtureRequest
) -> None:
    number = "QQ 555-66.77 z"
    supplier_id = await supplier_id_of(supplier)
    await supplier.put("/v1/supply/kyb/owners", {"content": [{**OWNER, "id_number": number}]})
    await supplier.put("/v1/supply/kyb/entity", {"content": ENTITY})
    await supplier.put("/v1/supply/kyb/source", {"content": SOURCE})
    for kind in KINDS:
        await send_document(supplier, kind=kind)
    await supplier.post("/v1/supply/kyb/submit")
    same_mailbox = await make_reviewer(market, mailbox, supplier.email.replace("@", "+reviews@"))
    same_owner = await make_reviewer(market, mailbox, name_address(request, "owner"))
    await same_owner.put("/v1/supply/kyb/owners", {"content": [{**OWNER, "id_number": number}]})
    stranger = await make_reviewer(market, mailbox, name_address(request, "stranger"))

    path = f"/v1/review/applications/{supplier_id}"
    for reviewer in (same_mailbox, same_owner):
        assert await decide(reviewer, supplier_id, version=1, decision="approve") == (
            403,
            "own_application",
        )
        seen = await reviewer.get(path)
        assert (seen.status_code, seen.json()["error"]["code"]) == (403, "own_application")
    (version,) = (await stranger.get(path)).json()["versions"]
    document = f"{path}/documents/{version['documents'][0]['document_id']}"
    assert (await same_owner.get(document)).status_code == 403
    assert (await stranger.get(document)).status_code == 200
    assert await decide(stranger, supplier_id, version=1, decision="approve") == (201, "approved")


async def test_revision__of_an_approved_supplier__is_not_possible(
    market: RunningMarket, mailbox: Mailbox, supplier: Browser, request: pytest.FixtureRequest
) -> None:
    operator = await make_reviewer(
        market, mailbox, name_address(request, "operator"), role="operator"
    )
    supplier_id = await supplier_id_of(supplier)
    await file_everything(supplier)
    await decide(operator, supplier_id, version=1, decision="approve")

    for decision in ("revise", "reject"):
        done = await decide(operator, supplier_id, version=1, decision=decision, items=[ITEM])
        assert done == (409, "not_possible")
    account = (await supplier.get("/v1/supply/account")).json()
    assert account["kyb_status"] == "approved"


async def test_review__by_two_at_once__one_decides_and_the_other_is_told(
    market: RunningMarket, mailbox: Mailbox, supplier: Browser, request: pytest.FixtureRequest
) -> None:
    supplier_id = await supplier_id_of(supplier)
    await file_everything(supplier)
    reviewers = [
        await make_reviewer(market, mailbox, name_address(request, f"reviewer{n}"))
        for n in range(2)
    ]

    told = await asyncio.gather(
        decide(reviewers[0], supplier_id, version=1, decision="approve"),
        decide(reviewers[1], supplier_id, version=1, decision="reject", items=[ITEM]),
    )

    assert sorted(status for status, _ in told) == [201, 409]
    assert (409, "not_possible") in told
    (decided,) = [word for status, word in told if status == 201]
    assert (await supplier.get("/v1/supply/account")).json()["kyb_status"] == decided


async def test_suspension__by_an_operator__and_back(
    market: RunningMarket, mailbox: Mailbox, supplier: Browser, request: pytest.FixtureRequest
) -> None:
    operator = await make_reviewer(
        market, mailbox, name_address(request, "operator"), role="operator"
    )
    supplier_id = await supplier_id_of(supplier)
    await file_everything(supplier)
    for decision, status in (
        ("approve", "approved"),
        ("suspend", "suspended"),
        ("reinstate", "approved"),
    ):
        items = [ITEM] if decision == "suspend" else []
        done = await decide(operator, supplier_id, version=1, decision=decision, items=items)
        assert done == (201, status)
    log = (await operator.get(f"/v1/review/audit?supplier_id={supplier_id}")).json()["entries"]
    assert [entry["action"] for entry in log] == ["approve", "suspend", "reinstate"]
    for statement in ("DELETE FROM audit_entry", "UPDATE audit_entry SET actor = 'nobody'"):
        with pytest.raises(DatabaseError), write(market.engine) as connection:
            connection.execute(text(statement))


async def test_suspension__with_a_document_asked_for__is_filed_and_reinstated_by_that_version(
    market: RunningMarket, mailbox: Mailbox, supplier: Browser, request: pytest.FixtureRequest
) -> None:
    operator = await make_reviewer(
        market, mailbox, name_address(request, "operator"), role="operator"
    )
    supplier_id = await supplier_id_of(supplier)
    await file_everything(supplier)
    for decision, items in (("approve", []), ("suspend", [ITEM])):
        await decide(operator, supplier_id, version=1, decision=decision, items=items)

    async def is_queued() -> bool:
        queue = (await operator.get("/v1/review/applications")).json()["applications"]
        return supplier_id in [one["supplier_id"] for one in queue]

    asked = (await supplier.get("/v1/supply/kyb/requirements")).json()
    assert [one["requirement"] for one in asked["errors"]] == ["documents.bank_proof"]
    assert (await supplier.get("/v1/supply/kyb")).json()["can_change"]
    assert not await is_queued()

    filed = await send_document(supplier, kind="bank_proof")
    assert filed.status_code == 201
    again = await supplier.post("/v1/supply/kyb/submit")
    assert again.json()["version"] == 2
    assert (await supplier.get("/v1/supply/account")).json()["kyb_status"] == "suspended"
    assert await is_queued()
    waits = (await supplier.get("/v1/supply/kyb/requirements")).json()
    assert (waits["errors"], "documents" in waits["pending_review"]) == ([], True)
    locked = await send_document(supplier, kind="bank_proof")
    assert (locked.status_code, locked.json()["error"]["code"]) == (409, "kyb_locked")

    old = await decide(operator, supplier_id, version=1, decision="reinstate")
    assert old == (409, "version_outdated")
    more = await decide(operator, supplier_id, version=2, decision="suspend", items=[ITEM])
    assert more == (201, "suspended")
    assert not await is_queued()
    assert (await supplier.post("/v1/supply/kyb/submit")).json()["version"] == 3
    back = await decide(operator, supplier_id, version=3, decision="reinstate")
    assert back == (201, "approved")
    assert not await is_queued()


async def test_number__filed_resubmitted_and_refused__is_nowhere(
    market: RunningMarket,
    mailbox: Mailbox,
    supplier: Browser,
    request: pytest.FixtureRequest,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """S5: no identity number, provider key or document in any table, log or mail."""
    number, wrong = "ZX 987-65.43 q", "ZX98765"
    owner = {**OWNER, "id_number": number}
    await supplier.put("/v1/supply/kyb/owners", {"content": [owner]})
    broken = [{**owner, "id_number": wrong, "share_pct": "9.99"}]
    refused = await supplier.put("/v1/supply/kyb/owners", {"version": 1, "content": broken})
    await supplier.put("/v1/supply/kyb/entity", {"content": ENTITY})
    await supplier.put("/v1/supply/kyb/source", {"content": SOURCE})
    for kind in KINDS:
        await send_document(supplier, kind=kind)
    await supplier.post("/v1/supply/kyb/submit")
    reviewer = await make_reviewer(market, mailbox, name_address(request, "reviewer"))
    supplier_id = await supplier_id_of(supplier)
    seen = await reviewer.get(f"/v1/review/applications/{supplier_id}")
    await decide(reviewer, supplier_id, version=1, decision="approve")
    await mailbox.wait_for("KYB approved", to=supplier.email)

    said = [refused.text, seen.text, *capfd.readouterr()]
    said += [mail.as_string() for mail in mailbox.mails]
    kept = read_everything(market.engine)
    squeezed = [re.sub(r"[^0-9A-Za-z]", "", one).upper() for one in said]
    squeezed += [re.sub(rb"[^0-9A-Za-z]", b"", one).decode().upper() for one in kept]
    assert len(squeezed) > 100
    assert not [one for one in squeezed if "ZX98765" in one]
    assert not [one for one in kept if PDF[:40] in one or b"%PDF-" in one]


async def test_number__filed_changed_and_refused__is_in_no_row_and_no_file(
    mailbox: Mailbox, tmp_path: Path, databases: Databases, request: pytest.FixtureRequest
) -> None:
    numbers = ("QW 135-79.24 x", "QW 246-80.13 y", "QW1")
    settings = make_settings(
        tmp_path, smtp_url=mailbox.url, mail_interval_s=0.02, address_keys_per_minute_max=0
    )
    async with run_market(settings, databases.open_ledger()) as market:
        supplier = await join(market, mailbox, email=name_address(request, databases.kind))
        told = []
        for version, number in enumerate(numbers):
            owner = {**OWNER, "id_number": number}
            wish = {"version": version, "content": [owner]}
            told.append((await supplier.put("/v1/supply/kyb/owners", wish)).status_code)
        kept = read_everything(market.engine)
        kept += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]

    assert told == [200, 200, 400]
    squeezed = [re.sub(rb"[^0-9A-Za-z]", b"", one).upper() for one in kept]
    assert not [one for one in squeezed if b"QW13579" in one or b"QW24680" in one]
    assert any(b"Ana M" in one for one in kept), "the owner itself is there"


async def test_number__same_under_another_key__is_the_same_identity(
    mailbox: Mailbox, tmp_path: Any, request: pytest.FixtureRequest
) -> None:
    new_line = "k2 " + "5e" * 32
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    identity = table_of(KybIdentity)

    async def save(email: str, number: str) -> tuple[list[str], list[str]]:
        settings = make_settings(tmp_path, smtp_url=mailbox.url, mail_interval_s=0.02)
        async with run_market(settings, engine) as running:
            browser = await join(running, mailbox, email=email)
            owner = {**OWNER, "id_number": number}
            saved = await browser.put("/v1/supply/kyb/owners", {"content": [owner]})
            assert saved.status_code == 200, saved.text
        with read(engine) as connection:
            rows = connection.execute(select(identity)).mappings().all()
        return [row["identity_id"] for row in rows], [row["key_id"] for row in rows]

    write_kms(tmp_path, KMS_LINE)
    before, keys = await save(name_address(request, "one"), ID_NUMBER)
    write_kms(tmp_path, new_line, KMS_LINE)
    after, renewed = await save(name_address(request, "two"), "k1234567X")
    engine.dispose()

    assert (keys, renewed) == (["k1"], ["k2"])
    assert before == after


async def test_four_eyes__two_reviewers__approve_together(
    mailbox: Mailbox, tmp_path: Any, request: pytest.FixtureRequest
) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    settings = make_settings(
        tmp_path,
        smtp_url=mailbox.url,
        mail_interval_s=0.02,
        review_four_eyes=True,
        address_keys_per_minute_max=0,
    )
    async with run_market(settings, engine) as market:
        supplier = await join(market, mailbox, email=name_address(request, "supplier"))
        reviewers = [
            await make_reviewer(
                market, mailbox, name_address(request, f"reviewer{n}"), role="operator"
            )
            for n in range(2)
        ]
        supplier_id = await supplier_id_of(supplier)
        await file_everything(supplier)
        approve = {"version": 1, "decision": "approve"}
        first = await decide(reviewers[0], supplier_id, **approve)
        again = await decide(reviewers[0], supplier_id, **approve)
        second = await decide(reviewers[1], supplier_id, **approve)
        reinstate = {"version": 1, "decision": "reinstate"}
        suspend = {"decision": "suspend", "items": [ITEM]}
        await decide(reviewers[0], supplier_id, version=1, **suspend)
        as_it_was = await decide(reviewers[0], supplier_id, **reinstate)
        await decide(reviewers[0], supplier_id, version=1, **suspend)
        await supplier.post("/v1/supply/kyb/submit")
        # To suspend it again is no approval of what it has filed.
        await decide(reviewers[0], supplier_id, version=2, **suspend)
        filed = [
            await decide(reviewers[who], supplier_id, version=2, decision="reinstate")
            for who in (0, 0, 1)
        ]
    engine.dispose()

    assert first == (201, "under_review")
    assert again == (409, "approved_by_you")
    assert second == as_it_was == (201, "approved")
    # What was filed since is as new as an application.
    assert filed == [(201, "suspended"), (409, "approved_by_you"), (201, "approved")]


async def test_audit_log__entry__names_no_person(market: RunningMarket) -> None:
    with write(market.engine) as connection:
        note_audit(
            connection, entry_id="zz", actor="command line", action="look", subject="x", now_s=1
        )
    with read(market.engine) as connection:
        rows = connection.execute(text("SELECT * FROM audit_entry")).mappings().all()
    assert not [row for row in rows if "@" in str(dict(row))]
