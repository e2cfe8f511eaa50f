"""What a client is told of usage: read again over the same answer, it is the same tokens."""

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving.models.counting import Delivered, Sent, count_tokens
from serving.models.stating import CHAT_NAMES, RESPONSE_NAMES, Names, state_usage
from serving.models.usage import TOKENS_MAX, Report, merge, read_report
from serving.models.weight import Weight
from tests.support.examples import examples

counts = st.integers(0, 3_000)
odd = st.sampled_from([None, "20", -3, float("nan"), 2**40, 1.5])
usages: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": counts | odd,
        "completion_tokens": counts | odd,
        "total_tokens": counts | odd,
        "input_tokens": counts,
        "output_tokens": counts,
        "reasoning_tokens": counts,
        "cache_read_input_tokens": counts,
        "cache_creation_input_tokens": counts,
        "prompt_cache_hit_tokens": counts,
        "prompt_tokens_details": st.fixed_dictionaries({}, optional={"cached_tokens": counts}),
        "completion_tokens_details": st.fixed_dictionaries(
            {}, optional={"reasoning_tokens": counts | odd}
        ),
    },
)
weights = st.builds(lambda text, more: Weight(text, text + more), counts, st.integers(0, 500))


@settings(max_examples=examples(300), deadline=None)
@example(
    said=[
        {"prompt_tokens": 10, "completion_tokens": 0},
        {"prompt_tokens": 0, "completion_tokens": 5},
    ],
    weight=Weight(20, 20),
    is_late=True,
    prompt_bound=100,
    output_bound=100,
    choices=1,
    names=CHAT_NAMES,
)
@given(
    st.lists(usages, max_size=3),
    weights,
    st.booleans(),
    st.integers(1, 3_000),
    st.integers(1, 3_000),
    st.integers(1, 4),
    st.sampled_from([CHAT_NAMES, RESPONSE_NAMES]),
)
def test_statement__read_again_by_a_proxy__is_the_same_tokens(
    said: list[dict[str, Any]],
    weight: Weight,
    is_late: bool,
    prompt_bound: int,
    output_bound: int,
    choices: int,
    names: Names,
) -> None:
    sent = Sent(min(40, prompt_bound), prompt_bound, output_bound, choices)
    report: Report | None = None
    words: dict[str, Any] = {}
    for usage in said:
        later = read_report(usage)
        if later is not None:
            report, words = merge(report, later), {**words, **usage}
    reported = weight if is_late else Weight(weight.text // 2, weight.extent // 2)
    delivered = Delivered(weight, reported)
    counted = count_tokens(sent, delivered, report)
    told = state_usage(words, counted, sent, delivered, names)

    # A proxy may allow longer prompts, and believes what is read from a cache.
    proxy = Sent(7, prompt_bound + 50, output_bound, choices, cached_bound=TOKENS_MAX)
    again = count_tokens(proxy, Delivered(weight, weight), read_report(told))
    assert again.tokens == counted.tokens
