"""What live traffic says of an offer: which counts and probabilities cannot be true, and how often
an honest offer is suspected of them.

vocabulary
├── merges by rank; counts plain text, and nothing that it cannot split as the model does
└── a file that is none: refused
prompt tokens: an honest template cancels; a share that is added is found within a few days
completion tokens
├── nothing is said before makers have shown that the model hides nothing
├── a model that hides its reasoning, a request that asks for it: nothing is said
└── three times as many as bytes: found; less than that is not, and no honest offer ever is
logprobs: above one, in disorder, more than one together: odd; a server's own: not
one account says little, and all together little a day
"""

from base64 import b64encode
from random import Random
from typing import Any

import pytest

from market.evidence.byte_pairs import Vocabulary, count_merged, read_vocabulary
from market.evidence.live_checks import (
    ACCOUNT_LOOKS,
    DAY_LOOKS,
    KNOWN_LOOKS,
    LiveBatch,
    LiveChecks,
    SeenAnswer,
    find_shape,
    has_odd_logprobs,
)
from market.evidence.recording import weigh, write_differences
from market.evidence.verdicts import CONVICTS, SUSPECTS, Method, count_stake

MODEL = "model"


def make_vocabulary(*words: str) -> Vocabulary:
    tokens = [*(bytes((value,)) for value in range(256)), *(word.encode() for word in words)]
    lines = (b64encode(token) + b" %d" % rank for rank, token in enumerate(tokens))
    return read_vocabulary(b"\n".join(lines) + b"\n")


def test_count_merged__pairs_of_the_lowest_rank_first() -> None:
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"bc": 3, b"ab": 4, b"abc": 5}

    assert count_merged(b"abc", ranks) == 1
    assert count_merged(b"abcc", ranks) == 2, "a, bc, c: then abc, c"
    assert count_merged(b"zz", ranks) == 2


def test_vocabulary__plain_text__is_counted_as_words_with_their_spaces() -> None:
    vocabulary = make_vocabulary("th", "the", " t", " the")

    assert vocabulary.count("the the") == 2
    assert vocabulary.count("the the the") == vocabulary.count("the the the") == 3
    assert vocabulary.count("thé") is None
    assert vocabulary.count("12345678 the") is None
    assert vocabulary.count("the " * 5_000) is None


@pytest.mark.parametrize("data", [b"", b"YQ== 0", b"? 0", b"YQ== x", b"\xff\xff"])
def test_vocabulary__anything_else__is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_vocabulary(data)


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ({"messages": [{"role": "user", "content": "a"}]}, (("user",), "a")),
        ({"messages": [{"role": "user", "content": "a"}], "tools": [{}]}, None),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, None),
        ({"messages": [{"role": "user", "content": "a", "name": "b"}]}, None),
        ({"messages": ["a"]}, None),
        ({}, None),
    ],
)
def test_find_shape__only_plain_text(body: dict[str, Any], shape: object) -> None:
    assert find_shape(body) == shape


def answer_with(*tokens: Any) -> dict[str, Any]:
    return {"choices": [{"logprobs": {"content": list(tokens)}}]}


def token(logprob: object, *top: float) -> dict[str, Any]:
    return {"logprob": logprob, "top_logprobs": [{"logprob": one} for one in top]}


@pytest.mark.parametrize(
    ("parsed", "odd"),
    [
        ({}, None),
        ({"choices": [{"logprobs": None}]}, None),
        (answer_with(), None),
        (answer_with(token(-0.1, -0.1, -2.5), token(-3.0, -0.2, -2.0)), False),
        (answer_with(token(0.0, 0.0, -9999.0)), False),
        (answer_with(token(0.3)), True),
        (answer_with(token(-0.1, -2.0, -0.1)), True),
        (answer_with(token(-0.1, -0.1, -0.1)), True),
        (answer_with(token("high")), True),
        (answer_with(token(float("nan"))), True),
        (answer_with("high"), True),
    ],
)
def test_logprobs__that_are_none(parsed: dict[str, Any], odd: bool | None) -> None:
    assert has_odd_logprobs(parsed) is odd


def know(checks: LiveChecks, seen: SeenAnswer, times: int = KNOWN_LOOKS) -> None:
    for _ in range(times):
        checks.note_known(MODEL, seen)


SHOWN = SeenAnswer(completion_reported=100, shown_bytes=400)
TRIPLED = SeenAnswer(completion_reported=1_500, shown_bytes=1_200)


def note(
    checks: LiveChecks, seen: SeenAnswer, *, accounts: int = 4, day: int = 1
) -> list[LiveBatch]:
    """Return what is written down of a day on which each account asks often."""
    for number in range(accounts):
        for _ in range(2 * ACCOUNT_LOOKS):
            checks.note("offer", MODEL, f"account {number}", seen, day=day)
    checks.note("another", MODEL, "account", SeenAnswer(), day=day + 1)
    return checks.take_due()


