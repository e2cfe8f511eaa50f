"""What may be spent on gas in a day, for each kind and for each account. Pure.

An **account** is on whose behalf a transaction is sent: a position (its token id in digits), a
payer, a payee. Whatever makes transactions cost more than they should, a stranger's trick or a
mistake of ours, ends where the day's budget ends, at the latest. What an account may cost is
bounded by itself, so that nobody uses up the budget of all.

Past its budget an item waits for the next day (UTC), except where waiting costs the operator served
usage: a settlement before its hold lapses, a hold that covers what was served. Those are counted
and go on. So does an owner's first release of a day; another one costs the owner, where it waits,
nothing but the rest of the hold's life.

Amounts are 1e-6 USDC. What was spent is what transactions in blocks have cost; what is about to be
spent counts as ``keeper.worth`` estimates it.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, TypeVar

from keeper.gas import GasPrice
from keeper.worth import BUDGET, RELEASE, Decision, Unworthy, Weighed, get_cost_usdc, pays

UNBOUNDED: Final[Mapping[str, frozenset[str]]] = {
    "settle": frozenset({"expiry"}),
    "hold": frozenset({"cover"}),
}
"""The reasons for which a kind's items are sent past any budget."""

WHOLE_KIND: Final = ""
"""The account under which all that a kind has spent is kept."""


class Spender(Weighed, Protocol):
    """An item as far as budgets go."""

    @property
    def account(self) -> str:
        """On whose behalf it is sent; empty for nobody's."""


ItemT = TypeVar("ItemT", bound=Spender)


@dataclass(frozen=True, slots=True)
class Budgets:
    """A day's bounds and what was spent of them. A bound of 0 is none."""

    kind_usdc_max: int = 0
    account_usdc_max: int = 0
    spent_usdc: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By kind and account; ``WHOLE_KIND`` for all of a kind."""

    def get_left_usdc(self, kind: str, account: str) -> int | None:
        """Return what is left for a kind, or for an account in it; None where nothing bounds it."""
        bound_usdc = self.kind_usdc_max if account == WHOLE_KIND else self.account_usdc_max
        if not bound_usdc:
            return None
        return bound_usdc - self.spent_usdc.get((kind, account), 0)


NO_BUDGETS: Final = Budgets()


def keep_to_budgets(
    kind: str, decision: Decision[ItemT], budgets: Budgets, price: GasPrice
) -> Decision[ItemT]:
    """Return a decision without the items that are past a budget; they are named with the rest.

    Those that are left of a transaction must still pay for it together.
    """
    planned_usdc: dict[str, int] = defaultdict(int)
    transactions: list[tuple[ItemT, ...]] = []
    left: list[Unworthy] = []

    def fits(account: str, cost_usdc: int) -> bool:
        left_usdc = budgets.get_left_usdc(kind, account)
        return left_usdc is None or planned_usdc[account] + cost_usdc <= left_usdc

    def is_unbounded(item: Spender) -> bool:
        if item.reason == RELEASE:
            return not budgets.spent_usdc.get((kind, item.account))
        return item.reason in UNBOUNDED.get(kind, ())

    def leave(item: Spender, cost_usdc: int) -> None:
        left.append(Unworthy(kind, item.subject, BUDGET, item.brings_usdc, cost_usdc))

    for items in decision.transactions:
        share_usdc = -(-get_cost_usdc(kind, len(items), price) // len(items))
        kept: list[ItemT] = []
        for item in items:
            is_bound = item.account != WHOLE_KIND and not is_unbounded(item)
            if is_bound and not fits(item.account, share_usdc):
                leave(item, share_usdc)
                continue
            planned_usdc[item.account] += share_usdc
            kept.append(item)
        if len(kept) < len(items) and kept and not pays(kind, kept, price):
            kept = _leave_all(kept, is_unbounded, leave, share_usdc)
        cost_usdc = get_cost_usdc(kind, len(kept), price)
        if kept and not fits(WHOLE_KIND, cost_usdc):
            kept = _leave_all(kept, is_unbounded, leave, share_usdc)
            cost_usdc = get_cost_usdc(kind, len(kept), price)
        if kept:
            planned_usdc[WHOLE_KIND] += cost_usdc
            transactions.append(tuple(kept))
    return replace(decision, transactions=transactions, unworthy=(*decision.unworthy, *left))


def _leave_all(
    items: Sequence[ItemT],
    is_unbounded: Callable[[ItemT], bool],
    leave: Callable[[ItemT, int], None],
    cost_usdc: int,
) -> list[ItemT]:
    """Leave every item alone but those that go past any budget; return these."""
    kept = [item for item in items if is_unbounded(item)]
    for item in items:
        if not is_unbounded(item):
            leave(item, cost_usdc)
    return kept
