"""What is erased and forgotten of suppliers, and two tabs at once; on both databases.

::

    documents   erased on their date, and only then; a rewrapped one opens, an erased one stays gone
    sections    of two that save over the same version one is told so
    throttles   a window, then again; a clock that was set back shuts nobody out
    forgetting  ended sessions, keys, tokens; mail that waits or happens once stays
"""

import itertools
import threading

import pytest
from sqlalchemy import Engine, func, select, update

from ledger.database.engine import read, write
from ledger.errors import ChangedMeanwhile
from ledger.selling.sealed_keys import SealedKey
from ledger.suppliers.accounts import open_supplier
from ledger.suppliers.applying import save_token, use_token
from ledger.suppliers.filings import (
    StoredDocument,
    StoredOwner,
    erase_documents,
    load_documents,
    load_owners,
    load_sealed_document,
    load_stale_document,
    replace_owners,
    replace_wrapping,
    save_document,
    save_section,
    set_erase_date,
)
from ledger.suppliers.forgetting import FORGET
from ledger.suppliers.identities import find_or_save_identity
from ledger.suppliers.mails import NewMail, enqueue_mail
from ledger.suppliers.throttles import take_try
from ledger.tables import KybIdentity, OutboxMail, table_of
from tests.support.ledgers import BOTH, NOW_S, Databases

NUMBERS = itertools.count()
SEALED = SealedKey(b"sealed", b"wrapped", "k1")


@pytest.fixture(params=BOTH)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    databases = Databases(request.param, tmp_path_factory.mktemp("filings"))
    request.addfinalizer(lambda: databases.__exit__())
    engine = databases.open_ledger()
    with write(engine) as connection:
        open_supplier(
            connection,
            supplier_id="su_1",
            change_id="ch_1",
            email="ops@supplier.test",
            password_hash=None,
            now_s=NOW_S,
        )
        document = StoredDocument("do_1", "bank_proof", "a.pdf", "application/pdf", 6, "00", NOW_S)
        save_document(connection, "su_1", document, SEALED, erase_at_s=NOW_S + 100)
    return engine


def sealed_of(engine: Engine) -> SealedKey | None:
    with read(engine) as connection:
        found = load_sealed_document(connection, "su_1", "do_1")
    assert found is not None
    return found[1]


def test_document__its_date_comes__is_erased_and_not_before(engine: Engine) -> None:
    with write(engine) as connection:
        set_erase_date(connection, "su_1", erase_at_s=NOW_S + 50)
        assert erase_documents(connection, now_s=NOW_S + 49, limit=9) == 0
    assert sealed_of(engine) == SEALED
    with write(engine) as connection:
        assert erase_documents(connection, now_s=NOW_S + 50, limit=9) == 1
        assert erase_documents(connection, now_s=NOW_S + 51, limit=9) == 0
    assert sealed_of(engine) is None


def test_document__erased_while_it_is_rewrapped__stays_gone(engine: Engine) -> None:
    fresh = SealedKey(b"sealed", b"rewrapped", "k2")
    with write(engine) as connection:
        assert load_stale_document(connection, kms_key_id="k2") == ("do_1", SEALED)
        erase_documents(connection, now_s=NOW_S + 100, limit=9)
        replace_wrapping(connection, "do_1", before=SEALED, after=fresh)
        assert load_stale_document(connection, kms_key_id="k2") is None
    assert sealed_of(engine) is None


def test_document__erased__is_not_filed_any_more(engine: Engine) -> None:
    with write(engine) as connection:
        before = load_documents(connection, "su_1")
        erase_documents(connection, now_s=NOW_S + 100, limit=9)
        after = load_documents(connection, "su_1")
        again = StoredDocument("do_2", "bank_proof", "b.pdf", "application/pdf", 6, "00", NOW_S)
        save_document(connection, "su_1", again, SEALED, erase_at_s=NOW_S + 200)
        replaced = load_documents(connection, "su_1")

    assert [[one.document_id for one in some] for some in (before, after, replaced)] == [
        ["do_1"],
        [],
        ["do_2"],
    ]


