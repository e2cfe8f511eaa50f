"""Fair shares of a bounded number of places among tenants who need not know of each other. Pure.

Places cannot be taken back before their holder is done, so some are kept for whoever comes next:

- the **reserve**, an eighth of all: a tenant who holds places already gets one of it only while
  it holds less than what is free, times its weight;
- tenants who never paid, the **unproven**, together get three quarters of all places at most, of
  which an eighth is their reserve in the same way.

So one tenant alone gets seven eighths of what is free to its kind. A tenant's **parts**, as the
keys of an account, share what it gets: a part gets half of the reserve as a tenant would that
holds no more than the part does, so that one greedy part does not starve its siblings.

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

    def may_take(
        self,
        tenant: Hashable,
        *,
        weight: int = 1,
        is_proven: bool = True,
        held_by_part: int | None = None,
    ) -> bool:
        """Tell whether a place is free to a tenant; ``weight`` counts within the reserve only.

        ``held_by_part`` is how many of the tenant's places the part of it holds that asks; None:
        it has no parts.
        """
        free, held, reserve = self.free, self._held[tenant], self.reserve
        if not is_proven:
            total = self.total - self.total // PROVEN_PART
            free = min(free, total - self._held_unproven)
            reserve = total // RESERVED_PART
        if free <= 0:
            return False
        if held == 0 or free > reserve or held < weight * (free - 1):
            return True
        return held_by_part is not None and held_by_part < free - 1 - reserve // 2

    def take(
        self,
        tenant: Hashable,
        *,
        weight: int = 1,
        is_proven: bool = True,
        held_by_part: int | None = None,
    ) -> bool:
        """Take a place if one is free to the tenant; tell whether. Arguments: see ``may_take``."""
        if not self.may_take(tenant, weight=weight, is_proven=is_proven, held_by_part=held_by_part):
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
