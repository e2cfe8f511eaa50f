"""Reports are believed as far as they can be true; what they do not cover is estimated."""

from typing import Any

import pytest

from serving.models.counting import Counted, Delivered, Sent, count_tokens, deliver_whole
from serving.models.prices import Tokens
from serving.models.usage import Report
from serving.models.weight import NOTHING, Weight

SENT = Sent(prompt_estimate=20, prompt_bound=500, output_bound=1_000)
SHOWN = deliver_whole(Weight(30, 30))


@pytest.mark.parametrize(
    ("report", "tokens", "is_cut", "reasoning"),
    [
        (Report(20, 10), Tokens(20, 10), False, 0),
        # What is shown has no more tokens than bytes, but for a slack of 64.
        (Report(20, 900), Tokens(20, 94), True, 0),
        (Report(20, 900, reasoning=890), Tokens(20, 900), False, 890),
        (Report(9_000, 9_000, reasoning=9_000), Tokens(500, 1_000), True, 1_000),
        (Report(20, 10, cached=16), Tokens(20, 10, 16), False, 0),
        (Report(0, 0), Tokens(0, 0), False, 0),
        (Report(20, 0), Tokens(20, 0), False, 0),
        (Report(600, 10, cached=550), Tokens(500, 10, 500), True, 0),
        # What only the total has is reasoning, where the output limit allows it.
        (Report(20, 10, unexplained=990), Tokens(20, 1_000), False, 990),
        (Report(20, 10, unexplained=991), Tokens(20, 10), False, 0),
    ],
)
def test_count_tokens__report__believed_as_far_as_it_can_be_true(
    report: Report, tokens: Tokens, is_cut: bool, reasoning: int
) -> None:
    counted = Counted(tokens, is_estimated=False, is_cut=is_cut, reasoning=reasoning)
    assert count_tokens(SENT, SHOWN, report) == counted


@pytest.mark.parametrize(
    ("report", "tokens"),
    [
        (None, Tokens(20, 10)),
        (Report(None, 10), Tokens(20, 10)),
        (Report(25, None), Tokens(25, 10)),
        (Report(None, None, unexplained=30), Tokens(20, 10)),
    ],
)
def test_count_tokens__unsaid__estimated(report: Report | None, tokens: Tokens) -> None:
    assert count_tokens(SENT, SHOWN, report) == Counted(tokens, is_estimated=True)


def test_count_tokens__text_after_the_report__estimated_on_top() -> None:
    delivered = Delivered(Weight(60, 60), Weight(30, 30))
    assert count_tokens(SENT, delivered, Report(20, 9)) == Counted(
        Tokens(20, 19), is_estimated=True
    )


@pytest.mark.parametrize("bound", [None, 3_000, 100])
def test_count_tokens__cache_counted_apart__has_a_bound_of_its_own(bound: int | None) -> None:
    sent = Sent(prompt_estimate=20, prompt_bound=500, output_bound=1_000, cached_bound=bound)
    report = Report(3_020, 10, cached=3_000, apart=3_000)
    expected = {None: (500, 500), 3_000: (3_020, 3_000), 100: (120, 120)}[bound]
    tokens = count_tokens(sent, SHOWN, report).tokens
    assert (tokens.prompt, tokens.cached) == expected


def test_count_tokens__nothing_delivered_nor_reported__nothing() -> None:
    assert count_tokens(SENT, deliver_whole(NOTHING), None).tokens == Tokens(0, 0)


@pytest.mark.parametrize(
    ("report", "prompt"),
    [(None, 20), (Report(12, None), 12), (Report(None, None, unexplained=12), 12)],
)
def test_count_tokens__embeddings__prompt_only(report: Report | None, prompt: int) -> None:
    sent = Sent(prompt_estimate=20, prompt_bound=500, output_bound=0)
    assert count_tokens(sent, deliver_whole(NOTHING), report).tokens == Tokens(prompt, 0)


def test_count_tokens__all_output_was_thought__total_is_believed() -> None:
    nothing: Any = deliver_whole(NOTHING)
    assert count_tokens(SENT, nothing, Report(20, 0, unexplained=100)).tokens == Tokens(20, 100)


@pytest.mark.parametrize(
    ("report", "output", "reasoning"),
    [
        (Report(20, 100, reasoning=98), 74, 74),
        (Report(20, 10), 10, 0),
        (Report(20, 10, unexplained=90), 10, 0),
        (Report(20, 5_000, reasoning=0), 74, 0),
    ],
)
def test_count_tokens__who_may_not_hide_output__is_paid_for_what_is_shown(
    report: Report, output: int, reasoning: int
) -> None:
    shown = Weight(10, 10)
    sent = Sent(prompt_estimate=20, prompt_bound=100, output_bound=1_000, may_hide=False)

    counted = count_tokens(sent, Delivered(shown, shown), report)

    assert (counted.tokens.completion, counted.reasoning) == (output, reasoning)
    assert counted.is_reported == (report.completion == output)
    assert counted.is_cut == (report.completion == 5_000), "more than was asked for"


@pytest.mark.parametrize(
    ("reported", "prompt", "is_reported", "is_cut"),
    [(60, 60, True, False), (61, 60, False, False), (501, 60, False, True)],
)
def test_count_tokens__more_prompt_than_is_paid__is_no_untruth_within_the_bound(
    reported: int, prompt: int, is_reported: bool, is_cut: bool
) -> None:
    sent = Sent(prompt_estimate=20, prompt_bound=500, output_bound=1_000, prompt_paid=60)

    counted = count_tokens(sent, SHOWN, Report(reported, 10, cached=reported))

    assert (counted.tokens.prompt, counted.tokens.cached) == (prompt, prompt)
    assert (counted.is_reported, counted.is_cut) == (is_reported, is_cut)
