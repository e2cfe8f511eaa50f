"""What live traffic says of an offer: which counts and probabilities cannot be true, and how often
an honest offer is suspected of them.

requests: what could make an honest server look odd is not looked at, nor learned from
vocabulary
├── merges by rank; counts plain text, and nothing that it cannot split as the model does
├── a long word: not counted; nothing of a text is kept
└── a file that is none: refused
prompt tokens: an honest template cancels; a share that is added is found within a few days
completion tokens
├── nothing is said before makers have shown that the model hides nothing
├── a model that hides its reasoning: nothing is said
└── three times as many as bytes: found; less than that is not, and no honest offer ever is
logprobs: above one, more than one together: odd; a server's own in any order: not; none: no word
one account says little and has few prompts counted, and all together little a day
"""

import pickle
from base64 import b64encode
from collections.abc import Mapping
from itertools import pairwise
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from market.evidence.byte_pairs import Vocabulary, count_merged, read_vocabulary
from market.evidence.live_checks import (
    ACCOUNT_LOOKS,
    COUNTED_ACCOUNT,
    COUNTED_DAY,
    DAY_LOOKS,
    KNOWN_LOOKS,
    LiveBatch,
    LiveChecks,
    SeenAnswer,
    find_shape,
    has_odd_logprobs,
    is_ordinary,
)
from market.evidence.live_watch import LiveWatch
from market.evidence.recording import weigh, write_differences
from market.evidence.verdicts import CONVICTS, SUSPECTS, Method, count_stake
from market.text.measuring import ReportedAnswer
from serving.dialects.endpoints import Endpoint
from serving.models.grades import Grade
from serving.models.usage import Report
from serving.models.weight import Weight

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


def merge_slowly(word: bytes, ranks: Mapping[bytes, int]) -> int:
    """Return what ``count_merged`` does, by looking at all pairs anew each time."""
    parts = [bytes((value,)) for value in word]
    while found := sorted(
        (ranks[one + other], place)
        for place, (one, other) in enumerate(pairwise(parts))
        if one + other in ranks
    ):
        place = found[0][1]
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return len(parts)


def test_count_merged__any_ranks__as_by_looking_at_all_pairs_anew() -> None:
    random = Random(5)
    for _ in range(300):
        tokens = {bytes(random.choices(b"ab", k=random.randrange(2, 5))) for _ in range(8)}
        ranks = {
            token: rank for rank, token in enumerate(sorted(tokens, key=lambda _: random.random()))
        }
        word = bytes(random.choices(b"ab", k=12))
        assert count_merged(word, ranks) == (1 if word in ranks else merge_slowly(word, ranks))


def test_vocabulary__a_long_word__is_not_counted() -> None:
    vocabulary = make_vocabulary()

    assert vocabulary.count("of " + "x" * 60) == 63
    assert vocabulary.count("of " + "x" * 64) is None
    assert vocabulary.count("of" + " " * 70 + "it") is None


def test_vocabulary__what_it_has_counted__is_not_kept() -> None:
    vocabulary = make_vocabulary()

    assert vocabulary.count("my password is hunter-two") == 25
    assert b"hunter" not in pickle.dumps(vocabulary)


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


ORDINARY: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "a"}]}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"temperature": 2, "top_p": 0.5, "max_tokens": 9, "n": 2, "user": "u", "seed": 1},
        {"stream": True, "stream_options": {"include_usage": True}, "max_completion_tokens": 9},
        {"messages": [{"role": one, "content": "a"} for one in ("system", "developer", "tool")]},
    ],
)
def test_ordinary__what_most_ask(more: dict[str, Any]) -> None:
    assert is_ordinary({**ORDINARY, **more})


