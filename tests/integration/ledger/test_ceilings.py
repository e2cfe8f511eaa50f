"""A supplier's ceilings hold over all processes, and only an approved supplier sells.

::

    reserved ──► tokens of the quota, a request of the minute; refused where one is too many
    posted ────► what was used; what was reserved beyond is free; nothing left: exhausted
    voided ────► the tokens are free again, the request of the minute is not
"""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select, update

from ledger.audit import find_violations
from ledger.database.engine import read, write
from ledger.errors import LedgerContended, OfferRepeated
from ledger.selling.ceilings import note_exhausted
from ledger.selling.sale_records import SaleRefused
from ledger.selling.sales import sweep_sales, void_sale
from ledger.selling.sealed_keys import SealedKey
from ledger.suppliers.accounts import set_kyb_status
from ledger.suppliers.supply_offers import (
    ask_probe,
    change_supply_offer,
    delete_supply_offer,
    load_supply_offer,
    pause_supply_offer,
    resume_supply_offer,
)
from ledger.suppliers.supply_probes import note_probe, take_due_probe
from ledger.tables import SupplierStatusChange, SupplyOffer, table_of
from tests.support.ledgers import BOTH, NOW_S, SQLITE, Databases
from tests.support.supply import make_sale, post, put_buyer, put_supplier, put_supply_offer, reserve

_offer = table_of(SupplyOffer)


@pytest.fixture(params=[SQLITE])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with Databases(request.param, tmp_path) as databases:
        engine = databases.open_ledger()
        with write(engine) as connection:
            put_supplier(connection)
            put_buyer(connection)
        yield engine


def try_to_sell(engine: Engine, tokens: int, *, now_s: int = NOW_S, model: str = "m") -> str:
    """Reserve so many tokens, and post all of them; return what came of it."""
    try:
        with write(engine) as connection:
            sale = make_sale(connection, bound_tokens=tokens, model=model)
            reserve(connection, sale, now_s=now_s)
    except SaleRefused as refused:
        return str(refused.reason)
    with write(engine) as connection:
        post(connection, sale, tokens, now_s=now_s)
    return "sold"


def get_offer(engine: Engine) -> dict[str, object]:
    with read(engine) as connection:
        return dict(connection.execute(select(_offer)).mappings().one())


def check(engine: Engine) -> None:
    with read(engine) as connection:
        assert find_violations(connection) == []


@pytest.mark.parametrize("engine", BOTH, indirect=True)
def test_quota__is_of_all_models_together_and_ends_exhausted(engine: Engine) -> None:
    with write(engine) as connection:
        put_supply_offer(connection, models=("m", "n"), quota_tokens=100)

    told = [try_to_sell(engine, 60), try_to_sell(engine, 41, model="n")]
    told += [try_to_sell(engine, 40, model="n"), try_to_sell(engine, 1)]

    assert told == ["sold", "tokens_spent", "sold", "offer_changed"]
    assert (get_offer(engine)["status"], get_offer(engine)["used_tokens"]) == ("exhausted", 100)
    check(engine)


def test_quota__a_small_rest_that_holds_no_request__is_exhausted_and_refillable(
    engine: Engine,
) -> None:
    with write(engine) as connection:
        put_supply_offer(connection, quota_tokens=100)
    try_to_sell(engine, 60)
    assert try_to_sell(engine, 41) == "tokens_spent"

    with write(engine) as connection:
        assert note_exhausted(connection, "so", now_s=NOW_S)
        change_at_newest(connection, changes={"quota_tokens": 101})

    assert try_to_sell(engine, 41) == "sold"
    check(engine)


def test_quota__below_what_is_used__is_refused(engine: Engine) -> None:
    with write(engine) as connection:
        put_supply_offer(connection, quota_tokens=100)
    try_to_sell(engine, 60)

    with pytest.raises(ValueError, match="60 tokens"), write(engine) as connection:
        change_supply_offer(
            connection,
            supplier_id="s",
            supply_offer_id="so",
            version=int(str(get_offer(engine)["version"])),
            changes={"quota_tokens": 59},
            sealed={},
            now_s=NOW_S,
        )


