"""Who has paid, by the ledger's word: also of a process that has just started."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest
from sqlalchemy import Connection, Engine

from ledger.database.engine import read, write
from ledger.selling.accounts import NewKey, add_credit, save_account, save_key
from ledger.spending.admission import AdmissionRules
from ledger.spending.metering import Post, Reserve, Void
from ledger.tables.usage import Charge, Reservation
from market.records.store import load_key_holder
from proxy.chat.meter import Meter
from proxy.keys.proven import KNOWN_FOR_S, ProvenPositions
from proxy.store import has_paid
from tests.support.ledgers import BOTH, NOW_S, Databases, make_state, put_cursor, put_positions


@pytest.fixture(params=BOTH)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with Databases(request.param, tmp_path) as databases:
        yield databases.open_ledger()


def is_proven(connection: Connection, key: str, *, kind: str = "buyer") -> bool:
    holder = load_key_holder(connection, key_hash=f"hash of {key}", kind=kind, now_s=NOW_S)
    assert holder is not None
    return holder.is_proven


def test_load_key_holder__credit_ever_came__is_proven(engine: Engine) -> None:
    with write(engine) as connection:
        for name in ("new", "paid"):
            save_account(connection, account_id=name, kind="prepaid", wallet=name, now_s=NOW_S)
            key = NewKey(name, f"hash of {name}", "buyer", name, "", None)
            save_key(connection, key, now_s=NOW_S)
        seller = NewKey("s", "hash of seller", "seller", "0xseller", "", None)
        save_key(connection, seller, now_s=NOW_S)
        add_credit(
            connection,
            credit_id="c",
            account_id="paid",
            amount_usdc=1,
            source="test",
            now_s=NOW_S,
        )

    with read(engine) as connection:
        assert is_proven(connection, "paid")
        assert not is_proven(connection, "new")
        assert not is_proven(connection, "seller", kind="seller")


RULES: Final = AdmissionRules(hold_margin_s=60, max_staleness_s=3_600, lease_s=300)


def reserve(connection: Connection, token_id: int) -> str:
    request_id = f"request of {token_id}"
    reservation = Reservation(request_id, token_id, 0, "00" * 8, "model", 1_000, 1, 1)
    Reserve(reservation, RULES, NOW_S, holder_id="holder")(connection)
    return request_id


def test_has_paid__only_what_was_charged_counts(engine: Engine) -> None:
    with write(engine) as connection:
        put_positions(connection, *(make_state(token_id) for token_id in range(4)))
        put_cursor(connection)
        Post(reserve(connection, 0), Charge(10, 1, 1), NOW_S)(connection)
        Post(reserve(connection, 1), Charge(0, 1, 1), NOW_S)(connection)
        Void(reserve(connection, 2), "failed", NOW_S)(connection)
        reserve(connection, 3)

    with read(engine) as connection:
        paid = [has_paid(connection, token_id) for token_id in range(5)]
    assert paid == [True, False, False, False, False]


class Asked:
    """A meter that says who has paid, and counts how often it is asked."""

    def __init__(self) -> None:
        self.answer = False
        self.count = 0

    async def read(self, _: Any) -> bool:
        self.count += 1
        return self.answer


async def test_check__asks_once_while_known__and_never_again_of_who_has_paid() -> None:
    asked, now_s = Asked(), 0.0
    proven = ProvenPositions(cast("Meter", asked), clock=lambda: now_s)

    assert not await proven.check(7)
    asked.answer = True
    assert not await proven.check(7)
    assert asked.count == 1

    now_s = KNOWN_FOR_S + 1
    assert await proven.check(7)
    now_s = 1e9
    assert await proven.check(7)
    assert asked.count == 2


async def test_check__charged_here__is_proven_at_once() -> None:
    asked = Asked()
    proven = ProvenPositions(cast("Meter", asked))
    assert not await proven.check(7)

    proven.note_paid(7)

    assert await proven.check(7)
    assert asked.count == 1
