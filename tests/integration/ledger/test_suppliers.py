"""Suppliers in the ledger: accounts, sessions, keys, mail; on both databases.

::

    statuses   each change is kept for ever; the database refuses to change or delete it
    sessions   end when unused, by age, when ended; the 51st ends the oldest
    keys       end when revoked or expired; 25 at most
    mail       one process at a time; once for a key; waits after a failure
"""

import pytest
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.exc import DatabaseError, IntegrityError

from ledger.database.engine import read, write
from ledger.errors import KeyNotLive, TooMany
from ledger.suppliers.accounts import load_supplier, open_supplier, set_kyb_status
from ledger.suppliers.callers import (
    KEYS_MAX,
    SESSIONS_MAX,
    check_caller_live,
    end_session,
    load_key_caller,
    load_session_caller,
    load_sessions,
    note_seen,
    revoke_supplier_key,
    save_session,
    save_supplier_key,
)
from ledger.suppliers.mails import (
    NewMail,
    claim_mail,
    enqueue_mail,
    load_outbox_state,
    note_not_sent,
    note_sent,
)
from ledger.tables import SupplierStatusChange, table_of
from tests.support.ledgers import BOTH, NOW_S, Databases

IDLE_S = 600


@pytest.fixture(params=BOTH)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    databases = Databases(request.param, tmp_path_factory.mktemp("suppliers"))
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
    return engine


def begin_session(engine: Engine, number: int, *, now_s: int = NOW_S) -> None:
    with write(engine) as connection:
        save_session(
            connection,
            session_hash=f"hash-{number}",
            session_id=f"se_{number:03}",
            supplier_id="su_1",
            user_agent="curl",
            expires_at_s=now_s + 10 * IDLE_S,
            now_s=now_s,
        )


def test_status__changed__is_loaded_and_kept_for_the_audit(engine: Engine) -> None:
    with write(engine) as connection:
        set_kyb_status(connection, "su_1", "approved", change_id="ch_2", now_s=NOW_S + 5)

    change = table_of(SupplierStatusChange)
    with read(engine) as connection:
        supplier = load_supplier(connection, "su_1")
        rows = connection.execute(
            select(change.c.kyb_status, change.c.at_s).order_by(change.c.change_id)
        ).all()
    assert supplier is not None
    assert (supplier.is_approved, supplier.kyb_changed_at_s) == (True, NOW_S + 5)
    assert [tuple(row) for row in rows] == [("draft", NOW_S), ("approved", NOW_S + 5)]


def test_status_changes__once_written__cannot_be_changed_or_deleted(engine: Engine) -> None:
    change = table_of(SupplierStatusChange)
    for statement in (update(change).values(kyb_status="approved"), delete(change)):
        with pytest.raises(DatabaseError, match="only added"), write(engine) as connection:
            connection.execute(statement)


def test_account__same_address_again__refused(engine: Engine) -> None:
    with pytest.raises(IntegrityError), write(engine) as connection:
        open_supplier(
            connection,
            supplier_id="su_2",
            change_id="ch_9",
            email="ops@supplier.test",
            password_hash=None,
            now_s=NOW_S,
        )


