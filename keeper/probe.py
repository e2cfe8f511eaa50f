"""Finding the items that a contract refuses: one bad position must not fail its whole batch."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from contracts.bindings import Contracts
from contracts.errors import Reverted
from keeper.calls import Call, build_hold, build_payout, build_settle
from keeper.facts import HoldItem, Item, Kind, PayoutItem, SettleItem
from keeper.node import Node
from ledger.selling.payouts import PlannedPayout
from ledger.spending.batches import PlannedBatch

T = TypeVar("T")

NO_BATCH: Final = "0x" + "ff" * 32
"""A batch id that no ledger makes: their lower half counts from 0."""


def find_refused(items: Sequence[T], is_refused: Callable[[Sequence[T]], bool]) -> list[T] | None:
    """Return the items that are refused by themselves; None where no item is to blame.

    Halves what is refused until single items are left: about twice log2 of the items tries for
    each bad one. Nobody is to blame where even no items are refused (the sender may not, the
    contract is paused), and where the halves pass but not the whole.
    """
    if is_refused([]):
        return None
    found: list[T] = []
    left = [list(items)]
    while left:
        part = left.pop()
        if not is_refused(part):
            continue
        if len(part) == 1:
            found += part
            continue
        middle = len(part) // 2
        left += [part[middle:], part[:middle]]
    return found or None


class Probe:
    """Tries batches of items on the next block, in the name of ``sender``."""

    def __init__(self, node: Node, contracts: Contracts, *, sender: str) -> None:
        self._node = node
        self._contracts = contracts
        self._sender = sender

    def find_refused(self, kind: Kind, items: Sequence[Item]) -> list[Item] | None:
        """Return which items of a refused action to leave out, None where that would not help."""
        if kind not in (Kind.SETTLE, Kind.HOLD, Kind.PAYOUT):
            return None
        return find_refused(items, lambda part: self._is_refused(kind, part))

    def _is_refused(self, kind: Kind, items: Sequence[Item]) -> bool:
        call = self._build(kind, items)
        try:
            self._node.call({"from": self._sender, "to": call.to, "data": call.data})
        except Reverted:
            return True
        return False

    def _build(self, kind: Kind, items: Sequence[Item]) -> Call:
        if kind is Kind.HOLD:
            return build_hold(self._contracts, [i for i in items if isinstance(i, HoldItem)])
        if kind is Kind.PAYOUT:
            paid = tuple((i.payee, i.amount_usdc) for i in items if isinstance(i, PayoutItem))
            return build_payout(self._contracts, PlannedPayout(NO_BATCH, paid))
        costs = tuple((i.token_id, i.posted_usdc) for i in items if isinstance(i, SettleItem))
        return build_settle(self._contracts, PlannedBatch(NO_BATCH, "0x" + "00" * 32, costs))
