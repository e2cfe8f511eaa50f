"""Fair shares of a bounded number of places among tenants who need not know of each other. Pure.

Places cannot be taken back before their holder is done, so some are kept for whoever comes next:

- the **reserve**, an eighth of all: a tenant who holds places already gets one of it only while
  it holds less than what is free, times its weight;
- tenants who never paid, the **unproven**, together get three quarters of all places at most, of
  which an eighth is their reserve in the same way.

A tenant without a place gets any place that is free to its kind. So nothing but the reserve, and
the proven tenants' quarter, is idle while somebody waits.
"""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

RESERVED_PART: Final = 8
"""One place of so many is reserve; a total below it has none."""
PROVEN_PART: Final = 4
"""One place of so many is for the proven only; a total below it has none."""


@dataclass(slots=True)
class Shares:
    """Who holds how many of ``total`` places. No tenant holds more than is counted here."""

    total: int
    _held: Counter[Hashable] = field(default_factory=Counter)
    _held_in_all: int = 0
    _held_unproven: int = 0

    @property
    def free(self) -> int:
        """How many places nobody holds."""
        return self.total - self._held_in_all

    @property
    def reserve(self) -> int:
        """How many places are kept for tenants who hold little."""
        return self.total // RESERVED_PART

    def get_held(self, tenant: Hashable) -> int:
        """Return how many places a tenant holds."""
        return self._held[tenant]

    def may_take(self, tenant: Hashable, *, weight: int = 1, is_proven: bool = True) -> bool:
        """Tell whether a place is free to a tenant; ``weight`` counts within the reserve only."""
        free, held, reserve = self.free, self._held[tenant], self.reserve
        if not is_proven:
            total = self.total - self.total // PROVEN_PART
            free = min(free, total - self._held_unproven)
            reserve = total // RESERVED_PART
        if free <= 0:
            return False
        return held == 0 or free > reserve or held < weight * (free - 1)

    def take(self, tenant: Hashable, *, weight: int = 1, is_proven: bool = True) -> bool:
        """Take a place if one is free to the tenant; tell whether."""
        if not self.may_take(tenant, weight=weight, is_proven=is_proven):
            return False
        self._held[tenant] += 1
        self._held_in_all += 1
        self._held_unproven += not is_proven
        return True

    def give_back(self, tenant: Hashable, *, is_proven: bool = True) -> None:
        """Give a place back that was taken with the same arguments."""
        assert self._held[tenant] > 0
        self._held[tenant] -= 1
        self._held_in_all -= 1
        self._held_unproven -= not is_proven
        assert self._held_unproven >= 0
        if not self._held[tenant]:
            del self._held[tenant]
