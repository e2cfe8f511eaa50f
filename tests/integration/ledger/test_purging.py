"""What strangers left behind is forgotten; what money touched, or is in use, stays.

On SQLite and PostgreSQL. Each statement finds its rows by an index.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Connection, Engine, event, insert, select, text, update

from ledger.database.engine import read, write
from ledger.errors import TooMany
from ledger.selling.accounts import (
    KEYS_ENDED_MAX,
    KEYS_MAX,
    NewKey,
    add_credit,
    revoke_key,
    save_account,
    save_key,
    save_seller,
    set_seller_terms,
)
from ledger.selling.disputes import ask_retest
from ledger.selling.lapses import UNSOLD_KEPT, load_lapses, note_lapses
from ledger.selling.offers import delete_offer, save_offer
from ledger.selling.own_providers import NewProvider, delete_provider, save_provider
from ledger.selling.purging import PURGES, UNUSED_S
from ledger.selling.sealed_keys import SealedKey
from ledger.tables import (
    MarketAccount,
    MarketKey,
    MarketLapse,
    MarketOffer,
    MarketOwnProvider,
    MarketSeller,
    X402Payment,
    table_of,
)
from market.records.store import load_offers
from tests.support.ledgers import BOTH, POSTGRES, Databases
from tests.support.offers import SELLER, make_offer
from tests.support.postgres import needs_postgres
from tests.support.waiting import LIMIT_S, wait_until

OLD_S: Final = 1_000
BEFORE_S: Final = 2_000
NEW_S: Final = 3_000
SEALED: Final = SealedKey(b"c", b"w", "kms")


@pytest.fixture(params=BOTH)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with Databases(request.param, tmp_path) as databases:
        yield databases.open_ledger()


def purge(engine: Engine, *, limit: int = 100, before_s: int = BEFORE_S) -> int:
    with write(engine) as connection:
        return sum(one(connection, before_s, limit) for one in PURGES)


def ids(engine: Engine, table: type[Any]) -> set[str]:
    columns = table_of(table).primary_key.columns
    with read(engine) as connection:
        return {str(row[0]) for row in connection.execute(select(*columns))}


def make_account(connection: Connection, name: str, *, now_s: int) -> str:
    wallet = f"wallet of {name}"
    return save_account(connection, account_id=name, kind="prepaid", wallet=wallet, now_s=now_s)


def make_key(
    connection: Connection, name: str, owner: str, *, now_s: int = OLD_S, **changes: Any
) -> None:
    given: dict[str, Any] = {"kind": "buyer", "label": "", "expires_at_s": None, **changes}
    key = NewKey(key_id=name, key_hash=f"hash of {name}", owner=owner, **given)
    save_key(connection, key, now_s=now_s)


def make_provider(connection: Connection, name: str, account: str) -> None:
    provider = NewProvider(name, account, "", "https://p.example", "{}", "priority")
    save_provider(connection, provider, SEALED, now_s=OLD_S)


def put_payment(connection: Connection, name: str, account: str, **changes: Any) -> None:
    values = {
        "payment_id": name,
        "account_id": account,
        "payer": "0xa",
        "payee": "0xb",
        "value_usdc": 1,
        "valid_after_s": 0,
        "valid_before_s": OLD_S,
        "nonce": f"nonce of {name}",
        "signature": "0xd",
        "purpose": "topup",
        "request_digest": "e",
        "state": "expired",
        "failures": 0,
        "look_at_s": 0,
        "from_block": 0,
        "is_final": False,
        "credited_usdc": 0,
        "created_at_s": OLD_S,
        "updated_at_s": OLD_S,
        **changes,
    }
    connection.execute(insert(table_of(X402Payment)).values(values))


def test_purge__keys__only_those_that_ended_long_ago(engine: Engine) -> None:
    with write(engine) as connection:
        make_account(connection, "a", now_s=OLD_S)
        make_key(connection, "live", "a")
        make_key(connection, "lives on", "a", expires_at_s=NEW_S)
        make_key(connection, "expired", "a", expires_at_s=OLD_S + 1)
        for name, revoked_at_s in (("revoked", OLD_S), ("revoked lately", NEW_S)):
            make_key(connection, name, "a")
            revoke_key(connection, kind="buyer", owner="a", key_id=name, now_s=revoked_at_s)

    assert purge(engine) == 2
    assert ids(engine, MarketKey) == {"live", "lives on", "revoked lately"}
    assert ids(engine, MarketAccount) == {"a"}
    assert purge(engine) == 0


def test_purge__offers_and_providers__only_deleted_ones(engine: Engine) -> None:
    with write(engine) as connection:
        save_seller(connection, address=SELLER, now_s=OLD_S)
        make_account(connection, "a", now_s=OLD_S)
        for name in ("kept", "gone", "gone lately"):
            save_offer(connection, make_offer(name), SEALED, now_s=OLD_S)
            make_provider(connection, name, "a")
        for name, now_s in (("gone", OLD_S), ("gone lately", NEW_S)):
            delete_offer(connection, offer_id=name, seller=SELLER, now_s=now_s)
            delete_provider(connection, provider_id=name, account_id="a", now_s=now_s)

    assert purge(engine) == 2
    assert ids(engine, MarketOffer) == ids(engine, MarketOwnProvider) == {"kept", "gone lately"}


def test_purge__offer_whose_quotas_lapsed__goes_with_them_and_few_are_kept_before(
    engine: Engine,
) -> None:
    with write(engine) as connection:
        save_seller(connection, address=SELLER, now_s=OLD_S)
        save_offer(connection, make_offer("o"), SEALED, now_s=OLD_S)
        offer = table_of(MarketOffer)
        for number in range(UNSOLD_KEPT + 3):
            resets = {"quota_resets_at_s": OLD_S + number, "falls_from_s": 0}
            connection.execute(update(offer).values(**resets, quota_total_usdc=5))
            assert note_lapses(connection, now_s=NEW_S) == 1
            assert note_lapses(connection, now_s=NEW_S) == 0

        lapses = load_lapses(connection, make_offer("o").seller, limit=100)
        assert [one["lapsed_usdc"] for one in lapses] == [5] * UNSOLD_KEPT
        assert lapses[0]["resets_at_s"] == OLD_S + UNSOLD_KEPT + 2
        delete_offer(connection, offer_id="o", seller=SELLER, now_s=OLD_S)

    # The seller of nothing goes too.
    assert purge(engine) == UNSOLD_KEPT + 2
    assert ids(engine, MarketOffer) == ids(engine, MarketLapse) == set()


def test_purge__payments__only_those_that_can_bring_nothing(engine: Engine) -> None:
    with write(engine) as connection:
        make_account(connection, "a", now_s=OLD_S)
        put_payment(connection, "expired", "a")
        put_payment(connection, "failed", "a", state="failed")
        put_payment(connection, "still valid", "a", valid_before_s=NEW_S)
        put_payment(connection, "waits", "a", state="verified")
        put_payment(connection, "settled", "a", state="settled", credited_usdc=1)
        put_payment(connection, "lately", "a", updated_at_s=NEW_S)

    assert purge(engine) == 2
    assert ids(engine, X402Payment) == {"still valid", "waits", "settled", "lately"}


def test_purge__accounts_and_sellers__only_those_that_nothing_is_left_of(engine: Engine) -> None:
    with write(engine) as connection:
        for name in ("empty", "credited", "with a key", "pays"):
            make_account(connection, name, now_s=OLD_S)
        make_account(connection, "young", now_s=NEW_S)
        add_credit(
            connection,
            credit_id="c",
            account_id="credited",
            amount_usdc=1,
            source="test",
            now_s=OLD_S,
        )
        make_key(connection, "k", "with a key")
        put_payment(connection, "p", "pays", state="verified")
        for address, now_s in ((SELLER, OLD_S), ("0xyoung", NEW_S), ("0xkey", OLD_S)):
            save_seller(connection, address=address, now_s=now_s)
        make_key(connection, "s", "0xkey", kind="seller")

    assert purge(engine) == 2
    assert ids(engine, MarketAccount) == {"credited", "with a key", "pays", "young"}
    assert ids(engine, MarketSeller) == {"0xyoung", "0xkey"}


def test_purge__sellers_that_were_refused_or_noted__stay(engine: Engine) -> None:
    with write(engine) as connection:
        for address in ("refused", "noted", "pending"):
            save_seller(connection, address=address, now_s=OLD_S)
        set_seller_terms(connection, address="refused", is_trusted=False, now_s=OLD_S)
        set_seller_terms(connection, address="noted", note="asks a lot", now_s=OLD_S)

    assert purge(engine) == 1
    assert ids(engine, MarketSeller) == {"refused", "noted"}


def test_purge__seller_changes_its_account__deleted_offers_go_all_the_same(engine: Engine) -> None:
    with write(engine) as connection:
        save_seller(connection, address=SELLER, now_s=OLD_S)
        for name in ("kept", "gone"):
            save_offer(connection, make_offer(name), SEALED, now_s=OLD_S)
        delete_offer(connection, offer_id="gone", seller=SELLER, now_s=OLD_S)
        set_seller_terms(connection, address=SELLER, payout_policy="daily", now_s=NEW_S)
        changed = load_offers(connection, changed_since_s=NEW_S)

    assert [one.row["offer_id"] for one in changed] == ["kept"], "markets hear of the live one"
    assert purge(engine) == 1
    assert ids(engine, MarketOffer) == {"kept"}


@needs_postgres
def test_purge__somebody_signs_in_meanwhile__keeps_what_the_key_is_for(tmp_path: Path) -> None:
    with Databases(POSTGRES, tmp_path) as databases:
        engine = databases.open_ledger()
        with write(engine) as connection:
            account = make_account(connection, "a", now_s=OLD_S)
            save_seller(connection, address=SELLER, now_s=OLD_S)
        with write(engine) as connection:
            # Found, and no key yet: nothing else keeps them.
            assert make_account(connection, "a", now_s=NEW_S) == account
            save_seller(connection, address=SELLER, now_s=NEW_S)

            assert purge(engine) == 0
            make_key(connection, "buyer's", account)
            make_key(connection, "seller's", SELLER, kind="seller")

        assert purge(engine) == 0
        assert ids(engine, MarketAccount) == {account}
        assert ids(engine, MarketSeller) == {SELLER}


@needs_postgres
def test_purge__commits_while_somebody_signs_in__the_account_is_opened_again(
    tmp_path: Path,
) -> None:
    with Databases(POSTGRES, tmp_path) as databases:
        engine = databases.open_ledger()
        with write(engine) as connection:
            make_account(connection, "old", now_s=OLD_S)
        with ThreadPoolExecutor(1) as other, write(engine) as purging:
            # Between a purge's two statements: the account is held, and still there.
            purging.execute(select(table_of(MarketAccount)).with_for_update())
            signed_in = other.submit(sign_in, engine)
            wait_until(lambda: count_waiting(engine) > 0)
            assert sum(one(purging, BEFORE_S, 100) for one in PURGES) == 1
            purging.commit()
            assert signed_in.result(LIMIT_S) == "new"

        assert ids(engine, MarketAccount) == {"new"}
        assert ids(engine, MarketKey) == {"k"}


def sign_in(engine: Engine) -> str:
    with write(engine) as connection:
        account = save_account(
            connection, account_id="new", kind="prepaid", wallet="wallet of old", now_s=NEW_S
        )
        make_key(connection, "k", account)
        return account


def count_waiting(engine: Engine) -> int:
    """Return how many sessions wait for another's lock."""
    query = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
    where = " WHERE NOT granted AND datname = current_database()"
    with read(engine) as connection:
        return int(connection.execute(text(query + where)).scalar_one())


