"""What requests and answers of the endpoints say about money."""

import json
from typing import Any

import pytest

from market.http.mirrors import read_minimum
from market.listing.markets import build_csv
from market.pricing.amounts import parse_millionths
from market.routing.filters import parse_filters
from market.text.dialects import (
    MAX_TOKENS_CAP,
    MAX_TOKENS_DEFAULT,
    Endpoint,
    parse_call,
)
from market.text.tally import Move, Tally
from market.text.usage import Usage, count_output_bytes, count_tokens, is_answer, read_usage
from serving.http.errors import ApiError
from serving.models.prices import Tokens, get_discount_pct
from serving.stream.sse import EventSplitter, EventTooLong, read_data

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def parse(endpoint: Endpoint = Endpoint.CHAT, **body: Any) -> Any:
    base = CHAT if endpoint is Endpoint.CHAT else {"model": "m"}
    return parse_call(endpoint, json.dumps({**base, **body}).encode())


@pytest.mark.parametrize(
    ("endpoint", "body", "tokens"),
    [
        (Endpoint.CHAT, {}, MAX_TOKENS_DEFAULT),
        (Endpoint.CHAT, {"max_tokens": 7}, 7),
        (Endpoint.CHAT, {"max_completion_tokens": 9, "max_tokens": 7}, 7),
        (Endpoint.CHAT, {"max_tokens": 10**9}, MAX_TOKENS_CAP),
        (Endpoint.CHAT, {"max_tokens": 7, "n": 3}, 21),
        (Endpoint.COMPLETIONS, {"prompt": "x", "max_tokens": 7}, 7),
        (Endpoint.COMPLETIONS, {"prompt": ["x", "y"], "max_tokens": 7, "n": 2}, 28),
        (Endpoint.COMPLETIONS, {"prompt": [1, 2, 3], "max_tokens": 7}, 7),
        (Endpoint.RESPONSES, {"input": "x", "max_output_tokens": 7}, 7),
        (Endpoint.EMBEDDINGS, {"input": ["x", "y"]}, 0),
        (Endpoint.EMBEDDINGS, {"input": [[1, 2], [3]]}, 0),
    ],
)
def test_parse_call__limit__bounds_all_choices(
    endpoint: Endpoint, body: dict[str, Any], tokens: int
) -> None:
    call = parse(endpoint, **body)

    bound = call.get_bound(context_tokens=None, image_tokens=None)
    assert bound.completion == tokens
    assert bound.prompt >= len(json.dumps(call.body, separators=(",", ":")))


@pytest.mark.parametrize(
    ("endpoint", "body", "param"),
    [
        (Endpoint.CHAT, {"messages": []}, "messages"),
        (Endpoint.CHAT, {"messages": ["x"]}, "messages[0]"),
        (Endpoint.CHAT, {"max_tokens": 0}, "max_tokens"),
        (Endpoint.CHAT, {"max_tokens": True}, "max_tokens"),
        (Endpoint.CHAT, {"n": 129}, "n"),
        (Endpoint.CHAT, {"stream": "yes"}, "stream"),
        (Endpoint.CHAT, {"models": ["x"]}, "models"),
        (Endpoint.CHAT, {"web_search_options": {}}, "web_search_options"),
        (Endpoint.CHAT, {"tools": [{"type": "web_search"}]}, "tools[0].type"),
        (Endpoint.CHAT, {"model": ""}, "model"),
        (Endpoint.COMPLETIONS, {}, "prompt"),
        (Endpoint.COMPLETIONS, {"prompt": [1, "x"]}, "prompt"),
        (Endpoint.COMPLETIONS, {"prompt": "x", "best_of": 5}, "best_of"),
        (Endpoint.RESPONSES, {"input": "x", "previous_response_id": "r"}, "previous_response_id"),
        (Endpoint.RESPONSES, {"input": []}, "input"),
        (Endpoint.EMBEDDINGS, {"input": "x", "stream": True}, "stream"),
    ],
)
def test_parse_call__unbounded_or_wrong__names_the_field(
    endpoint: Endpoint, body: dict[str, Any], param: str
) -> None:
    with pytest.raises(ApiError) as refused:
        parse(endpoint, **body)

    assert (refused.value.status, refused.value.param) == (400, param)


