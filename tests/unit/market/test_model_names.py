"""What sellers may put on the list of models."""

import pytest

from market.listing.model_names import (
    SELLERS_MODEL_OFFERS_MAX,
    ListingRules,
    check_model,
    check_room,
    check_strangers_room,
)
from serving.http.errors import RequestRejected
from serving.models.names import index_looks

LOOKS = index_looks(["gpt-4o"])
RULES = ListingRules(new_models_max=2, offers_max=5, model_offers_max=40)


def test_check_model__imitates_a_known_one__is_refused_with_its_name() -> None:
    with pytest.raises(RequestRejected, match="'gpt-4o'") as refused:
        check_model("gpt-40", is_known=False, looks=LOOKS)

    assert (refused.value.status, refused.value.code) == (400, "model_looks_alike")


@pytest.mark.parametrize(("model", "is_known"), [("gpt-4o", False), ("gpt-40", True), ("m", False)])
def test_check_model__known_or_distinct__passes(model: str, is_known: bool) -> None:
    check_model(model, is_known=is_known, looks=LOOKS)


@pytest.mark.parametrize(
    ("is_new", "new_models_listed", "offers_listed", "code"),
    [
        (True, 1, 4, None),
        (True, 2, 4, "too_many_new_models"),
        (False, 2, 4, None),
        (False, 9, 4, None),
        (False, 0, 5, "market_full"),
        (True, 0, 5, "market_full"),
    ],
)
def test_check_room__full__takes_known_models_longest(
    is_new: bool, new_models_listed: int, offers_listed: int, code: str | None
) -> None:
    try:
        check_room(
            RULES,
            is_new=is_new,
            new_models_listed=new_models_listed,
            offers_listed=offers_listed,
        )
    except RequestRejected as refused:
        assert (refused.status, refused.code) == (409, code)
    else:
        assert code is None


@pytest.mark.parametrize(
    ("in_all", "own", "is_taken"),
    [
        (39, SELLERS_MODEL_OFFERS_MAX - 1, True),
        (39, SELLERS_MODEL_OFFERS_MAX, False),
        (40, 0, False),
    ],
)
def test_check_strangers_room__model_offered_often_enough__is_refused(
    in_all: int, own: int, is_taken: bool
) -> None:
    try:
        check_strangers_room(RULES, model_offers_listed=in_all, own_offers_listed=own)
    except RequestRejected as refused:
        assert (refused.status, refused.code, refused.param) == (409, "too_many_offers", "model")
        assert not is_taken
    else:
        assert is_taken
