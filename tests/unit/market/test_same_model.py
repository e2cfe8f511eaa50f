"""Which names mean one model, and what an answer's own name says of what was sold.

::

    names     one model by its maker, dates, deployments, quantizations; two by a word or a number
    families  a name without a number is answered by any model of its family
    lists     one entry of the public list is one model, but for a word or a size
    answers   a confirmed endpoint: another known model is refused, silence is not
              an endpoint with a name of its own: only the model's name is accepted
              a model that nobody knows: nothing is refused
"""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from market.identity.name_table import load_name_table
from market.identity.same_model import Named, is_member, simplify
from market.text.answered import AnswerCheck
from serving.models.failures import Cause, UpstreamFailure
from serving.models.references import References

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
        ("text-embedding-ada-002", "text-embedding-ada-002-v2"),
        ("claude-sonnet-4-0", "claude-sonnet-4-20250514"),
        ("claude-opus-4-0", "anthropic/claude-opus-4"),
        ("gpt-4-turbo-preview", "gpt-4-0125-preview"),
        ("gemini-2.5-flash", "gemini-2.5-flash-preview-09-2025"),
        ("gemini-2.5-pro", "google/gemini-2.5-pro-exp-03-25"),
        ("glm-4.6", "zai-glm-4.6"),
        ("glm-4.6", "zai-org-glm-4.6"),
        ("glm-4.6", "accounts/fireworks/models/glm-4p6"),
        ("gpt-oss-120b", "openai-gpt-oss-120b"),
        ("gpt-oss-120b", "openai.gpt-oss-120b-1:0"),
        ("llama-3.3-70b-instruct", "accounts/fireworks/models/llama-v3p3-70b-instruct"),
        ("llama-3.3-70b-versatile", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("llama-3.3-70b", "meta-llama-llama-3.3-70b-instruct"),
        ("llama-4-scout", "Llama-4-Scout-17B-16E-Instruct"),
        ("llama-4-maverick", "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8"),
        ("qwen3-235b", "Qwen/Qwen3-235B-A22B-Instruct-2507"),
        (OPUS, "claude-opus-46"),
        (OPUS, "anthropic.claude-opus-4-6-v1"),
        ("claude-3.5-haiku", "claude-35-haiku"),
        ("gpt-3.5-turbo", "gpt-35-turbo"),
        ("gpt-5.2", "openai-gpt-52"),
        ("grok-4.1-fast", "grok-41-fast"),
        ("deepseek-chat", "deepseek-v3.2"),
        ("deepseek-chat", "DeepSeek-V3-0324"),
        ("kimi-k2", "kimi-k2-0905-preview"),
        ("kimi-k2-thinking", "kimi-k2-thinking-turbo"),
        ("minimax-m2.5", "minimax-m25"),
        ("deepseek-r1", "us.deepseek.r1-v1:0"),
        ("deepseek-v3", "deepseek.v3-v1:0"),
        ("llama-4-scout", "us.meta.llama4-scout-17b-instruct-v1:0"),
        ("nova-pro", "amazon/nova-pro-v1"),
        ("gpt-oss-120b", "gpt-oss:120b-cloud"),
        ("gpt-oss-20b", "openai/gpt-oss-20b-mxfp4"),
        ("llama-3.3-70b", "meta/llama-3.3-70b-instruct-maas"),
        ("claude-sonnet-4", "databricks-claude-sonnet-4"),
        ("llama-3.2-3b", "bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M"),
        ("llama-3.3-70b", "@cf/meta/llama-3.3-70b-instruct-fp8-fast"),
        ("mistral-large-3", "mistral-large-2512"),
        ("mistral-small-3.2", "mistral-small-2506"),
        ("mistral-7b", "mistralai/Mistral-7B-Instruct-v0.3"),
        ("mixtral-8x7b", "mixtral-8x7b-32768"),
        ("grok-4.1-fast", "grok-4-1-fast-reasoning"),
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
        ("deepseek-v3.2", "DeepSeek-V3-0324"),
        ("deepseek-v3.1", "deepseek-v3"),
        ("deepseek-v3.2", "deepseek-r1"),
        ("deepseek-r1", "deepseek-r1-distill-llama-8b"),
        ("gpt-4o", "openai-gpt-4o-mini"),
        ("gpt-4-turbo", "gpt-4"),
        ("gpt-4-1106-preview", "gpt-4-0125-preview"),
        ("o1", "o1-preview"),
        ("glm-4.6", "glm-4p5"),
        ("glm-4.6", "glm-4.6v"),
        ("claude-opus-4.5", "claude-opus-46"),
        ("claude-sonnet-4-0", "claude-sonnet-4.5"),
        ("llama-4-scout", "Llama-4-Maverick-17B-128E-Instruct"),
        ("qwen3-coder", "qwen3-coder-30b-a3b-instruct"),
        ("kimi-k2-0711-preview", "kimi-k2-0905-preview"),
        ("text-embedding-004", "text-embedding-005"),
        ("mistral-small-3.1", "mistral-small-3.2-24b-instruct"),
        ("mistral-large", "mistral-small"),
        ("grok-4-fast", "grok-4-fast-non-reasoning"),
        ("deepseek-r1", "deepseek.v3-v1:0"),
        ("nova-pro", "nova-lite-v1"),
        ("minimax-m2", "minimax-m25"),
        ("", ""),
        ("…", "—"),
    ],
)
def test_is_same__another_size_version_or_maker__is_another(one: str, other: str) -> None:
    assert not NAMES.is_same(one, other)


