"""One look-up of what models cost, for both servers.

Three sources state prices: an upstream at its ``/v1/prices``, the operator's file, and the
``genai-prices`` data set. What is *charged* for a model is what the first of these says; upstream's
word counts only for a while, or for as long as it says. The *reference* is what the model costs at
its own provider: discounts and multipliers stand on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

from genai_prices.data_snapshot import DataSnapshot, get_snapshot

from serving.models.data_set import find_id, list_names, look_up
from serving.models.names import fold, index_looks
from serving.models.price_file import load_price_file
from serving.models.price_list import read_entry, read_reference
from serving.models.terms import Terms

CLOCK_TOLERANCE_S: Final = 300
"""A price stated further in the future has unknown age, so it does not count."""

LOOKED_UP_MAX: Final = 30_000
"""Names kept in memory: the public chooses which names are asked for."""


@dataclass
class References:
    """Upstream's prices over the operator's over the data set's."""

    operator: Mapping[str, Terms] = field(default_factory=dict)
    data_set: DataSnapshot = field(default_factory=get_snapshot)
    upstream_age_s_max: int = 86_400
    """How long what upstream said counts, in seconds."""
    upstream_until_s: int | None = None
    """When the first of upstream's prices ceases to count, by what upstream said of it."""
    _upstream: Mapping[str, Terms] = field(default_factory=dict)
    _upstream_references: Mapping[str, Terms] = field(default_factory=dict)
    _looked_up: dict[str, tuple[Terms | None, int, int | None]] = field(default_factory=dict)
    """The data set's terms by model, and the times between which they are known to hold."""

    def fork(self) -> "References":
        """Return references by the same file and data set to which upstream has said nothing."""
        return replace(self, upstream_until_s=None, _upstream={}, _upstream_references={})

    @cached_property
    def looks(self) -> Mapping[str, frozenset[str]]:
        """The names of the operator's file and of the data set, by what a reader sees of them."""
        return _index(frozenset((*self.operator, *list_names(self.data_set))))

    def is_named(self, model: str) -> bool:
        """Tell whether the operator's file or the data set has exactly this name."""
        return model in self.looks.get(fold(model), ())

    def find_id(self, model: str) -> str | None:
        """Return which model of the data set a name is taken for; None for none."""
        return find_id(self.data_set, model)

    def note_upstream(self, entries: Sequence[Mapping[str, Any]], *, now_s: int) -> None:
        """Take what upstream says of its prices now. An entry that makes no sense is left out."""
        charged: dict[str, Terms] = {}
        references: dict[str, Terms] = {}
        for entry in entries:
            name, terms = entry.get("id"), read_entry(entry, now_s=now_s)
            if not isinstance(name, str) or terms is None:
                continue
            charged[name] = terms
            reference = read_reference(entry)
            if reference is not None:
                references[name] = reference
        self._upstream, self._upstream_references = charged, references
        ends = [terms.valid_until_s for terms in charged.values()]
        self.upstream_until_s = min((end for end in ends if end is not None), default=None)

    def find_terms(self, model: str, *, now_s: int) -> Terms | None:
        """Return what is charged for a model by tokens, or None where that is unknown.

        An embedding's terms have no price of output (``prices_output``): it generates none.
        """
        stated = self._find_upstream(model, now_s)
        if stated is not None:
            return stated
        found = self.find_reference(model, now_s=now_s)
        return found if found is not None and found.tiers else None

    def find_reference(self, model: str, *, now_s: int) -> Terms | None:
        """Return what a model costs at its own provider, or None where that is unknown.

        The operator's file says it first, then the data set: see ``find_discount_base`` for a
        server that charges by that file.
        """
        own = self.operator.get(model)
        return own if own is not None else self._look_up(model, now_s)

    def find_discount_base(self, model: str, *, now_s: int) -> Terms | None:
        """Return the reference that what is charged for a model is compared with.

        Where upstream states the charge, its reference counts, else the operator's file, else the
        data set. Where the operator's file states the charge, the data set's word counts, if it
        has one: nothing is cheaper than itself.
        """
        if self._find_upstream(model, now_s) is not None:
            stated = self._upstream_references.get(model)
            return stated if stated is not None else self.find_reference(model, now_s=now_s)
        known = self._look_up(model, now_s)
        return known if known is not None else self.operator.get(model)

    def _find_upstream(self, model: str, now_s: int) -> Terms | None:
        stated = self._upstream.get(model)
        if stated is None or stated.stated_at_s is None:
            return None
        if stated.valid_until_s is not None and now_s >= stated.valid_until_s:
            return None
        age_s = now_s - stated.stated_at_s
        return stated if -CLOCK_TOLERANCE_S <= age_s <= self.upstream_age_s_max else None

    def _look_up(self, model: str, now_s: int) -> Terms | None:
        known = self._looked_up.get(model)
        if known is not None and known[1] <= now_s and (known[2] is None or now_s < known[2]):
            return known[0]
        if len(self._looked_up) >= LOOKED_UP_MAX:
            self._looked_up.clear()
        terms, until_s = look_up(self.data_set, model, now_s=now_s)
        self._looked_up[model] = (terms, 0 if until_s is None else now_s, until_s)
        return terms


def load_references(path: Path | None, *, upstream_age_s_max: int = 86_400) -> References:
    """Read the operator's file, if there is one. Raises ``PricesInvalid``."""
    return References(load_price_file(path), upstream_age_s_max=upstream_age_s_max)


@lru_cache(maxsize=4)
def _index(names: frozenset[str]) -> Mapping[str, frozenset[str]]:
    """Return ``index_looks`` of two thousand names: once, whoever asks."""
    return index_looks(names)
