"""Failures belong to a seller's place, and a request tries a seller once.

::

    place    all offers of one seller at one origin for one model rest together; others do not
             a new offer, a change of one: nothing heals; a new key ends a rest by the old one
    trial    one at a time, and it ends with the offer that has it
    reports  several in a row that cannot be true: a rest
    tried    other sellers first, then other origins of the same, never the same place again
"""

import pytest

from market.endpoints.health import Standing
from market.endpoints.places import get_origin
from market.routing.ranking import Ask, Drop, Offer, OfferState, assess
from market.routing.seller_health import CUTS_BORNE, Place, SellerHealth
from market.routing.tried import Tried
from serving.models.failures import Cause
from serving.models.prices import Price, Tokens

PLACE = Place("0xa", "https://a.example:443", "m")
OTHERS = (
    PLACE._replace(seller="0xb"),
    PLACE._replace(origin="https://b.example:443"),
    PLACE._replace(model="n"),
)


class Clock:
    """A clock that a test moves."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def make() -> tuple[SellerHealth, Clock]:
    clock = Clock()
    return SellerHealth(clock), clock


def test_fail__a_place__rests_and_no_other_does() -> None:
    health, clock = make()
    health.fail(PLACE, Cause.SERVER)

    assert health.get_standing(PLACE) is Standing.BACKING_OFF
    assert {health.get_standing(other) for other in OTHERS} == {Standing.HEALTHY}
    clock.now_s = 11.0
    assert health.get_standing(PLACE) is Standing.ON_TRIAL
    health.begin(PLACE, "offer")
    assert health.get_standing(PLACE) is Standing.TRIAL_TAKEN
    health.succeed(PLACE)
    assert health.get_standing(PLACE) is Standing.HEALTHY


def test_leave__the_offer_with_the_trial_goes__the_trial_is_free_again() -> None:
    health, clock = make()
    health.fail(PLACE, Cause.SERVER)
    clock.now_s = 11.0
    health.begin(PLACE, "offer")
    health.begin(PLACE, "another")

    health.leave(PLACE, "another")
    assert health.get_standing(PLACE) is Standing.TRIAL_TAKEN
    health.leave(PLACE, "offer")
    assert health.get_standing(PLACE) is Standing.ON_TRIAL


@pytest.mark.parametrize(
    ("cause", "standing"),
    [
        (Cause.AUTH, Standing.ON_TRIAL),
        (Cause.FUNDS, Standing.ON_TRIAL),
        (Cause.BAD_FORMAT, Standing.BACKING_OFF),
        (Cause.WRONG_MODEL, Standing.BACKING_OFF),
    ],
)
def test_note_new_key__ends_the_rest_that_the_old_key_caused(
    cause: Cause, standing: Standing
) -> None:
    health, _ = make()
    health.fail(PLACE, cause)

    health.note_new_key(PLACE)

    assert health.get_standing(PLACE) is standing
    assert health.report(PLACE).failures == 1


def test_note_report__cut_several_times_in_a_row__rests() -> None:
    health, _ = make()
    for _ in range(CUTS_BORNE - 1):
        assert not health.note_report(PLACE, is_cut=True)
    health.note_report(PLACE, is_cut=False)
    for _ in range(CUTS_BORNE - 1):
        assert not health.note_report(PLACE, is_cut=True)
    assert health.note_report(PLACE, is_cut=True)

    assert health.report(PLACE).cause is Cause.OVERSTATED
    health.note_report(PLACE, is_cut=False)
    assert not health.note_report(PLACE, is_cut=True), "a good report after the rest"


def test_count_served__in_a_row__a_failure_begins_again() -> None:
    health, _ = make()
    health.succeed(PLACE)
    health.succeed(PLACE)
    assert health.count_served("0xa", "m") == 2
    assert health.count_served("0xa", "n") == 0, "another model proves nothing"
    health.fail(PLACE._replace(model="n"), Cause.SERVER)
    assert health.count_served("0xa", "m") == 2
    health.fail(PLACE, Cause.SERVER)
    assert health.count_served("0xa", "m") == 0


@pytest.mark.parametrize(
    "url", ["https://A.example/v1", "https://a.example:443/x", "https://a.example./"]
)
def test_get_origin__ways_of_writing_one_server__are_one(url: str) -> None:
    assert get_origin(url) == "https://a.example:443"


def make_offer(offer_id: str, seller: str, origin: str) -> Offer:
    return Offer(offer_id, "m", seller, Price(1, 1), origin=origin)


def list_left(tried: Tried, *offers: Offer, last: frozenset[str] = frozenset()) -> list[list[str]]:
    """Return which offers may serve, for each kind of seller in its turn."""
    asks = [Ask("m", Tokens(1, 1), Tokens(1, 1))]
    return [
        [
            offer.offer_id
            for offer in offers
            for ask in narrowed
            if assess(offer, OfferState(), ask).drop is not Drop.BACKING_OFF
        ]
        for narrowed in tried.narrow(asks, last=last)
    ]


def test_narrow__a_seller_failed__others_first_then_its_other_origins() -> None:
    failed, same = make_offer("1", "0xa", "x"), make_offer("2", "0xa", "x")
    elsewhere, other = make_offer("3", "0xa", "y"), make_offer("4", "0xb", "x")
    tried = Tried()
    assert list_left(tried, failed, same, elsewhere, other) == [["1", "2", "3", "4"]]
    tried.offers.add("1")
    tried.note(failed)

    assert list_left(tried, failed, same, elsewhere, other) == [["4"], ["3", "4"]]
    assert list_left(tried, failed, same, elsewhere, other, last=frozenset({"4"})) == [
        [],
        ["4"],
        ["3"],
        ["3", "4"],
    ]


def test_narrow__an_offer_without_room__does_not_count_against_its_seller() -> None:
    full, open_ = make_offer("1", "0xa", "x"), make_offer("2", "0xa", "x")
    tried = Tried()
    tried.offers.add("1")

    assert list_left(tried, full, open_) == [["2"]]