def test_build_body__stream__asks_for_usage_and_names_the_sellers_model() -> None:
    sent = json.loads(parse(stream=True, max_completion_tokens=5).build_body("theirs"))

    assert sent["model"] == "theirs"
    assert sent["max_completion_tokens"] == 5
    assert "max_tokens" not in sent
    assert sent["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, Usage(3, 2, 0)),
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 9}, Usage(3, 6, 4)),
        ({"input_tokens": 3, "output_tokens": 2}, Usage(3, 2, 0)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, 0, 0)),
        (
            {
                "prompt_tokens": 3,
                "completion_tokens": 20,
                "completion_tokens_details": {"reasoning_tokens": 15},
            },
            Usage(3, 20, 15),
        ),
        ({"prompt_tokens": 3, "completion_tokens": -1}, None),
        ({"prompt_tokens": True, "completion_tokens": 1}, None),
        ({"completion_tokens": 1}, None),
        ("many", None),
    ],
)
def test_read_usage__what_makes_no_sense__is_none(usage: Any, read: Usage | None) -> None:
    assert read_usage({"usage": usage}) == read


def test_count_tokens__shown_output__cannot_have_more_tokens_than_bytes() -> None:
    call = parse(max_tokens=1_000)
    bound, estimate = Tokens(500, 1_000), Tokens(20, 1_000)

    def count(usage: Usage | None) -> Tokens:
        return count_tokens(call, usage, output_bytes=30, bound=bound, estimate=estimate)[0]

    assert count(Usage(20, 10, 0)) == Tokens(20, 10)
    assert count(Usage(20, 900, 0)) == Tokens(20, 94)
    assert count(Usage(20, 900, 890)) == Tokens(20, 900)
    assert count(Usage(9_000, 9_000, 9_000)) == Tokens(500, 1_000)
    assert count(None) == Tokens(20, 10)


@pytest.mark.parametrize(
    ("endpoint", "parsed", "valid"),
    [
        (Endpoint.CHAT, {"choices": [{"message": {}}]}, True),
        (Endpoint.CHAT, {"choices": []}, False),
        (Endpoint.CHAT, {"choices": [1]}, False),
        (Endpoint.CHAT, {"choices": [{}], "error": {"message": "x"}}, False),
        (Endpoint.RESPONSES, {"output": [{}]}, True),
        (Endpoint.EMBEDDINGS, {"data": [{}]}, True),
        (Endpoint.EMBEDDINGS, {"choices": [{}]}, False),
    ],
)
def test_is_answer__each_endpoint__knows_its_own(
    endpoint: Endpoint, parsed: dict[str, Any], valid: bool
) -> None:
    assert is_answer(endpoint, parsed) == valid


def test_count_output_bytes__odd_parts__are_counted_and_break_nothing() -> None:
    message = {"role": "assistant", "content": "héllo", "tool_calls": [{"id": 1}], "refusal": None}
    chat = {"choices": [{"message": message}, {"message": "x"}, {}]}

    assert count_output_bytes(Endpoint.CHAT, chat) == 6 + len('[{"id":1}]')
    assert count_output_bytes(Endpoint.COMPLETIONS, {"choices": [{"text": "ab"}, {}]}) == 2
    assert count_output_bytes(Endpoint.EMBEDDINGS, {"data": [{}]}) == 0


@pytest.mark.parametrize(
    ("segment", "minimum"),
    [("min0", 0), ("min9", 9), ("min30", 30), ("min99", 99), ("min100", 100)]
    + [(bad, None) for bad in ("min", "min00", "min030", "min101", "min30.5", "min-1", "min٣")],
)
def test_read_minimum__grammar__is_the_references(segment: str, minimum: int | None) -> None:
    assert read_minimum(segment) == minimum


def test_parse_filters__prices_and_names__are_exact() -> None:
    filters = parse_filters({"only": ["0xAB"], "max_price_input_per_1m": 0.3})

    assert filters.only == {"0xab"}
    assert filters.input_usdc_per_mtok_max == 300_000