@pytest.mark.parametrize("was_found_to_serve", [None, False, True])
def test_quota__raised_once_it_was_spent__serves_only_what_a_probe_found_to_serve(
    engine: Engine, was_found_to_serve: bool | None
) -> None:
    names = {"supplier_id": "s", "supply_offer_id": "so"}
    with write(engine) as connection:
        put_supply_offer(connection, quota_tokens=100)
    try_to_sell(engine, 100)
    with write(engine) as connection:
        pause_supply_offer(connection, **names, now_s=NOW_S)
        # Another key is sealed, and its probe finds what it finds while the offer rests.
        sealed = {"so-m": SealedKey(b"c2", b"w2", "kms")}
        change_at_newest(connection, sealed=sealed)
        if was_found_to_serve is not None:
            ask_probe(connection, **names, now_s=NOW_S)
            report = [{"ok": was_found_to_serve}]
            note_probe(connection, "so", key_version=1, report=report, now_s=NOW_S)
        resumed = resume_supply_offer(connection, **names, has_failed=False, now_s=NOW_S)
        change_at_newest(connection, changes={"quota_tokens": 200})

    assert resumed == "exhausted"
    if was_found_to_serve:
        assert (get_offer(engine)["status"], try_to_sell(engine, 1)) == ("active", "sold")
    else:
        assert get_offer(engine)["status"] == "pending_probe"
        assert try_to_sell(engine, 1) == "offer_changed"
        with write(engine) as connection:
            assert take_due_probe(connection, claim_s=60, now_s=NOW_S) is not None
    check(engine)


def test_probe__ok_of_an_offer_whose_quota_is_spent__leaves_it_exhausted(engine: Engine) -> None:
    with write(engine) as connection:
        put_supply_offer(connection, quota_tokens=100)
    try_to_sell(engine, 100)
    with write(engine) as connection:
        change_at_newest(connection, sealed={"so-m": SealedKey(b"c2", b"w2", "kms")})
        note_probe(connection, "so", key_version=1, report=[{"ok": True}], now_s=NOW_S)

    assert get_offer(engine)["status"] == "exhausted"
    check(engine)


def change_at_newest(
    connection: Connection,
    *,
    changes: Mapping[str, Any] | None = None,
    sealed: Mapping[str, SealedKey] | None = None,
) -> None:
    row = load_supply_offer(connection, supplier_id="s", supply_offer_id="so")
    assert row is not None
    change_supply_offer(
        connection,
        supplier_id="s",
        supply_offer_id="so",
        version=row["version"],
        changes=changes or {},
        sealed=sealed or {},
        now_s=NOW_S,
    )


@pytest.mark.parametrize("engine", BOTH, indirect=True)
def test_void__gives_tokens_back_and_not_the_request(engine: Engine) -> None:
    with write(engine) as connection:
        put_supply_offer(connection, quota_tokens=100, rate_limit_rpm=2)
        sale, other = (make_sale(connection, bound_tokens=50) for _ in range(2))
        reserve(connection, sale)
        void_sale(connection, sale.sale_id, reason="server", is_seller_failure=True, now_s=NOW_S)
        reserve(connection, other)
        sweep_sales(connection, now_s=NOW_S + 3_600)

    assert get_offer(engine)["reserved_tokens"] == 0
    assert try_to_sell(engine, 1) == "rate_limited"
    assert try_to_sell(engine, 100, now_s=NOW_S + 60) == "sold"
    check(engine)


def test_post__more_than_was_reserved__uses_no_more_of_the_quota(engine: Engine) -> None:
    with write(engine) as connection:
        put_supply_offer(connection, quota_tokens=100)
        sale = make_sale(connection, bound_tokens=100)
        reserve(connection, sale)
        post(connection, sale, 250)

    assert get_offer(engine)["used_tokens"] == 100
    check(engine)


@pytest.mark.parametrize("status", ["draft", "revision_needed", "suspended", "rejected"])
@pytest.mark.parametrize("engine", BOTH, indirect=True)
def test_reserve__supplier_not_approved__is_refused_and_a_stray_sale_is_found(
    engine: Engine, status: str
) -> None:
    with write(engine) as connection:
        put_supply_offer(connection)
        set_kyb_status(connection, "s", status, change_id="later", now_s=NOW_S - 100)

    assert try_to_sell(engine, 1) == "offer_changed"

    with write(engine) as connection:
        set_kyb_status(connection, "s", "approved", change_id="last", now_s=NOW_S + 100)
    assert try_to_sell(engine, 1) == "sold"
    with read(engine) as connection:
        assert [one.invariant for one in find_violations(connection)] == ["S4"]