@pytest.mark.parametrize(
    ("family", "name", "is_one"),
    [
        ("gemini-flash-latest", "gemini-2.5-flash", True),
        ("gemini-flash-latest", "models/gemini-2.5-flash-preview-09-2025", True),
        ("gemini-flash-latest", "gemini-2.5-flash-lite", False),
        ("gemini-flash-latest", "gemini-1.5-flash-8b", False),
        ("gemini-flash-latest", "gemini-2.5-pro", False),
        ("claude-haiku-latest", "claude-haiku-4-5-20251001", True),
        ("claude-haiku-latest", OPUS, False),
        ("grok-latest", "grok-4.5", True),
        ("qwen-plus", "qwen3-plus", True),
        ("gemini-2.5-flash", "gemini-flash-latest", False),
        ("claude-3-5-sonnet-latest", "claude-3-7-sonnet-20250219", False),
        ("gpt", "gpt-4", False),
    ],
)
def test_is_member__numbers_alone__make_no_other_family(
    family: str, name: str, is_one: bool
) -> None:
    assert is_member(name, family=family) is is_one
    named = NAMES.judge(name, sold=family, is_priced=lambda _: True)
    assert named is (Named.SAME if is_one else Named.OTHER)


@pytest.mark.parametrize(
    ("sold", "answered", "is_one"),
    [
        ("grok-code-fast", "grok-code-fast-1", True),
        ("o3-mini", "o3-mini-high", True),
        ("gpt-5", "gpt-5-codex", False),
        ("deepseek-reasoner", "deepseek-r1-distill-llama-8b", False),
        ("gemma-3-27b", "gemma-3-4b-it", False),
        ("llama-3.1-70b", "llama-3.1-8b", False),
    ],
)
def test_is_same__one_entry_of_the_public_list__is_one_but_for_a_word_or_a_size(
    sold: str, answered: str, is_one: bool
) -> None:
    assert not NAMES.is_same(answered, sold)
    assert NAMES.is_same(answered, sold, find_id=References().find_id) is is_one


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
@example("𑇐1٣")
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
        ("glm-4.6", "zai-glm-4.6", "glm-4.6", True),
        ("zai-glm-4.6", "zai-glm-4.6", "glm-4.6", True),
        (None, "openai-gpt-oss-120b", "gpt-oss-120b", True),
        ("gemini-2.5-flash", "gemini-flash-latest", "gemini-flash-latest", True),
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
        ("openai.gpt-oss-120b-1:0", "gpt-oss-120b", False),
        ("gpt-35-turbo", "gpt-3.5-turbo", False),
        ("openai-gpt-4o-mini", "gpt-4o", True),
        ("gpt-4o-mini", "zz-anything", False),
    ],
)
def test_is_another__known_name_of_another_model__may_not_be_listed(
    upstream_model: str, sold: str, is_another: bool
) -> None:
    assert CHECK.is_another(upstream_model, sold=sold) is is_another