def save_number(engine: Engine, digests: dict[str, str], *, owner_of: str | None = None) -> str:
    """File a number; ``digests`` are by the live keys of the process that does, newest first."""
    with write(engine) as connection:
        identity_id = find_or_save_identity(
            connection,
            digests,
            newest_key_id=next(iter(digests)),
            identity_id=f"id_{next(NUMBERS)}",
            now_s=NOW_S,
        )
        if owner_of is not None:
            owner = StoredOwner("ow_1", "Ana", "DE", "passport", identity_id, "beneficial_owner", 1)
            replace_owners(connection, owner_of, [owner])
        return identity_id


def test_number__filed_before_during_and_after_a_rotation__is_one_identity(engine: Engine) -> None:
    old = save_number(engine, {"k1": "old"})
    new = save_number(engine, {"k2": "new", "k1": "old"})
    # A process that was not restarted yet does not know the new key.
    stale = save_number(engine, {"k1": "old"}, owner_of="su_1")
    merged = save_number(engine, {"k2": "new", "k1": "old"})

    assert old == new
    assert stale != old, "that process cannot know"
    assert save_number(engine, {"k2": "new"}) == merged
    assert save_number(engine, {"k3": "third", "k2": "new"}) == merged
    with read(engine) as connection:
        (owner,) = load_owners(connection, "su_1")
        rows = connection.execute(select(table_of(KybIdentity))).all()
    assert (owner.identity_id, len(rows)) == (merged, 1)


def test_number__filed_by_two_at_once__is_one_identity_and_no_failure(engine: Engine) -> None:
    found: list[str] = []
    barrier = threading.Barrier(8)

    def file_it() -> None:
        barrier.wait()
        found.append(save_number(engine, {"k1": "same"}))

    threads = [threading.Thread(target=file_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(found), len(set(found))) == (8, 1)


def test_section__saved_over_an_older_version__refused(engine: Engine) -> None:
    with write(engine) as connection:
        first = save_section(connection, "su_1", "entity", {"a": 1}, version=0, now_s=NOW_S)
        second = save_section(connection, "su_1", "entity", {"a": 2}, version=first, now_s=NOW_S)
        for stale in (0, first, second + 1):
            with pytest.raises(ChangedMeanwhile):
                save_section(connection, "su_1", "entity", {}, version=stale, now_s=NOW_S)


def test_tries__too_many_in_a_window__wait_for_its_end(engine: Engine) -> None:
    def take(now_s: int) -> int | None:
        with write(engine) as connection:
            return take_try(connection, "x", tries_max=2, window_s=60, now_s=now_s)

    assert [take(NOW_S), take(NOW_S + 1), take(NOW_S + 2)] == [None, None, 58]
    assert take(NOW_S + 59) == 1
    assert take(NOW_S + 60) is None
    assert take(NOW_S - 10_000) is None, "a clock that was set back"


def test_token__used_by_two_at_once_or_late__is_used_once(engine: Engine) -> None:
    def save(token_hash: str) -> None:
        with write(engine) as connection:
            save_token(
                connection,
                token_hash=token_hash,
                purpose="verify",
                email="a@b.test",
                lifetime_s=60,
                now_s=NOW_S,
            )

    def use(token_hash: str, *, purpose: str = "verify", now_s: int = NOW_S) -> str | None:
        with write(engine) as connection:
            return use_token(connection, token_hash, purpose=purpose, now_s=now_s)

    save("one")
    save("two")
    assert use("one", purpose="reset") is None
    assert use("one") == "a@b.test"
    assert use("one") is None
    assert use("two") is None, "those of the other mails end with it"
    save("three")
    assert use("three", now_s=NOW_S + 60) is None


def test_forgetting__mail_that_waits_or_happens_once__stays(engine: Engine) -> None:
    mails = table_of(OutboxMail)
    with write(engine) as connection:
        for mail_id, once in (("sent", None), ("waiting", None), ("once", "first payout su_1")):
            mail = NewMail(mail_id, "a@b.test", "kyb_approved", {}, once_key=once)
            enqueue_mail(connection, mail, now_s=NOW_S)
        connection.execute(update(mails).where(mails.c.mail_id != "waiting").values(state="sent"))
        for forget in FORGET:
            forget(connection, NOW_S + 1, 100)
        kept = set(connection.execute(select(mails.c.mail_id)).scalars())
        assert connection.execute(select(func.count()).select_from(mails)).scalar_one() == 2
    assert kept == {"waiting", "once"}
