"""How a client learns the size of batches that a node takes.

::

    a refusal            a quarter at once; the size before comes back if one request fails, too
    a failure            the second in a row counts as a refusal
    answered batches     twice as many after PATIENCE full ones; each limit met doubles the patience
"""

from contracts.batches import BATCH_MAX, FAILURES_MAX, PATIENCE, BatchSize


def answer(batches: BatchSize, times: int) -> None:
    for _ in range(times):
        batches.accept(batches.size)


def test_refuse__limit_met__a_quarter_is_tried() -> None:
    batches = BatchSize()

    batches.refuse(100)
    assert batches.size == 25
    batches.refuse(25)
    assert batches.size == 6
    batches.refuse(2)
    assert batches.size == 1


def test_fail__first_of_any_cause__nothing_follows_yet() -> None:
    batches = BatchSize()

    assert not batches.fail(100)
    assert batches.size == BATCH_MAX


def test_fail__several_in_a_row__fewer_are_tried() -> None:
    batches = BatchSize()

    told = [batches.fail(100) for _ in range(FAILURES_MAX)]

    assert told == [False] * (FAILURES_MAX - 1) + [True]
    assert batches.size == 25


def test_fail__answered_between__the_row_begins_again() -> None:
    batches = BatchSize()
    batches.fail(100)
    batches.accept(100)

    assert not batches.fail(100)
    assert batches.size == BATCH_MAX


def test_fail__smaller_batch_answered_between__still_in_a_row() -> None:
    batches = BatchSize()
    batches.fail(100)
    batches.accept(3)

    assert batches.fail(100)


def test_fail__while_a_limit_is_sought__smaller_at_once() -> None:
    batches = BatchSize()
    batches.refuse(100)

    assert batches.fail(25)
    assert batches.size == 6


def test_fail__one_request_alone__the_node_is_in_trouble_and_the_size_comes_back() -> None:
    batches = BatchSize()
    batches.refuse(100)
    batches.refuse(25)

    assert not batches.fail(1)
    assert batches.size == BATCH_MAX
    assert not batches.fail(1), "without a search there is nothing to restore"


def test_accept__patience_over__twice_as_many_up_to_the_most() -> None:
    batches = BatchSize()
    batches.refuse(100)
    answer(batches, 2 * PATIENCE - 1)
    assert batches.size == 25, "the limit that was met doubles the patience"

    answer(batches, 1)
    assert batches.size == 50
    answer(batches, 2 * PATIENCE)
    assert batches.size == BATCH_MAX
    answer(batches, 3 * PATIENCE)
    assert batches.size == BATCH_MAX


def test_accept__batches_that_are_not_full__prove_nothing() -> None:
    batches = BatchSize()
    batches.refuse(100)
    for _ in range(3 * PATIENCE):
        batches.accept(24)

    assert batches.size == 25
