"""``indexer.range_size``: how long a range is asked for.

::

    learn
    ├── a quick, small answer            longer, never above the maximum
    ├── many events, or a slow answer    shorter
    ├── an answer that had to be split   shorter, and careful from then on
    └── always                           at least one block
    fail
    ├── too long, in the node's words    half at once
    ├── twice, in any words              half; once: the same again
    ├── not there yet, or pruned         the same again
    └── a single block                   nothing is too long, and growth is quick again
    a limit of any length, said in any words: found, kept to, and tried again rarely
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.node_errors import (
    BodyTooLarge,
    NodeFailure,
    NodeRefused,
    NodeUnavailable,
    NotYet,
    RangeRefused,
    RateLimited,
)
from indexer.range_size import RANGE_EVENTS_AIM, RANGE_TIME_AIM_S, Error, RangeSize

STRANGE: list[Error] = [
    NodeRefused(-32000, "context deadline exceeded"),
    NodeRefused(-32603, "Internal error"),
    NodeUnavailable("HTTP 504"),
    NodeUnavailable("RemoteDisconnected"),
    NodeUnavailable("no JSON", failure=NodeFailure.NOT_JSON),
    RateLimited("exceeded its compute units"),
]
PLAIN: list[Error] = [
    RangeRefused(-32005, "block range too large"),
    BodyTooLarge("HTTP 413"),
    NodeUnavailable("no answer in time", failure=NodeFailure.TIMED_OUT),
]


def learn(
    size: RangeSize, count: int, *, logs: int = 0, elapsed_s: float = 0.001, was_split: bool = False
) -> None:
    size.learn(count, logs=logs, elapsed_s=elapsed_s, was_split=was_split)


def test_learn__quick_and_empty__doubles_up_to_the_maximum() -> None:
    size = RangeSize(50)
    assert size.blocks == 16
    asked = []
    for _ in range(4):
        learn(size, size.blocks)
        asked.append(size.blocks)
    assert asked == [32, 50, 50, 50]


def test_learn__dense_or_slow__shrinks_to_fit() -> None:
    size = RangeSize(100)
    learn(size, 16, logs=2 * RANGE_EVENTS_AIM)
    assert size.blocks == 8
    learn(size, 8, elapsed_s=4 * RANGE_TIME_AIM_S)
    assert size.blocks == 2
    for _ in range(3):
        learn(size, 1, elapsed_s=100 * RANGE_TIME_AIM_S)
    assert size.blocks == 1


def test_learn__after_a_split__grows_slowly() -> None:
    size = RangeSize(1_000)
    learn(size, 16)
    learn(size, 16, was_split=True)
    assert size.blocks == 16
    learn(size, 16)
    assert size.blocks == 17


def test_learn__last_short_range__says_nothing_about_longer_ones() -> None:
    size = RangeSize(1_000)
    for _ in range(4):
        learn(size, size.blocks)
    before = size.blocks
    learn(size, 3)
    assert size.blocks == before


@pytest.mark.parametrize("error", STRANGE, ids=str)
def test_fail__any_words__half_after_the_second_time(error: Error) -> None:
    size = RangeSize(1_000)
    size.fail(16, error)
    assert size.blocks == 16
    size.fail(16, error)
    assert size.blocks == 8


@pytest.mark.parametrize("error", PLAIN, ids=str)
def test_fail__too_long_in_so_many_words__half_at_once(error: Error) -> None:
    size = RangeSize(1_000)
    size.fail(16, error)
    assert size.blocks == 8


def test_fail__not_there_or_pruned__the_same_again() -> None:
    size = RangeSize(1_000)
    for _ in range(4):
        size.fail(16, NotYet("no block"))
        size.fail(16, NodeUnavailable("pruned", failure=NodeFailure.HISTORY_PRUNED))
    assert size.blocks == 16


def test_fail__a_node_that_is_away__is_asked_for_long_ranges_again_soon() -> None:
    size = RangeSize(4_096)
    for _ in range(8):
        learn(size, size.blocks)
    assert size.blocks == 4_096
    for _ in range(40):
        size.fail(size.blocks, NodeUnavailable("HTTP 502"))
    assert size.blocks == 1
    for _ in range(12):
        learn(size, size.blocks)
    assert size.blocks == 4_096


@given(limit=st.integers(1, 3_000), error=st.sampled_from([*STRANGE, *PLAIN]))
def test_size__a_limit_in_any_words__is_found_and_tried_again_rarely(
    limit: int, error: Error
) -> None:
    size = RangeSize(10_000)
    block, requests, failures = 0, 0, 0
    while block < 100 * limit:
        requests += 1
        assert requests < 1_200, "stuck"
        if size.blocks > limit:
            failures += 1
            size.fail(size.blocks, error)
        else:
            block += size.blocks
            learn(size, size.blocks)
    assert failures <= 30 + requests // 12
    assert size.blocks >= limit // 2
