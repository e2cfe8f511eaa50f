"""What may be spent on gas in a day, for each kind and for each account. Pure.

An **account** is on whose behalf a transaction is sent: a position (its token id in digits), a
payer, a payee. Whatever makes transactions cost more than they should, a stranger's trick or a
mistake of ours, ends where the day's budget ends, at the latest. What an account may cost is
bounded by itself, so that nobody uses up the budget of all. What brings its gas costs nothing: no
budget bounds it, and it is charged to no account. Neither is a shared transaction that has failed:
one of several has failed it, and the others must not wait for that.

Whose budget a transaction is of is its **fund**:

==============  ====================================================================================
``PAID``        it brings at least its gas, in money that moves: no budget bounds it
``APART``       its payer may fail it: a budget of its own, of what such payers have failed
``WHOLE_KIND``  anything else, and what of ``PAID`` failed: the kind's budget
==============  ====================================================================================

So what strangers burn never stops what pays for itself. Past its budget an item waits for the next
day (UTC), and the others of its transaction go, as many as fit. The first item of a day goes
whatever it costs. Where waiting costs the operator served usage no budget counts: a settlement
before its hold lapses, a hold that covers what was served. So it is with an owner's first release
of a day; another one costs the owner, where it waits, nothing but the rest of the hold's life.

Amounts are 1e-6 USDC. What was spent is what transactions in blocks have cost; what is about to be
spent counts as ``keeper.worth`` estimates it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, TypeVar

from keeper.gas import GasPrice
from keeper.worth import (
    APART,
    BUDGET,
    PAYING,
    RELEASE,
    Decision,
    Unworthy,
    Weighed,
    get_cost_usdc,
    pays,
)

UNBOUNDED: Final[Mapping[str, frozenset[str]]] = {
    "settle": frozenset({"expiry"}),
    "hold": frozenset({"cover"}),
}
"""The reasons for which a kind's items are sent past any budget."""

WHOLE_KIND: Final = ""
"""The account under which all that a kind has spent is kept."""
PAID: Final = "paid"
"""The account of what transactions cost that have brought their gas."""


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
    """By kind and account; ``WHOLE_KIND`` for all of a kind, with ``PAID`` and ``APART``."""

    def get_spent_usdc(self, kind: str, account: str) -> int:
        """Return what was spent by an account, or by a kind's own fund."""
        spent_usdc = self.spent_usdc.get((kind, account), 0)
        if account != WHOLE_KIND:
            return spent_usdc
        others_usdc = sum(self.spent_usdc.get((kind, fund), 0) for fund in (PAID, APART))
        return max(0, spent_usdc - others_usdc)

    def get_left_usdc(self, kind: str, account: str) -> int | None:
        """Return what is left for a fund of a kind, or an account; None where nothing bounds it."""
        is_fund = account in (WHOLE_KIND, APART)
        bound_usdc = self.kind_usdc_max if is_fund else self.account_usdc_max
        if not bound_usdc or account == PAID:
            return None
        return bound_usdc - self.get_spent_usdc(kind, account)


NO_BUDGETS: Final = Budgets()


def find_fund(kind: str, items: Sequence[Weighed], price: GasPrice) -> str:
    """Return whose budget a transaction is of, before it is sent."""
    if any(item.reason == APART for item in items):
        return APART
    brings_usdc = sum(item.brings_usdc for item in items)
    is_paid = kind in PAYING and brings_usdc >= get_cost_usdc(kind, len(items), price)
    return PAID if is_paid else WHOLE_KIND


def judge_fund(fund: str, *, has_failed: bool) -> str:
    """Return whose budget a transaction was of, now that it is in a block.

    One that has failed has brought nothing; one apart that has not has brought its gas.
    """
    if has_failed:
        return WHOLE_KIND if fund == PAID else fund
    return PAID if fund == APART else fund


def find_charged(accounts: Sequence[str], *, fund: str, has_failed: bool) -> Sequence[str]:
    """Return to whose accounts a transaction in a block is charged: what it cost beyond its gain.

    Where one of several has failed it, the others must not pay for that one.
    """
    is_nobodys = fund == PAID or (has_failed and len(accounts) > 1)
    return () if is_nobodys else accounts


def get_release_account(account: str) -> str:
    """Return the account under which an account's releases are kept."""
    return f"{account}/{RELEASE}"


