"""What a day's budgets let through.

::

    no bound                    everything
    an account past its own     its items wait, the others go; not those that lose served usage
    a kind near its own         as many as fit; the first of a day whatever it costs
    a kind past its own         everything waits; not those that lose served usage,
                                nor the first release of a day, nor what brings its gas
    what payers fail            a budget of its own, and none of what brings its gas
    what is planned             counts before it is spent: over transactions, and in one
    what is left of a batch     must pay for it
"""

from dataclasses import dataclass

import pytest

from keeper.budgets import (
    PAID,
    WHOLE_KIND,
    Budgets,
    find_charged,
    find_fund,
    get_release_account,
    judge_fund,
    keep_to_budgets,
)
from keeper.gas import GasPrice
from keeper.worth import APART, BUDGET, Decision, Unworthy

PRICE = GasPrice(fee_wei=10**9, ether_price_usdc=1_000_000)
"""A settlement costs 32 units, and 16 more for each of its items."""


@dataclass(frozen=True)
class Due:
    """An item, as far as budgets go."""

    subject: int
    reason: str = "age"
    brings_usdc: int = 1_000

    @property
    def account(self) -> str:
        return str(self.subject)


def decide(
    *transactions: tuple[Due, ...],
    kind_usdc_max: int = 0,
    account_usdc_max: int = 0,
    spent: dict[str, int] | None = None,
    kind: str = "settle",
) -> tuple[list[list[int]], list[int]]:
    """Return the subjects of each transaction, and those that wait for another day."""
    spent_usdc = {(kind, account): usdc for account, usdc in (spent or {}).items()}
    budgets = Budgets(kind_usdc_max, account_usdc_max, spent_usdc)
    decided = keep_to_budgets(kind, Decision(list(transactions)), budgets, PRICE)
    assert all((one.kind, one.reason) == (kind, BUDGET) for one in decided.unworthy)
    sent = [[item.subject for item in items] for items in decided.transactions]
    return sent, [int(one.subject) for one in decided.unworthy]


def test_budgets__no_bound__everything() -> None:
    spent = {WHOLE_KIND: 10**9, "1": 10**9}

    assert decide((Due(1), Due(2)), spent=spent) == ([[1, 2]], [])


@pytest.mark.parametrize(("spent_usdc", "waits"), [(68, []), (69, [1])])
def test_budgets__an_account_at_its_bound__waits_alone(spent_usdc: int, waits: list[int]) -> None:
    # Each of two items costs 32.
    sent, left = decide((Due(1), Due(2)), account_usdc_max=100, spent={"1": spent_usdc})

    assert left == waits
    assert sent == [[2] if waits else [1, 2]]


@pytest.mark.parametrize(
    ("spent_usdc", "sent", "waits"),
    [(936, [[1, 2]], []), (937, [[1]], [2]), (952, [[1]], [2]), (953, [], [1, 2])],
)
def test_budgets__a_kind_near_its_bound__sends_as_many_as_fit(
    spent_usdc: int, sent: list[list[int]], waits: list[int]
) -> None:
    spent = {WHOLE_KIND: spent_usdc}

    assert decide((Due(1), Due(2)), kind_usdc_max=1_000, spent=spent) == (sent, waits)


def test_budgets__a_batch_over_the_whole_budget__is_trimmed_and_not_dropped() -> None:
    # 25 units, and 16 for each of its holds.
    batch = tuple(Due(number) for number in range(200))

    sent, left = decide(batch, kind="hold", kind_usdc_max=505)

    assert (sent, left) == ([list(range(30))], list(range(30, 200)))


def test_budgets__nothing_spent_yet__the_first_item_goes_whatever_it_costs() -> None:
    assert decide((Due(1), Due(2)), kind_usdc_max=1) == ([[1]], [2])
    assert decide((Due(1),), account_usdc_max=1) == ([[1]], [])
    assert decide((Due(1),), spent={WHOLE_KIND: 1}, kind_usdc_max=1) == ([], [1])
    assert decide((Due(1),), spent={"1": 1}, account_usdc_max=1) == ([], [1])


def test_budgets__what_would_lose_served_usage__goes_past_both() -> None:
    sent, left = decide(
        (Due(1, "expiry"), Due(2), Due(3, "release"), Due(4, "release")),
        kind_usdc_max=1,
        account_usdc_max=1,
        spent={WHOLE_KIND: 10, "1": 10, "4": 10, get_release_account("4"): 10},
    )

    assert (sent, sorted(left)) == ([[1, 3]], [2, 4]), "a release once a day"


