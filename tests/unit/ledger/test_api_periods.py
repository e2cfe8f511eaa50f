"""Periods of an API's quota, and the audit of calls, on the resale's tables alone."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, insert, update

from ledger.resale.call_audit import find_call_mismatches
from ledger.resale.call_records import NewCall, PeriodTerms
from ledger.resale.periods import (
    change_period,
    load_uses,
    reserve_units,
    resolve_units,
    settle_period,
)
from ledger.tables import ApiCall, ApiConnection, ApiConnectionKey, ApiPeriod, table_of

NOW_S = 1_800_000_000
DAY_S = 86_400
MONTH = PeriodTerms(NOW_S - 10 * DAY_S, NOW_S + 20 * DAY_S, 10_000, 10_000, 0)
OTHER = replace(MONTH, starts_at_s=MONTH.starts_at_s - 9 * 3_600)
TABLES = [table_of(one) for one in (ApiConnection, ApiConnectionKey, ApiPeriod, ApiCall)]
CALL = NewCall(
    "r1",
    0,
    "buyer",
    "key",
    "c1",
    0,
    "owner",
    "owner",
    "GET /a",
    MONTH,
    1,
    150_000,
    True,
    0,
    150_000,
)


@pytest.fixture
def ledger() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        for table in TABLES:
            table.create(connection)
        connection.execute(
            insert(table_of(ApiConnection)).values(
                connection_id="c1",
                owner="owner",
                name="api",
                base_url="https://api.example.com",
                terms="{}",
                payout_address="owner",
                status="enabled",
                version=0,
                created_at_s=0,
                changed_at_s=0,
            )
        )
        yield connection
    engine.dispose()


def sell(ledger: Connection, period: PeriodTerms, *, now_s: int = NOW_S) -> bool:
    """Sell one unit of a period; tell whether it was there."""
    call = replace(CALL, period=period)
    if reserve_units(ledger, call, now_s=now_s) is None:
        return False
    resolve_units(ledger, "c1", period.starts_at_s, freed_units=1, sold_units=1)
    return True


def sell_all(ledger: Connection, period: PeriodTerms) -> int:
    sold = 0
    while sell(ledger, period):
        sold += 1
    return sold


# -------------------------------------------------------------------------- a change of the terms


def test_change__other_time_zone__renews_no_quota(ledger: Connection) -> None:
    small, moved = replace(MONTH, base_units=2), replace(OTHER, base_units=2)
    assert sell_all(ledger, small) == 2

    change_period(ledger, "c1", moved, now_s=NOW_S)

    assert sell_all(ledger, moved) == 0


def test_change__there_and_back__sells_no_more_than_the_quota(ledger: Connection) -> None:
    first, second = replace(MONTH, base_units=4), replace(OTHER, base_units=4)
    sold = 0
    for period in (first, second, first, second, first):
        change_period(ledger, "c1", period, now_s=NOW_S)
        sold += sell(ledger, period)

    assert sold == 4
    audit = " ".join(detail for _, _, detail in find_call_mismatches(ledger))
    assert "sold before" not in audit


def test_change__of_the_period_s_kind__leaves_the_next_period_whole(ledger: Connection) -> None:
    once = replace(MONTH, starts_at_s=0, ends_at_s=2**40, base_units=3)
    month = replace(MONTH, base_units=3)
    sell_all(ledger, once)
    change_period(ledger, "c1", month, now_s=NOW_S)
    following = replace(month, starts_at_s=month.ends_at_s, ends_at_s=month.ends_at_s + 30 * DAY_S)

    assert (sell_all(ledger, month), sell_all(ledger, following)) == (0, 3)


def test_change__more_quota__sells_the_difference(ledger: Connection) -> None:
    sell_all(ledger, replace(MONTH, base_units=2))
    more = replace(MONTH, base_units=5, quota_units=5)

    change_period(ledger, "c1", more, now_s=NOW_S)

    assert load_uses(ledger, {"c1": MONTH.starts_at_s})["c1"].left_units == 3
    assert sell_all(ledger, more) == 3


def test_audit__sold_again_under_other_terms__is_found(ledger: Connection) -> None:
    sell_all(ledger, replace(OTHER, base_units=2))
    change_period(ledger, "c1", replace(MONTH, base_units=9), now_s=NOW_S)
    ledger.execute(update(table_of(ApiPeriod)).values(carried_units=0))

    found = [detail for kind, _, detail in find_call_mismatches(ledger) if kind == "R1"]

    assert "2 units of its time were sold before, 0 of them are counted" in found


# ------------------------------------------------------------------------------- what remains


def test_remaining__of_the_api_s_last_period__is_corrected_by_the_next(ledger: Connection) -> None:
    sell(ledger, MONTH)
    stale = settle_period(ledger, "c1", MONTH, remaining_units=3, now_s=NOW_S)
    assert stale is not None and stale.left_units == 3

    renewed = settle_period(ledger, "c1", MONTH, remaining_units=9_998, now_s=NOW_S)

    assert renewed is not None
    assert (renewed.own_units, renewed.left_units) == (1, 9_998)


def test_remaining__none__lets_one_call_try_after_an_hour(ledger: Connection) -> None:
    sell(ledger, MONTH)
    use = settle_period(ledger, "c1", MONTH, remaining_units=0, now_s=NOW_S)
    assert use is not None
    assert not sell(ledger, MONTH, now_s=NOW_S + 3_599)
    assert not use.has_left(1, MONTH, now_s=NOW_S + 3_599)

    assert use.has_left(1, MONTH, now_s=NOW_S + 3_600)
    tried = [sell(ledger, MONTH, now_s=NOW_S + 3_600) for _ in range(2)]

    assert tried == [True, False]


def test_remaining__all_sold_by_the_market__lets_nothing_try(ledger: Connection) -> None:
    small = replace(MONTH, base_units=2, quota_units=2)
    sell_all(ledger, small)
    settle_period(ledger, "c1", small, remaining_units=0, now_s=NOW_S)

    assert not sell(ledger, small, now_s=NOW_S + DAY_S)


def test_own_calls__all_that_there_is__let_nothing_try_where_the_api_says_nothing(
    ledger: Connection,
) -> None:
    sell(ledger, MONTH)
    resolve_units(ledger, "c1", MONTH.starts_at_s, freed_units=0, own_units=9_999)
    use = settle_period(ledger, "c1", MONTH, remaining_units=None, now_s=NOW_S)
    assert use is not None
    assert use.left_units == 0

    assert not use.has_left(1, MONTH, now_s=NOW_S + DAY_S)
    assert not sell(ledger, MONTH, now_s=NOW_S + DAY_S)


# ------------------------------------------------------------------------------------ audit


def add_call(ledger: Connection, **values: Any) -> None:
    row = {
        "call_id": "r1.0",
        "request_id": "r1",
        "attempt": 0,
        "account_id": "buyer",
        "key_id": "key",
        "connection_id": "c1",
        "owner": "owner",
        "payout_address": "owner",
        "operation": "GET /a",
        "state": "posted",
        "period_starts_at_s": MONTH.starts_at_s,
        "units_max": 2,
        "price_usdc": 150_000,
        "is_flat": False,
        "transaction_fee_usdc": 0,
        "ceiling_usdc": 300_000,
        "units": 1,
        "cost_usdc": 150_000,
        "earning_usdc": 135_000,
        "fee_usdc": 15_000,
        "status": 200,
        "reserved_at_s": NOW_S,
        "lease_expires_at_s": NOW_S,
    }
    ledger.execute(insert(table_of(ApiCall)).values({**row, **values}))


VOIDED = {
    "state": "voided", "units": None, "cost_usdc": None, "earning_usdc": None, "fee_usdc": None
}  # fmt: skip


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ({}, set()),
        ({"earning_usdc": 0, "fee_usdc": 150_000}, {"R3"}),
        ({"earning_usdc": 135_001, "fee_usdc": 14_999}, {"R3"}),
        ({"fee_bps": 2_000, "earning_usdc": 120_000, "fee_usdc": 30_000}, set()),
        ({"status": 500}, {"R2"}),
        ({"status": None}, {"R2"}),
        ({"status": 404}, {"R2"}),
        ({"status": 404, "count_on": "2xx,404"}, set()),
        ({"status": 204, "count_on": "200"}, {"R2"}),
        ({**VOIDED, "status": 200}, {"R2"}),
        ({**VOIDED, "status": 204, "count_on": "200"}, set()),
        ({**VOIDED, "status": 404}, set()),
        ({**VOIDED, "status": None}, set()),
        ({"units": 2}, {"R2"}),
        ({"is_flat": True, "units": 2}, set()),
        ({"transaction_fee_usdc": 1_000}, {"R2", "R3"}),
        (
            {"transaction_fee_usdc": 1_000, "cost_usdc": 151_000, "fee_usdc": 16_000},
            set(),
        ),
    ],
)
def test_audit__call__is_held_against_its_own_terms(
    ledger: Connection, values: dict[str, Any], kinds: set[str]
) -> None:
    add_call(ledger, **values)

    assert {kind for kind, _, _ in find_call_mismatches(ledger)} == kinds


@pytest.mark.parametrize("values", [{"status": "deleted"}, {"terms": '{"api_key":"ak-7Qx"}'}])
def test_audit__credential_outside_its_seal__is_found(
    ledger: Connection, values: dict[str, str]
) -> None:
    key = table_of(ApiConnectionKey)
    ledger.execute(
        insert(key).values(connection_id="c1", ciphertext=b"", wrapped_key=b"", kms_key_id="k")
    )
    assert find_call_mismatches(ledger) == []

    ledger.execute(update(table_of(ApiConnection)).values(**values))

    assert [kind for kind, _, _ in find_call_mismatches(ledger)] == ["R4"]
