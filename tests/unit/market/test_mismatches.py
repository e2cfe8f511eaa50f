"""An answer of another model suspends an offer: the first at any host, the third at a known one."""

import pytest

from market.routing.mismatches import Mismatches
from serving.models.grades import Grade


@pytest.mark.parametrize("grade", [Grade.MAKER, Grade.COMPANY])
def test_note__known_host__third_in_a_row_of_one_offer(grade: Grade) -> None:
    mismatches = Mismatches()

    assert [mismatches.note("a", grade) for _ in range(2)] == [False, False]
    assert not mismatches.note("b", grade), "another offer"
    assert mismatches.note("a", grade)


def test_note__any_other_host__the_first() -> None:
    assert Mismatches().note("a", Grade.OTHER)


def test_note__after_a_good_answer__begins_again() -> None:
    mismatches = Mismatches()
    mismatches.note("a", Grade.MAKER)
    mismatches.note("a", Grade.MAKER)
    mismatches.forget("a")

    assert [mismatches.note("a", Grade.MAKER) for _ in range(3)] == [False, False, True]