def test_completion__before_makers_have_answered__nothing_is_said() -> None:
    checks = LiveChecks()
    know(checks, SHOWN, KNOWN_LOOKS - 1)

    assert note(checks, TRIPLED) == []


def test_completion__of_a_model_that_hides_its_reasoning__nothing_is_said() -> None:
    checks = LiveChecks()
    know(checks, SHOWN)
    know(checks, TRIPLED, 1)

    assert note(checks, TRIPLED) == []


def test_completion__of_a_request_about_reasoning__nothing_is_said() -> None:
    checks = LiveChecks()
    know(checks, SHOWN)

    assert (
        note(checks, SeenAnswer(completion_reported=1_500, shown_bytes=1_200, is_plain=False)) == []
    )


def test_completion__more_than_bytes__is_a_hit_and_one_account_says_little() -> None:
    checks = LiveChecks()
    know(checks, SHOWN)

    found = note(checks, TRIPLED, accounts=1)
    assert [(one.method, one.hits) for one in found] == [
        (Method.COMPLETION_TOKENS, (True,) * ACCOUNT_LOOKS)
    ]
    found = note(checks, TRIPLED, accounts=20, day=2)
    assert sum(len(one.hits) for one in found) == DAY_LOOKS
    assert found[0].figures[0] == (1_200, 1_500)
    assert note(checks, SHOWN, day=3)[0].hits.count(True) == 0


def count_days(random: Random, *, added: float, report: str, limit: int) -> int | None:
    """Return after how many days of traffic an offer is convicted by a method, None if never.

    Honest counts are off by up to 6 %, as where a template cleans texts; one answer of fifty shows
    less than it has tokens, as where a client's stop cut it.
    """
    method = Method.PROMPT_TOKENS if report == "prompt" else Method.COMPLETION_TOKENS
    checks = LiveChecks()
    know(checks, SHOWN)
    observed: list[str] = []
    for day in range(1, limit + 1):
        for request in range(40):
            counted = random.randrange(50, 2_000)
            said = int(40 + counted * random.uniform(0.94, 1.06) * (1 + added))
            shown = random.randrange(200, 4_000)
            output = (
                int(shown / random.uniform(3.0, 4.5) * (1 + added))
                if random.random() > 0.02
                else 9_000
            )
            seen = SeenAnswer(
                shape="user" if report == "prompt" else None,
                prompt_counted=counted,
                prompt_reported=said,
                completion_reported=None if report == "prompt" else output,
                shown_bytes=shown,
            )
            checks.note("offer", MODEL, f"account {request % 8}", seen, day=day)
        checks.note("offer", MODEL, "account", SeenAnswer(), day=day + 1)
        observed += [
            write_differences(one.hits) for one in checks.take_due() if one.method is method
        ]
        if count_stake(method, weigh(method, observed).peak) >= CONVICTS:
            return day
    return None


@pytest.mark.parametrize(
    ("report", "added", "days"), [("prompt", 0.25, 3), ("prompt", 1.0, 1), ("completion", 4.0, 1)]
)
def test_inflated__is_found_within_days(report: str, added: float, days: int) -> None:
    found = [count_days(Random(seed), added=added, report=report, limit=days) for seed in range(20)]

    assert None not in found


@pytest.mark.parametrize("report", ["prompt", "completion"])
def test_honest__months__no_evidence(report: str) -> None:
    assert [count_days(Random(seed), added=0, report=report, limit=20) for seed in range(3)] == [
        None
    ] * 3


def test_completion__doubled_prose__is_not_found_and_said_so() -> None:
    """What the check cannot do: twice the tokens of prose are still fewer than its bytes."""
    assert count_days(Random(1), added=1.0, report="completion", limit=10) is None


@pytest.mark.slow
@pytest.mark.parametrize("report", ["prompt", "completion"])
def test_honest__a_hundred_years__none_is_convicted(report: str) -> None:
    # Hits of 5 % of all answers, the most that the method allows an honest offer, a year long.
    method = Method.PROMPT_TOKENS if report == "prompt" else Method.COMPLETION_TOKENS
    for seed in range(100):
        random = Random(f"{report} {seed}")
        hits = [random.random() < 0.05 for _ in range(DAY_LOOKS * 365)]
        assert count_stake(method, weigh(method, [write_differences(hits)]).peak) < CONVICTS


def test_weigh__a_year_of_honest_looks_then_lies__is_noticed() -> None:
    honest = [write_differences([False] * DAY_LOOKS)] * 300
    lies = [write_differences([True] * 8)]

    def count(observed: list[str]) -> float:
        return count_stake(Method.LOGPROBS, weigh(Method.LOGPROBS, observed).peak)

    assert count(honest) < SUSPECTS
    assert count(honest + lies) >= CONVICTS