def test_budgets__a_hold_was_placed_and_the_budget_is_gone__the_first_release_goes() -> None:
    spent = {WHOLE_KIND: 10, "1": 10}
    due = Due(1, "release")

    assert decide((due,), kind="hold", kind_usdc_max=1, account_usdc_max=1, spent=spent) == (
        [[1]],
        [],
    )


PAYMENT = Due(1, "signed")
DOUBTED = Due(2, APART)
"""A payment that goes alone costs 100 units."""


def test_budgets__what_brings_its_gas__goes_past_a_kinds_budget() -> None:
    spent = {WHOLE_KIND: 10_000}

    def sent(kind: str, *items: Due) -> list[list[int]]:
        return decide(items, kind=kind, kind_usdc_max=100, spent=spent)[0]

    for kind in ("x402", "harvest", "sweep", "payout"):
        assert sent(kind, PAYMENT) == [[1]], kind
    # 80 units: less than it costs, though a rule binds it.
    assert sent("payout", Due(1, "overdue", brings_usdc=79)) == []
    assert sent("hold", Due(1)) == [], "what a hold secures is no money yet"


def test_budgets__strangers_burnt_a_days_budget__sound_payments_go_and_doubted_ones_wait() -> None:
    spent = {WHOLE_KIND: 500, PAID: 350, APART: 150}

    sent, left = decide((PAYMENT,), (DOUBTED,), kind="x402", kind_usdc_max=150, spent=spent)

    assert (sent, left) == ([[1]], [2])


def test_budgets__sound_payments_cost_more_than_a_days_budget__doubted_ones_go_too() -> None:
    spent = {WHOLE_KIND: 500, PAID: 500}

    sent, left = decide((PAYMENT,), (DOUBTED,), kind="x402", kind_usdc_max=150, spent=spent)

    assert (sent, left) == ([[1], [2]], [])


def test_budgets__an_account_past_its_own__what_brings_its_part_goes() -> None:
    # Two share 165 units.
    def sent(brings_usdc: int) -> list[list[int]]:
        items = (Due(1, "signed", brings_usdc), Due(2, "signed"))
        return decide(items, kind="x402", account_usdc_max=10, spent={"1": 10})[0]

    assert sent(83) == [[1, 2]]
    assert sent(82) == [[2]]


def test_find_charged__who_cost_something_alone() -> None:
    both = ["1", "2"]

    assert find_charged(both, fund=PAID, has_failed=False) == ()
    assert find_charged(both, fund=WHOLE_KIND, has_failed=True) == (), "one spoilt it for all"
    assert find_charged(both, fund=WHOLE_KIND, has_failed=False) == both
    assert find_charged(["1"], fund=APART, has_failed=True) == ["1"]


def test_funds__by_what_a_transaction_brings_and_brought() -> None:
    assert find_fund("x402", [PAYMENT], PRICE) == PAID
    assert find_fund("x402", [Due(1, "signed", brings_usdc=99)], PRICE) == WHOLE_KIND
    assert find_fund("x402", [DOUBTED], PRICE) == APART
    assert find_fund("hold", [PAYMENT], PRICE) == WHOLE_KIND

    after = {
        (fund, has_failed): judge_fund(fund, has_failed=has_failed)
        for fund in (PAID, APART, WHOLE_KIND)
        for has_failed in (False, True)
    }
    assert after == {
        (PAID, False): PAID,
        (PAID, True): WHOLE_KIND,
        (APART, False): PAID,
        (APART, True): APART,
        (WHOLE_KIND, False): WHOLE_KIND,
        (WHOLE_KIND, True): WHOLE_KIND,
    }


def test_budgets__several_transactions__count_together() -> None:
    # Alone an item costs 48.
    sent, left = decide((Due(1),), (Due(2),), (Due(3),), kind_usdc_max=100)

    assert (sent, left) == ([[1], [2]], [3])


def test_budgets__an_account_several_times__counts_together() -> None:
    assert decide((Due(1),), (Due(1),), account_usdc_max=90) == ([[1]], [1])


def test_budgets__what_is_left_does_not_pay__waits_too() -> None:
    items = (Due(1, brings_usdc=1_000), Due(2, brings_usdc=40))

    assert decide(items, account_usdc_max=100, spent={"1": 100}) == ([], [1, 2])


def test_budgets__what_was_left_before__stays_named() -> None:
    before = Unworthy("settle", 9, "share", 1, 2)
    budgets = Budgets(kind_usdc_max=1, spent_usdc={("settle", WHOLE_KIND): 1})

    decided = keep_to_budgets("settle", Decision([(Due(1),)], (before,)), budgets, PRICE)

    assert decided.unworthy == (before, Unworthy("settle", 1, BUDGET, 1_000, 48))