@pytest.mark.parametrize(
    "routing",
    [
        [],
        {"what": 1},
        {"only": "x"},
        {"only": [1]},
        {"ignore": ["x"] * 101},
        {"trusted_only": 1},
        {"max_price_input_per_1m": -1},
        {"max_price_output_per_1m": "x"},
        {"max_price_output_per_1m": float("1e-9")},
    ],
)
def test_parse_filters__wrong__is_400(routing: Any) -> None:
    with pytest.raises(ApiError):
        parse_filters(routing)


@pytest.mark.parametrize("value", [1.5, None, [], "", "x", "1_0", " 1", "\u0661", "Infinity", True])
def test_parse_millionths__no_exact_number__is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_millionths(value, maximum=10)


def test_get_discount_pct__is_rounded_down_to_a_tenth() -> None:
    assert get_discount_pct(cost=816, direct=1_000) == 18.4
    assert get_discount_pct(cost=8_161, direct=10_000) == 18.3
    assert get_discount_pct(cost=15, direct=10) == -50.0
    assert get_discount_pct(cost=1, direct=0) is None


def test_build_csv__cells__begin_as_no_formula() -> None:
    text = build_csv([{"a": "=1+1", "b": 'x,"y"', "c": -3, "d": None}], ["a", "b", "c", "d"])

    assert text == 'a,b,c,d\r\n\'=1+1,"x,""y""",-3,\r\n'


def test_splitter__cut_anywhere__gives_the_same_events() -> None:
    text = b"data: a\n\ndata: b\r\n\r\n: note\n\ndata: c\ndata: d\n\n"
    whole = EventSplitter(event_bytes_max=100).feed(text)

    for size in (1, 2, 3, 7):
        splitter = EventSplitter(event_bytes_max=100)
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert [event for piece in pieces for event in splitter.feed(piece)] == whole
    assert [read_data(event) for event in whole] == [b"a", b"b", None, b"c\nd"]
    with pytest.raises(EventTooLong):
        EventSplitter(event_bytes_max=10).feed(b"data: " + b"x" * 20)


def chunk(**changes: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [], **changes}).encode() + b"\n\n"


def test_tally__chat_stream__counts_what_came_and_keeps_the_usage() -> None:
    tally = Tally(Endpoint.CHAT, Tokens(100, 10))

    assert tally.read(b": hello\n\n") is Move.COMMENT
    assert tally.read(chunk(choices=[{"delta": {"content": "hi"}}])) is Move.PASS
    assert tally.read(chunk(choices=[{"delta": {}, "finish_reason": "stop"}])) is Move.PASS
    assert tally.read(chunk(usage={"prompt_tokens": 1, "completion_tokens": 2})) is Move.KEEP
    assert tally.read(b"data: [DONE]\n\n") is Move.DONE
    assert (tally.output_bytes, tally.finished, tally.reported) == (2, True, Usage(1, 2, 0))
    assert tally.read(chunk(error={"message": "x"})) is Move.FAILED
    assert tally.read(b"data: {\n\n") is Move.FAILED
    assert tally.read(chunk(choices=[{"delta": {"content": "x" * 1_000}}])) is Move.OVER


def test_tally__usage_only_at_the_start__what_came_after_it_is_counted_here() -> None:
    tally = Tally(Endpoint.CHAT, Tokens(500, 1_000))
    first = {"prompt_tokens": 20, "completion_tokens": 1}
    tally.read(chunk(choices=[{"delta": {"content": "abc"}}], usage=first))
    assert tally.bytes_since_report == 0

    tally.read(chunk(choices=[{"delta": {"content": "d" * 30}}]))

    assert tally.bytes_since_report == 30

    def count(usage: Usage) -> Tokens:
        return count_tokens(
            parse(max_tokens=1_000),
            usage,
            output_bytes=tally.output_bytes,
            bound=Tokens(500, 1_000),
            estimate=Tokens(18, 1_000),
            bytes_since=tally.bytes_since_report,
        )[0]

    assert count(Usage(20, 1, 0)) == Tokens(20, 11)
    # Figures of nothing are no figures, unless they are the last word.
    assert count(Usage(0, 0, 0)) == Tokens(18, 10)
    tally.read(chunk(usage={"prompt_tokens": 20, "completion_tokens": 9}))
    assert tally.bytes_since_report == 0
    assert count(Usage(20, 9, 0)) == Tokens(20, 9)
    assert count(Usage(0, 9, 0)) == Tokens(0, 9)
