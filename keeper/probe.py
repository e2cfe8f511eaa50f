"""Finding the items that a contract refuses: one bad position must not fail its whole batch."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from contracts.errors import Reverted
from keeper.duties.duty import Item
from keeper.duties.registry import AnyDuty
from keeper.node import Node

T = TypeVar("T")


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
    """Tries batches of items on the next block, in the name of their duty's sender."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def find_refused(self, duty: AnyDuty, items: Sequence[Item]) -> list[Item] | None:
        """Return which items of a refused action to leave out, None where that would not help."""
        if duty.build_trial(items) is None:
            return None
        return find_refused(items, lambda part: self._is_refused(duty, part))

    def _is_refused(self, duty: AnyDuty, items: Sequence[Item]) -> bool:
        call = duty.build_trial(items)
        assert call is not None
        try:
            self._node.call(call.request(duty.sender))
        except Reverted:
            return True
        return False