def test_purge__more_than_the_limit__in_several_turns(engine: Engine) -> None:
    with write(engine) as connection:
        for number in range(5):
            make_account(connection, f"a{number}", now_s=OLD_S)

    assert [purge(engine, limit=2) for _ in range(4)] == [2, 2, 1, 0]


def test_purge__live_keys_that_nothing_was_done_with__are_forgotten_in_the_end(
    engine: Engine,
) -> None:
    with write(engine) as connection:
        for name in ("idle", "credited", "has a provider", "signs in again"):
            make_account(connection, name, now_s=OLD_S)
            make_key(connection, f"key of {name}", name)
        add_credit(
            connection,
            credit_id="c",
            account_id="credited",
            amount_usdc=1,
            source="test",
            now_s=OLD_S,
        )
        make_provider(connection, "p", "has a provider")
        make_key(connection, "new key", "signs in again", now_s=BEFORE_S + UNUSED_S)
        for address in (SELLER, "0xidle"):
            save_seller(connection, address=address, now_s=OLD_S)
            make_key(connection, f"key of {address}", address, kind="seller")
        save_offer(connection, make_offer("o"), SEALED, now_s=OLD_S)
    kept = {"key of credited", "key of has a provider", "new key", f"key of {SELLER}"}

    assert purge(engine) == 0
    assert purge(engine, before_s=BEFORE_S + UNUSED_S) == 5

    assert ids(engine, MarketKey) == kept
    assert ids(engine, MarketAccount) == {"credited", "has a provider", "signs in again"}
    assert ids(engine, MarketSeller) == {SELLER}