@pytest.mark.parametrize(
    "more",
    [
        {"stop": ["a"]},
        {"logit_bias": {"1": 100}},
        {"min_tokens": 500},
        {"ignore_eos": True},
        {"chat_template_kwargs": {"enable_thinking": True}},
        {"logprobs": True, "top_logprobs": 5, "temperature": 1.5},
        {"tools": [{}]},
        {"reasoning_effort": "high"},
        {"response_format": {"type": "json_object"}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
        {"messages": [{"role": "user", "content": "a", "name": "b"}]},
        {"messages": [{"role": "a buyer's own words", "content": "a"}]},
        {"messages": [{"role": ["user"], "content": "a"}]},
        {"messages": [{"role": "assistant"}]},
        {"messages": [{"role": "user", "content": "a"}] * 65},
        {"messages": ["a"]},
        {"messages": "a"},
    ],
)
def test_ordinary__what_could_make_an_honest_server_look_odd__is_not(more: dict[str, Any]) -> None:
    assert not is_ordinary({**ORDINARY, **more})


def test_find_shape__roles_alone__and_no_word_of_them() -> None:
    def find(*messages: tuple[str, str]) -> tuple[object, str]:
        return find_shape({"messages": [{"role": a, "content": b} for a, b in messages]})

    shape, text = find(("user", "a"), ("assistant", "b"))
    assert text == "a\nb"
    assert find(("user", "c"), ("assistant", "d")) == (shape, "c\nd")
    assert find(("user", "a"), ("user", "b"))[0] != shape != find(("user", "a"))[0]
    assert b"user" not in pickle.dumps(shape)


def see(watch: LiveWatch, *, grade: Grade, account: str = "account", **more: Any) -> None:
    """Let a watch see an answer that is odd in each way."""
    parsed = answer_with({"logprob": 0.5})
    offer: Any = SimpleNamespace(offer_id="offer", version=0, seller="seller", grade=grade)
    body = {**ORDINARY, **more}
    call: Any = SimpleNamespace(endpoint=Endpoint.CHAT, model=MODEL, body=body, choices=1)
    report = Report(prompt=9, completion=900)
    watch.see(ReportedAnswer(offer, account, call, report, Weight(text=4, extent=4), parsed))


def make_watch(**vocabularies: Any) -> LiveWatch:
    live: Any = SimpleNamespace(find_live=lambda _: SimpleNamespace(supply_offer_id=None))
    clock: Any = SimpleNamespace(now_s=lambda: 86_400)
    return LiveWatch(clock, live, vocabularies)


def test_see__a_request_that_is_not_ordinary__teaches_nothing_and_is_no_look() -> None:
    watch = make_watch()

    see(watch, grade=Grade.MAKER, logit_bias={"1": 100})
    see(watch, grade=Grade.OTHER, stop=["a"])
    assert (watch.checks.shown_by_model, watch.checks.watched) == ({}, {})

    see(watch, grade=Grade.MAKER)
    see(watch, grade=Grade.OTHER)
    assert watch.checks.shown_by_model == {MODEL: (1, 1)}
    assert watch.checks.watched["offer"].looks == {Method.LOGPROBS: 1}


def test_see__nothing_may_be_looked_at__nothing_is_counted() -> None:
    """The answer's charge waits for what is counted."""
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return 1

    watch = make_watch(model=SimpleNamespace(count=count))
    see(watch, grade=Grade.MAKER)
    see(watch, grade=Grade.OTHER, stop=["a"])
    assert counted == []

    for _ in range(2 * COUNTED_ACCOUNT):
        see(watch, grade=Grade.OTHER)
    assert len(counted) == COUNTED_ACCOUNT
    for number in range(COUNTED_DAY):
        see(watch, grade=Grade.OTHER, account=f"account {number}")
    assert len(counted) == COUNTED_DAY


def answer_with(*tokens: Any) -> dict[str, Any]:
    return {"choices": [{"logprobs": {"content": list(tokens)}}]}


def token(logprob: object, *top: object) -> dict[str, Any]:
    return {"logprob": logprob, "top_logprobs": [{"logprob": one} for one in top]}


DRAWN = {"token": "b", "logprob": -0.8}
LIKELIEST = {"token": "a", "logprob": -0.7}
LISTED_TWICE = {**DRAWN, "top_logprobs": [DRAWN, LIKELIEST, DRAWN]}


@pytest.mark.parametrize(
    ("parsed", "odd"),
    [
        ({}, None),
        ({"choices": [{"logprobs": None}]}, None),
        (answer_with(), None),
        (answer_with(token(-0.1, -0.1, -2.5), token(-3.0, -0.2, -2.0)), False),
        (answer_with(token(0.0, 0.0, -9999.0)), False),
        (answer_with(token(0.3)), True),
        # The token that was drawn stands first, as vLLM lists them.
        (answer_with(token(-2.0, -2.0, -0.2, -5.0)), False),
        (answer_with(LISTED_TWICE), False),
        (answer_with(token(-0.1, -0.1, -0.1)), True),
        (answer_with(token(-0.1, -0.1, 0.3)), True),
        (answer_with(token(None)), None),
        (answer_with({"token": "a"}, {"logprob": None, "top_logprobs": None}), None),
        (answer_with(token(-0.1, None)), False),
        (answer_with(token("high")), None),
        (answer_with(token(float("nan"))), None),
        (answer_with("high"), None),
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
    """Return after how many days of traffic an offer is watched by a method, None if never.

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
        if count_stake(method, weigh(method, observed).peak) >= SUSPECTS:
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
def test_honest__a_hundred_years__few_are_watched() -> None:
    # Hits of 5 % of all answers, the most that the method allows an honest offer, a year long.
    watched = 0
    for seed in range(100):
        random = Random(f"year {seed}")
        hits = [random.random() < 0.05 for _ in range(DAY_LOOKS * 365)]
        peak = weigh(Method.COMPLETION_TOKENS, [write_differences(hits)]).peak
        watched += count_stake(Method.COMPLETION_TOKENS, peak) >= SUSPECTS

    assert watched <= 2, "by chance at most one of 60"


def test_weigh__a_year_of_honest_looks_then_lies__is_noticed() -> None:
    honest = [write_differences([False] * DAY_LOOKS)] * 300
    lies = [write_differences([True] * 8)]

    def count(observed: list[str]) -> float:
        return count_stake(Method.LOGPROBS, weigh(Method.LOGPROBS, observed).peak)

    assert count(honest) < SUSPECTS
    assert count(honest + lies) >= CONVICTS
