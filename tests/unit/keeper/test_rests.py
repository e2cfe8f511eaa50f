"""When a due position is looked at again, and which items of a refused batch are left out.

::

    decide_rests
    ├── harvested now → one rest; a suspect's doubles
    ├── worth it, but no room → at once
    ├── poor → when its yield, growing as so far, is worth it
    │   ├── nothing grew → in as long as it has grown for
    │   ├── never later than the age at which it is made at a loss
    │   └── never sooner than one rest
    └── refused → a rest that doubles
    find_refused
    ├── no item is refused alone, or even none at all → None
    └── bad ones → exactly those, in few tries
"""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.duties.harvest import HarvestItem, HarvestQuote, HarvestRest
from keeper.duties.registry import Rules
from keeper.probe import find_refused
from tests.support import decisions
from tests.support.decisions import Scene, decide
from tests.support.ledgers import NOW_S

RULES = Rules()
RECHECK_S = RULES.harvest_recheck_s
WORTH_USDC = 30_000
SCENE = Scene(harvest_gas_usdc=10_000)
HOUR_S = 3_600


def make_quote(credited_usdc: int, *, grown_s: int = HOUR_S, **changes: object) -> HarvestQuote:
    quote = HarvestQuote(
        token_id=3,
        due_at_s=NOW_S - grown_s + 1_800,
        credited_usdc=credited_usdc,
        last_harvest_at_s=NOW_S - grown_s,
    )
    return replace(quote, **changes)  # type: ignore[arg-type]


def rest(quote: HarvestQuote, *, chosen: Sequence[int] = (), refused: bool = False) -> HarvestRest:
    harvests = {"harvests_refused" if refused else "harvests": (quote,)}
    scene = replace(SCENE, **harvests)  # type: ignore[arg-type]
    (found,) = decisions.rest(scene, set(chosen), RULES)
    return replace(found, look_at_s=found.look_at_s - NOW_S)


@pytest.mark.parametrize(
    ("credited_usdc", "grown_s", "rest_s"),
    [
        (WORTH_USDC - 1, HOUR_S, RECHECK_S),
        (20_000, HOUR_S, HOUR_S // 2),
        (15_000, HOUR_S, HOUR_S),
        (1, HOUR_S, HOUR_S),
        (0, HOUR_S, HOUR_S),
        (0, 10, RECHECK_S),
        (0, 10 * RULES.harvest_max_age_s, RULES.harvest_max_age_s),
        (10_000, RULES.harvest_max_age_s, 1_800),
    ],
)
def test_decide_rests__poor__looks_again_when_it_will_be_worth_it(
    credited_usdc: int, grown_s: int, rest_s: int
) -> None:
    assert rest(make_quote(credited_usdc, grown_s=grown_s)) == HarvestRest(3, rest_s, 0)


def test_decide_rests__worth_it_but_no_room__looks_again_at_once() -> None:
    assert rest(make_quote(WORTH_USDC, is_suspect=True, failures=2)) == HarvestRest(3, 0, 2)


def test_decide_rests__harvested__rests_once() -> None:
    assert rest(make_quote(WORTH_USDC, failures=4), chosen=[3]) == HarvestRest(3, RECHECK_S, 0)


@pytest.mark.parametrize(("failures", "times"), [(0, 1), (1, 2), (6, 64), (60, 64)])
def test_decide_rests__suspect_or_refused__rests_longer_each_time(
    failures: int, times: int
) -> None:
    suspect = make_quote(WORTH_USDC, is_suspect=True, failures=failures)
    expected = HarvestRest(3, times * RECHECK_S, failures + 1)

    assert rest(suspect, chosen=[3]) == expected
    assert rest(make_quote(0, failures=failures), refused=True) == expected


@pytest.mark.parametrize(
    ("transactions", "chosen"),
    [(1, [(5, 3, 4)]), (2, [(5, 3, 1), (4,)]), (3, [(5, 3, 1), (4,)])],
)
def test_decide__suspects__go_last_and_one_at_a_time(
    transactions: int, chosen: list[tuple[int, ...]]
) -> None:
    quotes = tuple(
        make_quote(100_000 + token_id, token_id=token_id, is_suspect=token_id % 2 == 0)
        for token_id in range(6)
    )
    rules = Rules(harvest_items_max=3, harvest_transactions_max=transactions)
    actions = decide(replace(SCENE, harvests=quotes), rules)

    assert {action.kind for action in actions} == {"harvest"}
    assert [action.token_ids for action in actions] == chosen
    assert all(isinstance(item, HarvestItem) for action in actions for item in action.items)


def test_decide__more_than_all_transactions_hold__the_largest() -> None:
    quotes = tuple(make_quote(100_000 + token_id, token_id=token_id) for token_id in range(9))
    rules = Rules(harvest_items_max=2, harvest_transactions_max=3)
    actions = decide(replace(SCENE, harvests=quotes), rules)

    assert [action.token_ids for action in actions] == [(8, 7), (6, 5), (4, 3)]


@given(st.sets(st.integers(0, 199), max_size=8), st.integers(1, 200))
def test_find_refused__bad_items__are_found_and_no_others(bad: set[int], count: int) -> None:
    items = list(range(count))
    tries = 0

    def is_refused(part: Sequence[int]) -> bool:
        nonlocal tries
        tries += 1
        return not bad.isdisjoint(part)

    found = find_refused(items, is_refused)

    expected = sorted(bad & set(items))
    assert (found or []) == expected
    assert tries <= 2 + 2 * 8 * max(1, len(expected))


def test_find_refused__even_nothing_is_refused__no_item_is_to_blame() -> None:
    assert find_refused([1, 2], lambda _: True) is None


def test_find_refused__only_all_together__no_item_is_to_blame() -> None:
    assert find_refused([1, 2, 3], lambda part: len(part) == 3) is None
