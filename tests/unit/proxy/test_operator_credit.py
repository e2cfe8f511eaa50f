"""When the operator's credit counts as spent: from a refusal, to an answer or a minute later."""

from proxy.chat.operator_credit import REMEMBERED_S, OperatorCredit


def test_credit__refused__spent_until_something_is_served() -> None:
    credit = OperatorCredit(lambda: 100.0)
    seen = [credit.is_spent]
    for note in (credit.note_refused, credit.note_served):
        note()
        seen.append(credit.is_spent)

    assert seen == [False, True, False]


def test_credit__nobody_asks_for_a_minute__is_tried_again() -> None:
    now_s = [100.0]
    credit = OperatorCredit(lambda: now_s[0])
    credit.note_refused()
    now_s[0] += REMEMBERED_S - 1
    assert credit.is_spent
    now_s[0] += 1
    assert not credit.is_spent