def test_statuses__of_probe_pause_and_resume(engine: Engine) -> None:
    def told() -> str:
        return f"{get_offer(engine)['status']}: {try_to_sell(engine, 1)}"

    def probe(*, is_ok: bool, key_version: int = 0) -> None:
        with write(engine) as connection:
            take_due_probe(connection, claim_s=60, now_s=NOW_S)
            note_probe(
                connection,
                "so",
                key_version=key_version,
                report=[{"ok": is_ok}],
                now_s=NOW_S,
            )

    names = {"supplier_id": "s", "supply_offer_id": "so"}
    with write(engine) as connection:
        put_supply_offer(connection, is_probed=False)
    steps = [told()]
    probe(is_ok=False)
    steps.append(told())
    with write(engine) as connection:
        resume_supply_offer(connection, **names, has_failed=False, now_s=NOW_S)
    steps.append(told())
    probe(is_ok=True, key_version=7)
    steps.append(told())
    probe(is_ok=True)
    steps.append(told())
    with write(engine) as connection:
        pause_supply_offer(connection, **names, now_s=NOW_S)
    steps.append(told())
    with write(engine) as connection:
        resume_supply_offer(connection, **names, has_failed=True, now_s=NOW_S)
    steps.append(told())
    probe(is_ok=True)
    with write(engine) as connection:
        pause_supply_offer(connection, **names, now_s=NOW_S)
        resume_supply_offer(connection, **names, has_failed=False, now_s=NOW_S)
    steps.append(told())

    assert steps == [
        "pending_probe: offer_changed",
        "probe_failed: offer_changed",
        "pending_probe: offer_changed",
        "pending_probe: offer_changed",
        "active: sold",
        "paused: offer_changed",
        "pending_probe: offer_changed",
        "active: sold",
    ]


@pytest.mark.parametrize("engine", BOTH, indirect=True)
def test_probe__claimed__is_nobody_elses_until_the_claim_ends(engine: Engine) -> None:
    with write(engine) as connection:
        put_supply_offer(connection, is_probed=False)

    def take(now_s: int) -> bool:
        with write(engine) as connection:
            return take_due_probe(connection, claim_s=60, now_s=now_s) is not None

    assert [take(NOW_S), take(NOW_S + 59), take(NOW_S + 60)] == [True, False, True]


def test_save__the_same_models_in_another_order__is_refused_until_the_first_is_gone(
    engine: Engine,
) -> None:
    with write(engine) as connection:
        put_supply_offer(connection, models=("m", "n"))
    with pytest.raises(OfferRepeated), write(engine) as connection:
        put_supply_offer(connection, "other", models=("n", "m"))
    with write(engine) as connection:
        put_supply_offer(connection, "dearer", models=("n", "m"), bid_usdc_per_mtok=150_001)
        delete_supply_offer(connection, supplier_id="s", supply_offer_id="so", now_s=NOW_S)
        put_supply_offer(connection, "other", models=("n", "m"))


@pytest.mark.parametrize("engine", BOTH, indirect=True)
def test_ceilings__two_processes_at_once__are_never_passed(engine: Engine) -> None:
    with write(engine) as connection:
        put_supply_offer(connection, models=("m", "n"), quota_tokens=105, rate_limit_rpm=30)
    told: Counter[str] = Counter()

    def work(model: str) -> None:
        for place in range(20):
            while True:
                try:
                    told[try_to_sell(engine, 5, model=model, now_s=NOW_S + place // 10)] += 1
                    break
                except LedgerContended:
                    continue

    threads = [threading.Thread(target=work, args=(model,)) for model in ("m", "n")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert told["sold"] == 21
    assert get_offer(engine)["used_tokens"] == 105
    check(engine)


def test_audit__counters_and_bursts_that_are_wrong__are_found(engine: Engine) -> None:
    with write(engine) as connection:
        put_supply_offer(connection, quota_tokens=10_000)
    for _ in range(3):
        try_to_sell(engine, 5)
    with write(engine) as connection:
        connection.execute(update(_offer).values(used_tokens=14, rate_limit_rpm=2))

    with read(engine) as connection:
        found = {(one.invariant, one.subject) for one in find_violations(connection)}

    assert found == {("S3", "supply offer so")}


def test_history__of_statuses__is_kept_for_the_audit(engine: Engine) -> None:
    table = table_of(SupplierStatusChange)
    with read(engine) as connection:
        rows = connection.execute(select(table.c.kyb_status).order_by(table.c.change_id)).scalars()
        assert list(rows) == ["draft", "approved"]
