"""How each seller's endpoints do, as learned from requests.

Failures and rests belong to a **place**: a seller, the origin of its endpoint and a model. They do
not belong to the rows that name the place: forty offers of one wallet for one model rest together,
and neither a change of an offer nor a new one in its stead heals anything. Another model of the
same seller is another place, so that one broken model does not put all others to rest.
"""

import random
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from market.endpoints.health import (
    WELL,
    Health,
    HealthReport,
    Standing,
    begin,
    fail,
    give_up,
)
from serving.models.failures import Cause

PLACES_MAX: Final = 100_000
"""Places that failed and are remembered; the ones that failed longest ago go first."""

CUTS_BORNE: Final = 5
"""Reports in a row that say more than can be true, until their seller rests."""


class Place(NamedTuple):
    """Where a model is served."""

    seller: str
    origin: str
    """Scheme, host and port of the endpoint."""
    model: str


class SellerHealth:
    """The health of every place. Only those that are not well are kept."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` returns seconds on any one clock."""
        self._clock = clock
        self._health: OrderedDict[Place, Health] = OrderedDict()
        self._trials: dict[Place, str] = {}
        """Which offer a trial was given to."""
        self._served: Counter[tuple[str, str]] = Counter()
        """Requests that a seller served in a row, by its address and the model."""
        self._cuts: Counter[str] = Counter()
        """Reports in a row, by seller, that said more than can be true."""

    def get_standing(self, place: Place) -> Standing:
        """Return what may be sent to a place now."""
        return self._get(place).get_standing(self._clock())

    def get_rest_end_s(self, place: Place) -> float:
        """Return when a place's rest ends, on the clock; in the past where it does not rest."""
        return self._get(place).rests_until_s

    def count_served(self, seller: str, model: str) -> int:
        """Return how many requests for a model a seller has served here in a row."""
        return self._served[seller, model]

    def report(self, place: Place) -> HealthReport:
        """Return how a place is doing, as its seller sees it."""
        health, now_s = self._get(place), self._clock()
        rests_s = max(0.0, health.rests_until_s - now_s) if health.failures else 0.0
        return HealthReport(
            health.get_standing(now_s), health.failures, health.cause, round(rests_s, 1)
        )

    def begin(self, place: Place, offer_id: str) -> None:
        """Note that a request is on its way: the first one to a place that is not well is its
        trial."""
        health = self._health.get(place)
        if health is None:
            return
        begun = begin(health, now_s=self._clock())
        if begun.in_trial and not health.in_trial:
            self._trials[place] = offer_id
        self._health[place] = begun

    def give_up(self, place: Place) -> None:
        """Note that a request said nothing of the seller."""
        self._trials.pop(place, None)
        health = self._health.get(place)
        if health is not None:
            self._health[place] = give_up(health)

    def leave(self, place: Place, offer_id: str) -> None:
        """Note that an offer is at this place no more: a trial that it has ends with it."""
        if self._trials.get(place) == offer_id:
            self.give_up(place)

    def succeed(self, place: Place) -> None:
        """Note that a request was served."""
        self._trials.pop(place, None)
        self._health.pop(place, None)
        self._served[place.seller, place.model] += 1

    def fail(self, place: Place, cause: Cause, *, retry_after_s: float | None = None) -> Health:
        """Note a failure; return the health after it."""
        self._trials.pop(place, None)
        self._served.pop((place.seller, place.model), None)
        health = fail(
            self._health.pop(place, WELL),
            cause,
            now_s=self._clock(),
            jitter=random.random(),
            retry_after_s=retry_after_s,
        )
        self._health[place] = health
        while len(self._health) > PLACES_MAX:
            forgotten, _ = self._health.popitem(last=False)
            self._trials.pop(forgotten, None)
        return health

    def note_report(self, place: Place, *, is_cut: bool) -> bool:
        """Note whether a seller's report said more than can be true; tell whether it rests now."""
        if not is_cut:
            self._cuts.pop(place.seller, None)
            return False
        self._cuts[place.seller] += 1
        if self._cuts[place.seller] < CUTS_BORNE:
            return False
        self.fail(place, Cause.OVERSTATED)
        return True

    def note_new_key(self, place: Place) -> None:
        """Note that a place has another key: what only the old one's fault was, is tried again."""
        health = self._health.get(place)
        if health is not None and health.cause in (Cause.AUTH, Cause.FUNDS):
            now_s = self._clock()
            self._health[place] = Health(health.failures, health.cause, now_s, health.in_trial)

    def _get(self, place: Place) -> Health:
        return self._health.get(place, WELL)
