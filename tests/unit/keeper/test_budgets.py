"""What a day's budgets let through.

::

    no bound                    everything
    an account past its own     its items wait, the others go; not those that lose served usage
    a kind past its own         everything waits; not those that lose served usage,
                                nor the first release of a day
    what is planned             counts before it is spent: over transactions, and in one
    what is left of a batch     must pay for it
"""

from dataclasses import dataclass

import pytest

from keeper.budgets import WHOLE_KIND, Budgets, keep_to_budgets
from keeper.gas import GasPrice
from keeper.worth import BUDGET, Decision, Unworthy

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


@pytest.mark.parametrize(("spent_usdc", "goes"), [(936, True), (937, False)])
def test_budgets__a_kind_at_its_bound__waits_whole(spent_usdc: int, goes: bool) -> None:
    sent, left = decide((Due(1), Due(2)), kind_usdc_max=1_000, spent={WHOLE_KIND: spent_usdc})

    assert (sent, left) == (([[1, 2]], []) if goes else ([], [1, 2]))


def test_budgets__what_would_lose_served_usage__goes_past_both() -> None:
    sent, left = decide(
        (Due(1, "expiry"), Due(2), Due(3, "release"), Due(4, "release")),
        kind_usdc_max=1,
        account_usdc_max=1,
        spent={WHOLE_KIND: 10, "1": 10, "4": 10},
    )

    assert (sent, sorted(left)) == ([[1, 3]], [2, 4]), "a release once a day"


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
    budgets = Budgets(kind_usdc_max=1)

    decided = keep_to_budgets("settle", Decision([(Due(1),)], (before,)), budgets, PRICE)

    assert decided.unworthy == (before, Unworthy("settle", 1, BUDGET, 1_000, 48))
