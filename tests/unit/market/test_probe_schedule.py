"""Which offer is probed next, and what for.

plan
├── a dispute's offer first, whatever its grade, the oldest dispute first
├── D before B, never A; not before it is due, and by the method that looked longest ago
├── live traffic makes it suspect: it is due earlier
└── what it sold does not cover the probe: not at all
budget
└── 1 % of what it sold, rounded down; more only while a buyer's dispute waits, and only what others
    paid; a seller's re-test adds nothing
"""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from contracts.units import SECONDS_PER_DAY
from market.evidence.probes import MAX_TOKENS, TEMPLATES, make_questions
from market.evidence.schedule import (
    METHODS,
    PROMPT_TOKENS,
    ProbeCandidate,
    ProbeRules,
    bound_cost,
    get_allowed_usdc,
    pick_reference,
    plan,
)
from market.evidence.verdicts import Method
from serving.models.grades import Grade
from serving.models.prices import Price

NOW_S = 1_800_000_000
RULES = ProbeRules(Path("keys"), 100, dispute_usdc=250_000, disputes_day_usdc=1_000_000)


def make(offer_id: str, **changes: Any) -> ProbeCandidate:
    values: dict[str, Any] = {
        "grade": Grade.OTHER,
        "cost_usdc": 1_000,
        "sold_ever_usdc": 100_000,
        **changes,
    }
    return ProbeCandidate(offer_id, **values)


def order(*candidates: ProbeCandidate) -> list[str]:
    return [one.offer_id for one in plan(candidates, RULES, secret=b"s", now_s=NOW_S)]


def probed(days_ago: int) -> dict[Method, int]:
    return dict.fromkeys(METHODS, NOW_S - days_ago * SECONDS_PER_DAY)


def test_plan__disputes_first_then_d_then_b__never_a() -> None:
    found = order(
        make("known", grade=Grade.COMPANY),
        make("maker", grade=Grade.MAKER),
        make("new"),
        make("older", probed_at_s=probed(9)),
        make("disputed", grade=Grade.COMPANY, disputed_at_s=NOW_S - 5, probed_at_s=probed(0)),
        make("disputed longer", disputed_at_s=NOW_S - 9, probed_at_s=probed(0)),
    )

    assert found == ["disputed longer", "disputed", "new", "older", "known"]


def test_plan__not_due__waits_about_a_day_or_a_month() -> None:
    names = [f"o{number}" for number in range(200)]

    def due(days_ago: int, grade: Grade = Grade.OTHER) -> int:
        return len(
            order(*(make(name, grade=grade, probed_at_s=probed(days_ago)) for name in names))
        )

    assert (due(0), due(2)) == (0, 200)
    assert 50 < due(1) < 150, "dues are spread"
    assert (due(14, Grade.COMPANY), due(46, Grade.COMPANY)) == (0, 200)
    assert 50 < due(30, Grade.COMPANY) < 150


def test_plan__live_traffic_makes_it_suspect__is_earlier_until_each_method_has_looked() -> None:
    names = [f"o{number}" for number in range(50)]
    last_s = NOW_S - SECONDS_PER_DAY * 2 // 5

    def due(at_s: int | None, *, border_s: int = last_s, first_token_s: int = last_s) -> int:
        last = {Method.BORDER: border_s, Method.FIRST_TOKEN: first_token_s}
        return len(order(*(make(name, probed_at_s=last, watched_at_s=at_s) for name in names)))

    assert (due(None), due(last_s + 1)) == (0, len(names))
    assert due(last_s) == 0, "both methods have looked since"
    assert due(last_s - 9, border_s=last_s - 10) == len(names), "one has not"
    assert due(NOW_S, border_s=NOW_S) == 0, "not at once: who reads the evidence would know when"


def test_plan__methods__take_turns() -> None:
    last = {Method.BORDER: NOW_S - 9 * SECONDS_PER_DAY, Method.FIRST_TOKEN: NOW_S - 1_000_000}

    (first,) = plan([make("o", probed_at_s=last)], RULES, secret=b"s", now_s=NOW_S)

    assert first.method is Method.FIRST_TOKEN


@pytest.mark.parametrize(
    ("sold_usdc", "by", "planned"),
    [
        (99_999, "nobody", 0),
        (100_000, "nobody", 1),
        (0, "nobody", 0),
        (0, "buyer", 1),
        (0, "seller", 0),
        (100_000, "seller", 1),
    ],
)
def test_plan__the_budget__is_covered_beforehand(sold_usdc: int, by: str, planned: int) -> None:
    found = order(
        make(
            "o",
            sold_ever_usdc=sold_usdc,
            disputed_at_s=None if by == "nobody" else NOW_S,
            is_doubted=by == "buyer",
        )
    )

    assert len(found) == planned


@pytest.mark.parametrize(
    ("disputed_usdc", "allowed_usdc"), [(0, 1), (249_999, 249_999), (900_000, 250_000)]
)
def test_get_allowed__a_dispute__pays_no_more_than_others_paid(
    disputed_usdc: int, allowed_usdc: int
) -> None:
    found = get_allowed_usdc(RULES, sold_usdc=199, disputed_usdc=disputed_usdc)

    assert found == allowed_usdc


def test_bound_cost__every_question__fits_its_bound() -> None:
    # A token is at least one character, and these questions are plain English.
    longest = max(
        len(question.text.split())
        for method in METHODS
        for question in make_questions(b"secret", method, Random(1), templates=500)
    )
    assert longest * 2 < PROMPT_TOKENS

    price = Price(1_000_000, 2_000_000, per_request_usdc=3)

    # 125 % of 60 tokens and 100: what a seller who is not approved may report.
    assert bound_cost(price, templates=1) == 8 * (175 + 2 * MAX_TOKENS + 3)
    assert bound_cost(price) == TEMPLATES * bound_cost(price, templates=1)


def test_pick_reference__absurd_prices_on_both_sides__the_middle_one_is_taken() -> None:
    fair, absurd, dumped = Price(3, 6), Price(10**9, 10**9), Price(0, 0)

    assert pick_reference([absurd, fair, dumped], []) == fair
    assert pick_reference([dumped, absurd, fair], []) == fair


def test_pick_reference__approved_sellers__count_alone_where_there_are_some() -> None:
    fair, absurd = Price(3, 6), Price(10**9, 10**9)

    assert pick_reference([fair], [absurd] * 5) == fair
    assert pick_reference([], [absurd, fair, fair]) == fair
    assert pick_reference([], []) is None