def keep_to_budgets(
    kind: str, decision: Decision[ItemT], budgets: Budgets, price: GasPrice
) -> Decision[ItemT]:
    """Return a decision without the items that are past a budget; they are named with the rest.

    Those that are left of a transaction must still pay for it together.
    """
    purse = _Purse(kind, budgets, price)
    transactions: list[tuple[ItemT, ...]] = []
    left: list[Unworthy] = []
    for items in decision.transactions:
        kept = purse.keep(items)
        if kept:
            transactions.append(tuple(kept))
        share_usdc = purse.get_share_usdc(items)
        chosen = {id(item) for item in kept}
        left += (
            Unworthy(kind, item.subject, BUDGET, item.brings_usdc, share_usdc)
            for item in items
            if id(item) not in chosen
        )
    return replace(decision, transactions=transactions, unworthy=(*decision.unworthy, *left))


class _Purse:
    """A kind's budgets while a round's transactions are taken from them one by one."""

    def __init__(self, kind: str, budgets: Budgets, price: GasPrice) -> None:
        self._kind = kind
        self._budgets = budgets
        self._price = price
        self._planned_usdc: dict[str, int] = defaultdict(int)

    def get_share_usdc(self, items: Sequence[Spender]) -> int:
        """Return an item's part of its transaction, rounded up."""
        return -(-self._get_cost_usdc(len(items)) // len(items))

    def keep(self, items: Sequence[ItemT]) -> list[ItemT]:
        """Take a transaction's items from the budgets, in their order, as far as these go."""
        within = self._keep_to_accounts(items)
        fund = find_fund(self._kind, within, self._price)
        kept = within if fund == PAID else self._trim(within, fund)
        if len(kept) < len(items) and kept and not pays(self._kind, kept, self._price):
            kept = [item for item in kept if self._is_unbounded(item)]
        share_usdc = self.get_share_usdc(items)
        for item in kept:
            if item.account != WHOLE_KIND:
                self._planned_usdc[item.account] += share_usdc
        if kept and fund != PAID:
            self._planned_usdc[fund] += self._get_cost_usdc(len(kept))
        return kept

    def _keep_to_accounts(self, items: Sequence[ItemT]) -> list[ItemT]:
        """Leave what is past its account's budget, unless it brings its part of the cost."""
        share_usdc = self.get_share_usdc(items)
        is_paid = find_fund(self._kind, items, self._price) == PAID
        taken_usdc: dict[str, int] = defaultdict(int)
        kept: list[ItemT] = []
        for item in items:
            is_free = self._is_unbounded(item) or (is_paid and item.brings_usdc >= share_usdc)
            is_bound = item.account != WHOLE_KIND and not is_free
            wanted_usdc = taken_usdc[item.account] + share_usdc
            if is_bound and not self._fits(
                item.account, wanted_usdc, is_first=wanted_usdc == share_usdc
            ):
                continue
            taken_usdc[item.account] = wanted_usdc
            kept.append(item)
        return kept

    def _trim(self, items: Sequence[ItemT], fund: str) -> list[ItemT]:
        """Return those that go past any budget, and as many of the first others as fit."""
        places = [place for place, item in enumerate(items) if not self._is_unbounded(item)]
        for count in range(len(places), 0, -1):
            dropped = set(places[count:])
            kept = [item for place, item in enumerate(items) if place not in dropped]
            if self._fits(fund, self._get_cost_usdc(len(kept)), is_first=len(kept) == 1):
                return kept
        return [item for item in items if self._is_unbounded(item)]

    def _fits(self, account: str, cost_usdc: int, *, is_first: bool) -> bool:
        left_usdc = self._budgets.get_left_usdc(self._kind, account)
        planned_usdc = self._planned_usdc[account]
        if left_usdc is None or planned_usdc + cost_usdc <= left_usdc:
            return True
        return is_first and not planned_usdc + self._budgets.get_spent_usdc(self._kind, account)

    def _is_unbounded(self, item: Spender) -> bool:
        if item.reason == RELEASE:
            return not self._budgets.get_spent_usdc(self._kind, get_release_account(item.account))
        return item.reason in UNBOUNDED.get(self._kind, ())

    def _get_cost_usdc(self, count: int) -> int:
        return get_cost_usdc(self._kind, count, self._price)
