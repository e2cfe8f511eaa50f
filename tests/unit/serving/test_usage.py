"""What reports of tokens mean, by whatever names and conventions."""

from typing import Any

import pytest

from serving.models.usage import TOKENS_MAX, Report, find_usage, merge, read_report

FULL = {"prompt_tokens": 20, "completion_tokens": 10}


@pytest.mark.parametrize(
    ("usage", "report"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4}, Report(3, 4)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, Report(0, 0)),
        ({"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}, Report(3, 2)),
        ({"promptTokenCount": 3, "candidatesTokenCount": 2}, Report(3, 2)),
        ({"prompt_tokens": None, "input_tokens": 3, "output_tokens": 2}, Report(3, 2)),
        ({**FULL, "input_tokens": 0, "output_tokens": 0}, Report(20, 10)),
        # The total knows more, or is no total.
        ({**FULL, "total_tokens": 50}, Report(20, 10, unexplained=20)),
        ({**FULL, "total_tokens": 1}, Report(20, 10)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Report(3, None)),
        ({"total_tokens": 7}, Report(None, None, unexplained=7)),
        ({"output_tokens": 15}, Report(None, 15)),
    ],
)
def test_read_report__by_its_names(usage: Any, report: Report) -> None:
    assert read_report(usage) == report


RUNS = [
    {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500},
    {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000},
]


@pytest.mark.parametrize(
    ("usage", "report"),
    [
        ({**RUNS[1], "iterations": RUNS}, Report(203_000, 4_500)),
        ({"output_tokens": 1_000, "iterations": RUNS}, Report(203_000, 4_500)),
        (
            {
                "input_tokens": 1,
                "cache_read_input_tokens": 9,
                "output_tokens": 1,
                "iterations": [
                    {"input_tokens": 1, "cache_read_input_tokens": 9, "output_tokens": 1},
                    {"input_tokens": 5, "cache_creation_input_tokens": 7, "output_tokens": 2},
                ],
            },
            Report(22, 3, cached=9, apart=9),
        ),
        # The report itself says more, or the iterations say nothing that makes sense.
        ({**RUNS[0], "iterations": RUNS[1:]}, Report(180_000, 3_500)),
        ({**RUNS[1], "iterations": [{"input_tokens": -1}, 4, None]}, Report(23_000, 1_000)),
        ({**RUNS[1], "iterations": {"input_tokens": 9}}, Report(23_000, 1_000)),
        (
            {**RUNS[1], "iterations": [{"input_tokens": TOKENS_MAX, "output_tokens": 1}] * 2},
            Report(TOKENS_MAX, 1_000),
        ),
    ],
)
def test_read_report__iterations__their_sum_counts(usage: Any, report: Report) -> None:
    assert read_report(usage) == report


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        "many",
        {"prompt_tokens": -1, "completion_tokens": 4},
        {"prompt_tokens": 3, "completion_tokens": -1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": 1.0, "completion_tokens": 4},
        {"prompt_tokens": "3", "completion_tokens": 4},
        {"prompt_tokens": 3, "completion_tokens": None},
        {"prompt_tokens": 10**30, "completion_tokens": 4},
        {"prompt_tokens": TOKENS_MAX + 1, "completion_tokens": 4},
        {"total_tokens": -1},
    ],
)
def test_read_report__no_sense__is_none(usage: Any) -> None:
    assert read_report(usage) is None


@pytest.mark.parametrize(
    "cached",
    [
        {"prompt_tokens_details": {"cached_tokens": 16}},
        {"input_tokens_details": {"cached_tokens": 16}},
        {"input_token_details": {"cache_read": 16}},
        {"prompt_token_details": {"cached_tokens": 16}},
        {"promptTokensDetails": {"cachedTokens": 16}},
        {"cached_tokens": 16},
        {"cached_input_tokens": 16},
        {"num_cached_tokens": 16},
        {"prompt_cache_hit_tokens": 16, "prompt_cache_miss_tokens": 4},
        {"cached_prompt_text_tokens": 16},
        {"cachedContentTokenCount": 16},
        {"cache_read_input_tokens": 16, "cache_creation_input_tokens": 0},
        {"cache_read_input_tokens": 16, "prompt_tokens_details": {"cached_tokens": 16}},
        {"prompt_tokens_details": {"cached_tokens": 16, "cache_write_tokens": 4}},
        {"cached_tokens": 16, "cache_discount": -0.5, "cache_creation": {"ephemeral_5m": 3}},
    ],
)
@pytest.mark.parametrize("total", [{}, {"total_tokens": 30}])
def test_read_report__cached_within_the_prompt__by_every_name(
    cached: dict[str, Any], total: dict[str, int]
) -> None:
    assert read_report({**FULL, **cached, **total}) == Report(20, 10, cached=16)


