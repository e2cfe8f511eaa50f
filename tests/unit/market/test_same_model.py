"""Which names mean one model, and what an answer's own name says of what was sold.

::

    names     one model by its maker, dates, deployments, quantizations; two by a word or a number
    answers   a confirmed endpoint: another known model is refused, silence is not
              an endpoint with a name of its own: only the model's name is accepted
              a model that nobody knows: nothing is refused
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.identity.name_table import load_name_table
from market.identity.same_model import simplify
from market.text.answered import AnswerCheck
from serving.models.failures import Cause, UpstreamFailure

NAMES = load_name_table().models
CHECK = AnswerCheck(NAMES, lambda name: name in ("in-house", "in-house-small"))
OPUS = "claude-opus-4.6"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gpt-4o", "openai/gpt-4o"),
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("gpt-4", "GPT-4-0613"),
        ("gpt-4.1", "gpt-4-1-2025-04-14"),
        ("gpt-4-turbo", "gpt-4-turbo-preview"),
        ("o3-mini", "o3-mini-2025-01-31"),
        (OPUS, "claude-opus-4-6"),
        (OPUS, "us.anthropic.claude-opus-4-6-v1:0"),
        (OPUS, "anthropic/claude-4.6-opus-20260205"),
        ("claude-sonnet-4", "claude-sonnet-4@20250514"),
        ("mistral-large-latest", "mistral-large-2411"),
        ("gemini-2.5-pro", "models/gemini-2.5-pro"),
        ("command-a", "command-a-03-2025"),
        ("llama-3.1-8b-instruct", "Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf"),
        ("llama-3.1-8b-instruct", "meta-llama/Llama-3.1-8B-Instruct:free"),
        ("llama-3.3-70b", "llama-3.3-70b-versatile"),
        ("SmolLM2-135M-Instruct", "/models/SmolLM2-135M-Instruct.Q8_0.gguf"),
        ("SmolLM2-135M-Instruct", "C:\\models\\SmolLM2-135M-Instruct-f16.gguf"),
        ("qwen2.5-7b-instruct", "Qwen/Qwen2.5-7B-Instruct-AWQ"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
    ],
)
def test_is_same__ways_to_write_one_model__are_one(one: str, other: str) -> None:
    assert NAMES.is_same(one, other)
    assert NAMES.is_same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gpt-4o", "gpt-4o-mini"),
        ("gpt-4o", "gpt-4"),
        ("gpt-4.5", "gpt-5.4"),
        ("gpt-4.1", "gpt-4.1-nano"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06"),
        ("gpt-3.5-turbo", "gpt-3.5-turbo-instruct"),
        (OPUS, "claude-opus-4"),
        (OPUS, "claude-opus-4.5"),
        (OPUS, "claude-haiku-4.6"),
        (OPUS, "gpt-4o-mini"),
        ("o1", "o1-mini"),
        ("gemini-2.5-pro", "gemini-2.5-flash"),
        ("llama-3.1-70b", "llama-3.1-8b"),
        ("llama-3-70b", "llama-3.3-70b"),
        ("deepseek-chat", "deepseek-reasoner"),
        ("qwen2.5-7b", "qwen2.5-coder-7b"),
        ("", ""),
        ("…", "—"),
    ],
)
def test_is_same__another_size_version_or_maker__is_another(one: str, other: str) -> None:
    assert not NAMES.is_same(one, other)


@given(
    st.sampled_from(["gpt-4o", OPUS, "llama-3.1-8b-instruct", "o1", "grok-4"]),
    st.sampled_from(["", "openai/", "a/b/", "models/", "us.anthropic."]),
    st.sampled_from(["", "-2024-08-06", "-20250805", "-latest", ":free", "-v1:0", "@20250514"]),
    st.sampled_from(["", "-fp8", "-AWQ", ".gguf"]),
)
def test_is_same__maker_date_and_deployment__do_not_make_another_model(
    name: str, before: str, after: str, weights: str
) -> None:
    assert NAMES.is_same(name, f"{before}{name}{after}{weights}")


@given(st.text(max_size=60))
def test_simplify__any_text__ends(name: str) -> None:
    assert all(word.isascii() for word in simplify(name))


def is_accepted(answered: object, *, asked: str, sold: str) -> bool:
    try:
        CHECK.check(answered, asked=asked, sold=sold)
    except UpstreamFailure as failure:
        assert failure.cause is Cause.WRONG_MODEL
        assert sold in str(failure.message)
        return False
    return True


@pytest.mark.parametrize(
    ("answered", "asked", "sold", "accepted"),
    [
        # The endpoint calls it by the model's own name.
        (OPUS, OPUS, OPUS, True),
        ("claude-opus-4-6-20260205", OPUS, OPUS, True),
        (None, OPUS, OPUS, True),
        ("", OPUS, OPUS, True),
        (7, OPUS, OPUS, True),
        ("default", OPUS, OPUS, True),
        ("/srv/weights/model.gguf", "llama-3.1-8b", "llama-3.1-8b", True),
        ("gpt-4o-mini", OPUS, OPUS, False),
        ("gpt-4o-mini-2024-07-18", "gpt-4o", "gpt-4o", False),
        ("qwen2.5-7b-instruct-q4_k_m.gguf", OPUS, OPUS, False),
        ("in-house-small", "in-house", "in-house", False),
        # The endpoint has a name of its own for it.
        ("claude-opus-4-6", "my-deployment", OPUS, True),
        ("my-deployment", "my-deployment", OPUS, False),
        (None, "my-deployment", OPUS, False),
        ("gpt-4o", "my-deployment", OPUS, False),
        # Nobody knows it.
        ("gpt-4o", "zz-anything", "zz-anything", True),
        (None, "x", "zz-anything", True),
    ],
)
def test_check__answers_own_name__is_held_against_what_was_sold(
    answered: object, asked: str, sold: str, accepted: bool
) -> None:
    assert is_accepted(answered, asked=asked, sold=sold) is accepted


@pytest.mark.parametrize(
    ("upstream_model", "sold", "is_another"),
    [
        ("gpt-4o-mini", OPUS, True),
        ("openai/gpt-4o-mini", "gpt-4o", True),
        ("claude-opus-4-6", OPUS, False),
        ("my-deployment", OPUS, False),
        ("gpt-4o-mini", "zz-anything", False),
    ],
)
def test_is_another__known_name_of_another_model__may_not_be_listed(
    upstream_model: str, sold: str, is_another: bool
) -> None:
    assert CHECK.is_another(upstream_model, sold=sold) is is_another
