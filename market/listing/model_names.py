"""Which models a seller may put on the list: known ones first, new names within limits. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from market.errors import market_full, name_looks_like, too_many_new_models
from serving.models.names import find_look_alike


@dataclass(frozen=True, slots=True)
class ListingRules:
    """How much approved sellers may list in all, and as much again how much the others may.

    The two are counted apart: what anybody lists takes no room from a seller who is approved.
    """

    new_models_max: int
    """Listed models that no reference names; the operator names one in the prices file."""
    offers_max: int


def check_model(model: str, *, is_known: bool, looks: Mapping[str, frozenset[str]]) -> None:
    """Refuse a name that looks like another model's. Raises ``RequestRejected`` (400).

    ``is_known``: a reference has exactly this name. ``looks``: see ``serving.models.names``.
    """
    known = find_look_alike(model, looks)
    if known is not None and not is_known:
        raise name_looks_like(known)


def check_room(
    rules: ListingRules, *, is_new: bool, new_models_listed: int, offers_listed: int
) -> None:
    """Refuse an offer that the market has no room for. Raises ``RequestRejected`` (409).

    What is listed is so by sellers of the same kind. ``is_new``: the model is not listed yet and
    has no reference.
    """
    if offers_listed >= rules.offers_max:
        raise market_full(rules.offers_max)
    if is_new and new_models_listed >= rules.new_models_max:
        raise too_many_new_models(rules.new_models_max)