@pytest.mark.parametrize(
    ("usage", "report"),
    [
        # Anthropic's own names, without a total.
        (
            {"input_tokens": 20, "output_tokens": 10, "cache_read_input_tokens": 16},
            Report(36, 10, cached=16, apart=16),
        ),
        (
            {
                "input_tokens": 20,
                "output_tokens": 10,
                "cache_read_input_tokens": 3_000,
                "cache_creation_input_tokens": 500,
            },
            Report(3_520, 10, cached=3_000, apart=3_000),
        ),
        # The total says that they stand apart.
        (
            {**FULL, "total_tokens": 3_030, "cache_read_input_tokens": 3_000},
            Report(3_020, 10, cached=3_000, apart=3_000),
        ),
        (
            {**FULL, "total_tokens": 46, "prompt_tokens_details": {"cached_tokens": 16}},
            Report(36, 10, cached=16, apart=16),
        ),
        (
            {
                **FULL,
                "total_tokens": 3_130,
                "cache_read_input_tokens": 3_000,
                "completion_tokens_details": {"reasoning_tokens": 100},
            },
            Report(3_020, 110, cached=3_000, apart=3_000, reasoning=100),
        ),
        # More than the prompt cannot be within it.
        (
            {**FULL, "cache_read_input_tokens": 3_000},
            Report(3_020, 10, cached=3_000, apart=3_000),
        ),
        # What was written into a cache stands apart as what was read does, the first time too.
        (
            {
                "input_tokens": 20,
                "output_tokens": 10,
                "cache_creation_input_tokens": 3_000,
                "cache_read_input_tokens": 0,
            },
            Report(3_020, 10),
        ),
        ({"input_tokens": 20, "cache_creation_input_tokens": 3_000}, Report(3_020, None)),
        (
            {"inputTokens": 20, "outputTokens": 10, "cacheCreationInputTokens": 3_000},
            Report(3_020, 10),
        ),
        ({**FULL, "cache_creation_input_tokens": 3_000}, Report(3_020, 10)),
        (
            {**FULL, "total_tokens": 35, "cache_creation_input_tokens": 5},
            Report(25, 10),
        ),
        ({**FULL, "total_tokens": 30, "cache_creation_input_tokens": 5}, Report(20, 10)),
        # By OpenAI's name it is a slip: a part is no more than its whole.
        ({**FULL, "prompt_tokens_details": {"cached_tokens": 10**9}}, Report(20, 10, cached=20)),
        ({**FULL, "prompt_tokens_details": {"cached_tokens": -8}}, Report(20, 10)),
        ({**FULL, "prompt_tokens_details": {"cached_tokens": 8.0}}, Report(20, 10)),
        ({**FULL, "prompt_tokens_details": "many"}, Report(20, 10)),
    ],
)
def test_read_report__cached_apart_from_the_prompt__is_told_by_names_and_total(
    usage: Any, report: Report
) -> None:
    assert read_report(usage) == report


@pytest.mark.parametrize(
    ("usage", "report"),
    [
        # A part of the output.
        (
            {**FULL, "total_tokens": 30, "completion_tokens_details": {"reasoning_tokens": 8}},
            Report(20, 10, reasoning=8),
        ),
        ({**FULL, "output_tokens_details": {"reasoning_tokens": 8}}, Report(20, 10, reasoning=8)),
        ({**FULL, "reasoning_tokens": 8}, Report(20, 10, reasoning=8)),
        (
            {**FULL, "completion_tokens_details": {"reasoning_tokens": 80}},
            Report(20, 10, reasoning=10),
        ),
        # Beside the output.
        (
            {**FULL, "total_tokens": 130, "completion_tokens_details": {"reasoning_tokens": 100}},
            Report(20, 110, reasoning=100),
        ),
        ({**FULL, "total_tokens": 130, "thoughtsTokenCount": 100}, Report(20, 110, reasoning=100)),
        # The provider says that there was none, so the rest of the total is something else.
        (
            {**FULL, "total_tokens": 130, "completion_tokens_details": {"reasoning_tokens": 0}},
            Report(20, 10),
        ),
        # Reasoning beside the output, and a cache within the prompt, of one and the same size.
        (
            {
                **FULL,
                "total_tokens": 46,
                "prompt_tokens_details": {"cached_tokens": 16},
                "completion_tokens_details": {"reasoning_tokens": 16},
            },
            Report(20, 26, cached=16, reasoning=16),
        ),
    ],
)
def test_read_report__reasoning__within_or_beside_the_output(usage: Any, report: Report) -> None:
    assert read_report(usage) == report


@pytest.mark.parametrize(
    ("known", "later", "together"),
    [
        (None, Report(20, 9), Report(20, 9)),
        (Report(20, 9), Report(0, 0), Report(20, 9)),
        (Report(20, 9), Report(20, 0), Report(20, 9)),
        (Report(20, 9), Report(0, 1), Report(20, 9)),
        (Report(20, None), Report(None, 15), Report(20, 15)),
        (Report(20, 1), Report(None, 15), Report(20, 15)),
        (Report(20, 9), Report(20, 30, reasoning=4), Report(20, 30, reasoning=4)),
        (Report(20, 9, cached=16), Report(20, 10), Report(20, 10, cached=16)),
        (Report(20, 9), Report(20, 9, cached=16), Report(20, 9, cached=16)),
    ],
)
def test_merge__later_report__counts_where_it_adds(
    known: Report | None, later: Report, together: Report
) -> None:
    assert merge(known, later) == together


@pytest.mark.parametrize(
    "holder",
    [
        {"usage": FULL},
        {"usage": None, "x_groq": {"id": "1", "usage": FULL}},
        {"choices": [{"index": 0, "usage": FULL}]},
        {"choices": "odd", "usage": FULL},
        {"usage_metadata": FULL},
        {"usageMetadata": FULL, "usage": {}},
    ],
)
def test_find_usage__wherever_it_stands(holder: Any) -> None:
    assert find_usage(holder) == FULL


@pytest.mark.parametrize("holder", [{}, {"usage": None}, {"x_groq": {}}, {"choices": [None, {}]}])
def test_find_usage__none(holder: Any) -> None:
    assert find_usage(holder) is None