def test_save_key__made_and_revoked_over_and_over__forgets_the_oldest_and_goes_on(
    engine: Engine,
) -> None:
    with write(engine) as connection:
        make_account(connection, "a", now_s=OLD_S)
        make_key(connection, "in use", "a")
        for number in range(KEYS_ENDED_MAX + 3):
            make_key(connection, f"k{number:03}", "a")
            revoke_key(connection, kind="buyer", owner="a", key_id=f"k{number:03}", now_s=OLD_S)
        make_key(connection, "one more", "a")

    kept = {f"k{number:03}" for number in range(3, KEYS_ENDED_MAX + 3)}
    assert ids(engine, MarketKey) == {"in use", "one more"} | kept


def test_save_key__as_many_live_ones_as_allowed__is_refused(engine: Engine) -> None:
    with write(engine) as connection:
        make_account(connection, "a", now_s=OLD_S)
        for number in range(KEYS_MAX):
            make_key(connection, f"k{number}", "a")

    with pytest.raises(TooMany, match="25 keys are live"), write(engine) as connection:
        make_key(connection, "one more", "a")


def test_purge__each_statement__finds_its_rows_by_an_index(tmp_path: Path) -> None:
    with Databases("sqlite", tmp_path) as databases:
        engine = databases.open_ledger()
        said: list[tuple[str, Any]] = []
        listen: Callable[..., None] = lambda *given: said.append((given[2], given[3]))  # noqa: E731
        event.listen(engine, "before_cursor_execute", listen)
        purge(engine)
        event.remove(engine, "before_cursor_execute", listen)
        deletes = [one for one in said if one[0].startswith("DELETE")]
        with engine.connect() as connection:
            plans = [
                [row[3] for row in connection.exec_driver_sql("EXPLAIN QUERY PLAN " + sql, given)]
                for sql, given in deletes
            ]

    assert len(plans) == len(PURGES)
    assert [step for plan in plans for step in plan if step.startswith("SCAN")] == []


def test_purge__an_offer_that_its_seller_wants_tested_again__stays(engine: Engine) -> None:
    with write(engine) as connection:
        save_seller(connection, address=SELLER, now_s=OLD_S)
        for name in ("tested again", "not"):
            save_offer(connection, make_offer(name), SEALED, now_s=OLD_S)
            delete_offer(connection, offer_id=name, seller=SELLER, now_s=OLD_S)
        ask_retest(
            connection,
            dispute_id="d",
            offer_id="tested again",
            model="m",
            seller=SELLER,
            reason="",
            now_s=OLD_S,
        )

    purge(engine)

    assert ids(engine, MarketOffer) == {"tested again"}
