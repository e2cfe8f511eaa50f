"""The lists of models by whom they are served: the operator's, and those of keys that take more.

By the operator's settings a market is asked for what sellers of some provenance or a better one
serve. The policy of a key, or of its position, may say a lower one: such a key has a list of its
own, in which stand also the models that only those sellers serve. It is asked for once a key is
there that needs it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proxy.catalogue import FRESH_S, Catalogue
from serving.dialects.policy import parse_policy
from serving.models.grades import Grade, meets


def find_minimum_grade(policies: Sequence[Mapping[str, Any]], default: Grade) -> Grade:
    """Return the lowest provenance that may serve: as the policies of a key and its position say,
    which may also loosen it, else as the operator does."""
    said = parse_policy(list(policies)).minimum_grade if policies else None
    return default if said is None else said


class GradedLists:
    """The operator's list, and one for each lower grade that a key has asked by."""

    def __init__(
        self, own: Catalogue, minimum: Grade, build_lower: Callable[[Grade], Catalogue]
    ) -> None:
        """``own`` is the list by the operator's ``minimum``; ``build_lower`` makes one for less."""
        self._own = own
        self._minimum = minimum
        self._build_lower = build_lower
        self._lower: dict[Grade, Catalogue] = {}

    def find_minimum(self, policies: Sequence[Mapping[str, Any]]) -> Grade:
        """Return the lowest provenance that serves under a key's policies, the position's first."""
        return find_minimum_grade(policies, self._minimum)

    async def load(self, minimum: Grade | None) -> Catalogue:
        """Return the list for a lowest provenance; the operator's own unless it is lower.

        The first who asks for a lower one waits for upstream. Never raises: see
        ``CatalogueState.fallback``.
        """
        if minimum is None or meets(minimum, self._minimum):
            return self._own
        lower = self._lower.get(minimum)
        if lower is None:
            lower = self._lower.setdefault(minimum, self._build_lower(minimum))
        if not lower.has_asked:
            await lower.refresh(older_than_s=FRESH_S)
        return lower

    async def refresh(self, *, older_than_s: float = 0.0) -> None:
        """Fetch every list again that is in use and not young. Never raises."""
        lists = (self._own, *self._lower.values())
        await asyncio.gather(*(one.refresh(older_than_s=older_than_s) for one in lists))
