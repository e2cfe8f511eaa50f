"""The third answer of another model in a row suspends an offer; a good one between begins again."""

from market.routing.mismatches import Mismatches


def test_note__third_in_a_row_of_one_offer__is_to_be_suspended() -> None:
    mismatches = Mismatches()

    assert [mismatches.note("a") for _ in range(2)] == [False, False]
    assert not mismatches.note("b"), "another offer"
    assert mismatches.note("a")


def test_note__after_a_good_answer__begins_again() -> None:
    mismatches = Mismatches()
    mismatches.note("a")
    mismatches.note("a")
    mismatches.forget("a")

    assert [mismatches.note("a") for _ in range(3)] == [False, False, True]
