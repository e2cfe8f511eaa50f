"""What makes the keeper leave something alone for a while."""

from keeper.backoff import Backoff
from keeper.breaker import Breaker
from keeper.facts import Kind


def test_breaker__failures_in_a_row__stop_their_kind_only() -> None:
    breaker = Breaker(failures_max=2, rest_s=100)

    assert not breaker.fail(Kind.HOLD, now_s=0)
    assert not breaker.is_open(Kind.HOLD, now_s=0)
    assert breaker.fail(Kind.HOLD, now_s=0)

    assert breaker.is_open(Kind.HOLD, now_s=99)
    assert not breaker.is_open(Kind.SETTLE, now_s=0)


def test_breaker__rested__one_more_failure_stops_it_again() -> None:
    breaker = Breaker(failures_max=2, rest_s=100)
    breaker.fail(Kind.HOLD, now_s=0)
    breaker.fail(Kind.HOLD, now_s=0)

    assert not breaker.is_open(Kind.HOLD, now_s=100)
    assert breaker.fail(Kind.HOLD, now_s=100)


def test_breaker__success__counts_from_the_start() -> None:
    breaker = Breaker(failures_max=2, rest_s=100)
    breaker.fail(Kind.HOLD, now_s=0)
    breaker.succeed(Kind.HOLD)

    assert not breaker.fail(Kind.HOLD, now_s=1)


def test_backoff__failing__rests_longer_each_time_up_to_a_bound() -> None:
    backoff: Backoff[int] = Backoff(rest_s=10)
    rests: list[int] = []
    for _ in range(9):
        backoff.fail(5, now_s=0)
        rests.append(next(s for s in range(10_000) if 5 not in backoff.resting(now_s=s)))

    assert rests == [10, 20, 40, 80, 160, 320, 640, 640, 640]


def test_backoff__success__is_forgiven() -> None:
    backoff: Backoff[int] = Backoff(rest_s=10)
    backoff.fail(5, now_s=0)
    backoff.fail(6, now_s=0)
    backoff.succeed(5)

    assert backoff.resting(now_s=9) == {6}
    assert backoff.resting(now_s=10) == frozenset()