def test_session__unused_too_long_or_too_old__has_ended(engine: Engine) -> None:
    begin_session(engine, 1)
    ends_at_s = NOW_S + 10 * IDLE_S
    with write(engine) as connection:

        def is_live(now_s: int) -> bool:
            found = load_session_caller(connection, "hash-1", idle_s=IDLE_S, now_s=now_s)
            return found is not None

        assert is_live(NOW_S + IDLE_S - 1)
        assert not is_live(NOW_S + IDLE_S)
        for moment_s in range(NOW_S, ends_at_s, IDLE_S // 2):
            note_seen(connection, "hash-1", now_s=moment_s)
        assert is_live(ends_at_s - 1)
        assert not is_live(ends_at_s)


def test_session__ended__writes_nothing_any_more(engine: Engine) -> None:
    begin_session(engine, 1)
    with write(engine) as connection:
        caller = load_session_caller(connection, "hash-1", idle_s=IDLE_S, now_s=NOW_S)
        assert caller is not None
        check_caller_live(connection, caller, idle_s=IDLE_S, now_s=NOW_S)
        assert end_session(connection, supplier_id="su_1", session_id="se_001")
        with pytest.raises(KeyNotLive):
            check_caller_live(connection, caller, idle_s=IDLE_S, now_s=NOW_S)


def test_sessions__one_too_many__the_oldest_has_ended(engine: Engine) -> None:
    for number in range(SESSIONS_MAX + 1):
        begin_session(engine, number)

    with read(engine) as connection:
        live = load_sessions(connection, "su_1", idle_s=IDLE_S, now_s=NOW_S)
    assert [row["session_id"] for row in live] == [
        f"se_{number:03}" for number in range(SESSIONS_MAX, 0, -1)
    ]


def test_key__revoked_or_expired__is_nobody(engine: Engine) -> None:
    def save(number: int, expires_at_s: int | None) -> None:
        with write(engine) as connection:
            save_supplier_key(
                connection,
                key_id=f"ke_{number}",
                key_hash=f"key-{number}",
                supplier_id="su_1",
                label="",
                scopes=frozenset({"offers:read", "usage:read"}),
                expires_at_s=expires_at_s,
                now_s=NOW_S,
            )

    save(0, None)
    save(1, NOW_S + 10)
    with write(engine) as connection:
        found = load_key_caller(connection, "key-0", now_s=NOW_S)
        assert found is not None
        assert found.scopes == {"offers:read", "usage:read"}
        assert load_key_caller(connection, "key-1", now_s=NOW_S + 9) is not None
        assert load_key_caller(connection, "key-1", now_s=NOW_S + 10) is None
        assert revoke_supplier_key(connection, supplier_id="su_1", key_id="ke_0", now_s=NOW_S)
        assert not revoke_supplier_key(connection, supplier_id="su_2", key_id="ke_1", now_s=NOW_S)
        assert load_key_caller(connection, "key-0", now_s=NOW_S) is None
    for number in range(2, KEYS_MAX + 1):
        save(number, None)
    with pytest.raises(TooMany):
        save(KEYS_MAX + 1, None)


def test_mail__claimed__is_nobody_elses_until_the_claim_runs_out(engine: Engine) -> None:
    mail = NewMail("ma_1", "ops@supplier.test", "approved", {"name": "Müller AG"})
    with write(engine) as connection:
        assert enqueue_mail(connection, mail, now_s=NOW_S)
    with write(engine) as connection:
        first = claim_mail(connection, claim_s=60, now_s=NOW_S)
        assert claim_mail(connection, claim_s=60, now_s=NOW_S + 59) is None
        again = claim_mail(connection, claim_s=60, now_s=NOW_S + 60)
    assert first is not None
    assert again is not None
    assert (first.facts, first.tries, again.tries) == ({"name": "Müller AG"}, 1, 2)

    with write(engine) as connection:
        note_not_sent(connection, "ma_1", error="refused", due_at_s=NOW_S + 500)
        assert claim_mail(connection, claim_s=60, now_s=NOW_S + 499) is None
        assert load_outbox_state(connection).oldest_at_s == NOW_S
        note_sent(connection, "ma_1", now_s=NOW_S + 501)
        assert claim_mail(connection, claim_s=60, now_s=NOW_S + 999) is None
        assert load_outbox_state(connection).waiting == 0


def test_mail__for_something_that_happens_once__is_written_once(engine: Engine) -> None:
    with write(engine) as connection:
        written = [
            enqueue_mail(
                connection,
                NewMail(f"ma_{number}", "a@b.test", "first_payout", {}, once_key="first su_1"),
                now_s=NOW_S,
            )
            for number in range(2)
        ]
    assert written == [True, False]
