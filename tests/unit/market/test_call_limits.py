"""Limits of calls: what was not sent takes nobody else's place."""

import pytest

from market.resale.call_limits import CallLimiter
from market.resale.connection_terms import CallLimits
from serving.http.errors import RequestRejected

LIMITS = CallLimits(per_second=3, per_minute=3, consumer_per_minute=4)


def test_hold__calls_without_credit__leave_the_places_to_others() -> None:
    limiter = CallLimiter(clock=lambda: 100.0)
    for _ in range(4):
        with limiter.hold("c1", LIMITS, "without credit"):
            pass

    for _ in range(3):
        with limiter.hold("c1", LIMITS, "buyer") as place:
            place.is_sent = True

    with pytest.raises(RequestRejected), limiter.hold("c1", LIMITS, "buyer"):
        pass


def test_hold__calls_that_are_not_sent__count_for_their_consumer() -> None:
    limiter = CallLimiter(clock=lambda: 100.0)
    for _ in range(4):
        with limiter.hold("c1", LIMITS, "without credit"):
            pass

    with pytest.raises(RequestRejected), limiter.hold("c1", LIMITS, "without credit"):
        pass
