"""How late what is worth its gas is, and what is said of what is not.

::

    age    ├── dust beside young usage          of the young usage
           ├── a small payment beside a late one  of the late one
           ├── left alone until now              none
           ├── dust that grew                    since it was last left alone
           └── past a budget                     as any other
    news   ├── again, or gone and back           not said
           ├── another item, another reason      that one
           └── an hour later                     said again
"""

import pytest

from keeper.lateness import SAID_MAX, SAID_S, Lateness, News
from keeper.worth import BUDGET, SHARE, TOGETHER, Unworthy


def left(kind: str, subject: int | str, reason: str = SHARE) -> Unworthy:
    return Unworthy(kind, subject, reason, brings_usdc=1, costs_usdc=9)


def test_get_age__old_dust_beside_young_usage__is_the_young_usages() -> None:
    lateness = Lateness()
    lateness.note([left("settle", 1)], now_s=10_000)

    assert lateness.get_age_s("settle", {1: 0, 2: 9_990}, now_s=10_000) == 10


def test_get_age__a_small_payment_beside_a_late_one__is_the_late_ones() -> None:
    lateness = Lateness()
    lateness.note([left("x402", "small", TOGETHER)], now_s=1_000)

    assert lateness.get_age_s("x402", {"small": 100, "late": 400}, now_s=1_000) == 600


@pytest.mark.parametrize("waiting", [{}, {1: 0}])
def test_get_age__nothing_but_what_is_left_alone__is_none(waiting: dict[int | str, int]) -> None:
    lateness = Lateness()
    lateness.note([left("settle", 1)], now_s=1_000)

    assert lateness.get_age_s("settle", waiting, now_s=1_000) is None


def test_get_age__dust_that_grew__counts_since_it_was_last_left_alone() -> None:
    lateness = Lateness()
    lateness.note([left("settle", 1)], now_s=1_000)
    lateness.note([left("hold", 1)], now_s=1_002)

    assert lateness.get_age_s("settle", {1: 0}, now_s=1_300) == 300


def test_get_age__past_a_budget__is_late_as_any_other() -> None:
    lateness = Lateness()
    for kind in ("settle", "x402"):
        lateness.note([left(kind, 1, BUDGET)], now_s=1_000)

        assert lateness.get_age_s(kind, {1: 400}, now_s=1_000) == 600


def test_note__kinds_that_nobody_asks_for__are_not_remembered() -> None:
    lateness = Lateness()
    for number in range(100):
        kinds = ("hold", "harvest", "payout", "sweep")
        lateness.note([left(kind, number) for kind in kinds], now_s=number)

    assert lateness._left_at_s == {}


def test_get_age__settled_and_used_again__counts_from_the_new_usage() -> None:
    lateness = Lateness()
    lateness.note([left("settle", 1)], now_s=1_000)
    lateness.note([], now_s=1_002)
    assert lateness.get_age_s("settle", {}, now_s=1_002) is None

    assert lateness.get_age_s("settle", {1: 900}, now_s=1_100) == 200


def test_news__the_same_again_or_gone_and_back__is_said_once() -> None:
    news = News()
    one, other = left("x402", "a"), left("x402", "b")

    assert news.find([one], now_s=0) == [one]
    assert news.find([one, other], now_s=2) == [other]
    assert news.find([], now_s=4) == []
    assert news.find([other, one], now_s=12) == []


def test_news__another_reason_or_kind__is_said() -> None:
    news = News()
    news.find([left("hold", 1)], now_s=0)

    changed = [left("hold", 1, TOGETHER), left("settle", 1)]
    assert news.find(changed, now_s=2) == changed


def test_news__not_seen_for_an_hour__is_said_again() -> None:
    news = News()
    one = left("hold", 1)
    news.find([one], now_s=0)
    news.find([], now_s=SAID_S)

    assert news.find([one], now_s=SAID_S) == [one]


def test_news__endless_strangers__remembers_a_bounded_number() -> None:
    news = News()
    for number in range(3):
        news.find((left("x402", f"{number}-{n}") for n in range(SAID_MAX)), now_s=number)

    assert len(news._said_at_s) == SAID_MAX
