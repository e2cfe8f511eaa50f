"""Who may serve a depositor: by the operator's floor, unless the policy of the key says another."""

from dataclasses import replace
from typing import Any

import pytest

from proxy.chat.policy_choice import choose, read_book
from proxy.graded_lists import find_minimum_grade
from serving.dialects.policy import ANYBODY, parse_policy
from serving.http.errors import RequestRejected
from serving.models.grades import Grade
from serving.models.prices import Tokens


@pytest.mark.parametrize(
    ("policies", "minimum"),
    [
        ([], "B"),
        ([{"zdr": True}], "B"),
        ([{"minimum_grade": "D"}], "D"),
        ([{"minimum_grade": "D"}, {"minimum_grade": "A"}], "A"),
    ],
)
def test_find_minimum_grade__of_position_and_key(
    policies: list[dict[str, Any]], minimum: str
) -> None:
    assert find_minimum_grade(policies, Grade.COMPANY).value == minimum


def test_parse_policy__no_grade__is_refused_by_its_name() -> None:
    with pytest.raises(RequestRejected) as refused:
        parse_policy({"minimum_grade": "E"})

    assert refused.value.param == "provider.minimum_grade"


def test_choose__cheaper_one_below_the_floor__is_left_out() -> None:
    offers = [
        {
            "offer_id": f"of_{grade}",
            "provider": grade.lower(),
            "serviceable": True,
            "grade": grade,
            "input_usdc_per_mtok": price,
            "output_usdc_per_mtok": price,
        }
        for grade, price in (("A", 300), ("B", 200), ("D", 100))
    ]
    book = read_book([*offers, {**offers[2], "offer_id": "of_x", "grade": "Z"}], now_s=1)

    def pick(minimum: str | None) -> str:
        grade = None if minimum is None else Grade(minimum)
        policy = replace(ANYBODY, minimum_grade=grade)
        found = choose(book, policy, frozenset(), Tokens(1, 1), prompt_bound=1)
        assert found is not None
        return found.grade.value

    assert [pick(minimum) for minimum in (None, "D", "C", "B", "A")] == ["D", "D", "B", "B", "A"]
