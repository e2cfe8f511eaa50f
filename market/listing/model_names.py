"""Which models a seller may put on the list: known ones first, new names within limits. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from market.errors import market_full, model_full, name_looks_like, too_many_new_models
from serving.models.names import find_look_alike


@dataclass(frozen=True, slots=True)
class ListingRules:
    """How much approved sellers may list in all, and as much again how much the others may.

    The two are counted apart: what anybody lists takes no room from a seller who is approved.
    """

    new_models_max: int
    """Listed models that no reference names; the operator names one in the prices file."""
    offers_max: int
    model_offers_max: int
    """Listed offers of one model by all sellers who are not approved. Whoever takes them has all of
    them looked at, so what they list must not make that long."""


SELLERS_MODEL_OFFERS_MAX: Final = 20
"""Offers of one model by one seller who is not approved: it takes no others' room."""


def check_model(model: str, *, is_known: bool, looks: Mapping[str, frozenset[str]]) -> None:
    """Refuse a name that looks like another model's. Raises ``RequestRejected`` (400).

    ``is_known``: a reference has exactly this name. ``looks``: see ``serving.models.names``.
    """
    known = find_look_alike(model, looks)
    if known is not None and not is_known:
        raise name_looks_like(known)


def check_strangers_room(
    rules: ListingRules, *, model_offers_listed: int, own_offers_listed: int
) -> None:
    """Refuse an offer of a seller who is not approved where such sellers offer the model often
    enough. Raises ``RequestRejected`` (409).

    ``own_offers_listed``: those of the seller itself, of the same model.
    """
    if own_offers_listed >= SELLERS_MODEL_OFFERS_MAX:
        raise model_full(SELLERS_MODEL_OFFERS_MAX, "of this seller")
    if model_offers_listed >= rules.model_offers_max:
        raise model_full(rules.model_offers_max, "of sellers who are not approved")


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
