"""What is erased and forgotten of suppliers, and two tabs at once; on both databases.

::

    documents   erased on their date, and only then; a rewrapped one opens, an erased one stays gone
    sections    of two that save over the same version one is told so
    throttles   a window, then again; a clock that was set back shuts nobody out
    forgetting  ended sessions, keys, tokens; mail that waits or happens once stays
"""

import pytest
from sqlalchemy import Engine, func, select, update

from ledger.database.engine import read, write
from ledger.errors import ChangedMeanwhile
from ledger.selling.sealed_keys import SealedKey
from ledger.suppliers.accounts import open_supplier
from ledger.suppliers.applying import save_token, use_token
from ledger.suppliers.filings import (
    StoredDocument,
    erase_documents,
    load_sealed_document,
    load_stale_document,
    replace_wrapping,
    save_document,
    save_section,
    set_erase_date,
)
from ledger.suppliers.forgetting import FORGET
from ledger.suppliers.mails import NewMail, enqueue_mail
from ledger.suppliers.throttles import take_try
from ledger.tables import OutboxMail, table_of
from tests.support.ledgers import BOTH, NOW_S, Databases

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
