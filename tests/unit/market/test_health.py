"""Offers' health: back-off by cause, doubled, one trial at a time."""

import pytest

from market.endpoints.health import REST_S_MAX, WELL, Standing, begin, fail, give_up
from serving.models.failures import Cause


def test_health__failure_rest_trial_success__goes_round() -> None:
    failed = fail(WELL, Cause.SERVER, now_s=100.0, jitter=1.0)

    assert failed.get_standing(109.9) is Standing.BACKING_OFF
    assert failed.get_standing(110.0) is Standing.ON_TRIAL
    tried = begin(failed, now_s=110.0)
    assert tried.get_standing(110.0) is Standing.TRIAL_TAKEN
    assert give_up(tried).get_standing(110.0) is Standing.ON_TRIAL
    again = fail(tried, Cause.SERVER, now_s=110.0, jitter=1.0)
    assert again.failures == 2
    assert again.get_standing(129.9) is Standing.BACKING_OFF
    assert again.get_standing(130.0) is Standing.ON_TRIAL
    assert WELL.get_standing(0.0) is Standing.HEALTHY


def test_begin__still_resting__the_request_is_the_trial() -> None:
    failed = fail(WELL, Cause.SERVER, now_s=100.0, jitter=1.0)

    tried = begin(failed, now_s=101.0)

    assert tried.get_standing(101.0) is Standing.TRIAL_TAKEN
    assert give_up(tried).get_standing(101.0) is Standing.BACKING_OFF
    assert fail(tried, Cause.SERVER, now_s=102.0, jitter=1.0).rests_until_s == 122.0


def test_begin__healthy__takes_no_trial() -> None:
    assert begin(WELL, now_s=0.0) == WELL


@pytest.mark.parametrize("cause", Cause)
def test_fail__many_times__rests_longer_up_to_an_hour(cause: Cause) -> None:
    health, rests = WELL, []
    for _ in range(40):
        health = fail(health, cause, now_s=0.0, jitter=1.0)
        rests.append(health.rests_until_s)

    assert rests == sorted(rests)
    assert rests[0] < rests[1]
    assert rests[-1] == REST_S_MAX
    assert fail(WELL, cause, now_s=0.0, jitter=0.0).rests_until_s == rests[0] / 2


def test_fail__retry_after__is_believed_within_an_hour() -> None:
    told = fail(WELL, Cause.RATE, now_s=0.0, jitter=1.0, retry_after_s=60.0)
    endless = fail(WELL, Cause.RATE, now_s=0.0, jitter=1.0, retry_after_s=1e9)
    at_once = fail(WELL, Cause.RATE, now_s=0.0, jitter=1.0, retry_after_s=0.0)

    assert told.rests_until_s == 60.0
    assert endless.rests_until_s == REST_S_MAX
    assert at_once.rests_until_s == 10.0
