"""What a stream has delivered and costs at any moment of it."""

import json
from typing import Any

import orjson
import pytest

from serving.models.counting import Counted, Sent
from serving.models.prices import Tokens
from serving.models.weight import Weight
from serving.stream.tally import BYTES_PER_TOKEN_MAX, ChatTally, Move, ResponseTally
from tests.support.answers import USAGE, make_chunk

Tally = ChatTally | ResponseTally


def make_sent(*, output_bound: int = 100, choices: int = 1) -> Sent:
    return Sent(prompt_estimate=14, prompt_bound=200, output_bound=output_bound, choices=choices)


def make_tally(*, output_bound: int = 100, choices: int = 1, **changes: Any) -> ChatTally:
    return ChatTally(make_sent(output_bound=output_bound, choices=choices), **changes)


def make_event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def make_choice(content: str = "", *, index: int = 0, finish: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": {"content": content}, "finish_reason": finish}


def read(tally: Tally, *events: bytes) -> list[Move]:
    return [tally.read(event)[0] for event in events]


def parse_end(tally: Tally, *, asks_for_usage: bool = True, is_whole: bool = True) -> Any:
    """Return the first JSON of a stream's end."""
    end = tally.build_end(
        tally.count(), charge={"cost": 40}, asks_for_usage=asks_for_usage, is_whole=is_whole
    )
    return orjson.loads(end.partition(b"data: ")[2].partition(b"\n")[0])


def test_read__pieces_and_report__charged_by_the_report() -> None:
    tally = make_tally()
    events = [make_chunk("Hi "), make_chunk("there"), make_chunk("", finish="stop")]
    assert read(tally, *events) == [Move.PASS] * 3
    assert read(tally, make_chunk(None, usage=USAGE)) == [Move.DROP]
    assert read(tally, b"data: [DONE]\n\n") == [Move.DONE]
    assert tally.count() == Counted(Tokens(20, 10), is_estimated=False)


def test_count__no_report__a_token_for_three_bytes_however_they_are_cut() -> None:
    tally = make_tally()
    read(tally, *[make_chunk(text) for text in "abcd"])
    assert tally.count() == Counted(Tokens(14, 2), is_estimated=True)
    read(tally, make_chunk("x" * 200))
    assert tally.count() == Counted(Tokens(14, 68), is_estimated=True)


def test_count__more_text_than_tokens_were_asked_for__never_above_the_bound() -> None:
    tally = make_tally(output_bound=10)
    read(tally, make_chunk("x" * 200))
    assert tally.count().tokens == Tokens(14, 10)


def test_read__text_without_end__over_and_not_delivered() -> None:
    tally = make_tally(output_bound=10)
    assert read(tally, make_chunk("x" * 10 * BYTES_PER_TOKEN_MAX)) == [Move.PASS]
    assert read(tally, make_chunk("x")) == [Move.OVER]
    assert tally.weight.text == 10 * BYTES_PER_TOKEN_MAX


def test_read__a_character_an_event__never_cut() -> None:
    tally = make_tally(output_bound=100)
    moves = read(tally, *[make_chunk("x")] * 400, make_chunk("", finish="stop"))
    read(tally, make_chunk(None, usage={"prompt_tokens": 20, "completion_tokens": 100}))
    assert set(moves) == {Move.PASS}
    assert tally.count() == Counted(Tokens(20, 100), is_estimated=False)


def test_read__running_report_above_the_bound__over() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 101}
    assert read(make_tally(), make_chunk("a", usage=usage)) == [Move.OVER]


def test_read__last_report_above_the_bound__delivered_and_cut() -> None:
    tally = make_tally()
    usage = {"prompt_tokens": 5_000, "completion_tokens": 5_000}
    moves = read(tally, make_chunk("a", finish="stop"), make_chunk(None, usage=usage))
    assert moves == [Move.PASS, Move.DROP]
    assert tally.count() == Counted(Tokens(200, 65), is_estimated=False, is_cut=True)
    assert parse_end(tally)["usage"] == {
        "prompt_tokens": 200,
        "completion_tokens": 65,
        "total_tokens": 265,
        "cost": 40,
    }


@pytest.mark.parametrize("early", [{"prompt_tokens": 20, "completion_tokens": 1}, USAGE])
def test_count__report_at_the_start_only__the_rest_is_our_estimate(early: dict[str, int]) -> None:
    tally = make_tally()
    read(tally, make_chunk("first", usage=early))
    read(tally, *[make_chunk(text) for text in ("a", "b", "x" * 30)])
    output = early["completion_tokens"] + 11  # 32 bytes since then
    assert tally.count() == Counted(Tokens(20, output), is_estimated=True)
    shown = parse_end(tally)["usage"]
    assert (shown["completion_tokens"], shown["total_tokens"]) == (output, 20 + output)


def test_count__report_of_nothing__is_believed_as_the_last_word_only() -> None:
    tally = make_tally()
    nothing = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    read(tally, make_chunk("a", usage=nothing), make_chunk("b"), make_chunk("c"))
    assert tally.count() == Counted(Tokens(14, 1), is_estimated=True)
    read(tally, make_chunk("", finish="stop", usage=nothing))
    assert tally.count() == Counted(Tokens(0, 0), is_estimated=False)


def test_count__report_of_nothing_after_a_true_one__undoes_nothing() -> None:
    tally = make_tally()
    running = {"prompt_tokens": 20, "completion_tokens": 9}
    read(tally, make_chunk("twenty bytes of text", usage=running))
    read(tally, make_chunk("", finish="stop"))
    read(tally, make_chunk(None, usage={"prompt_tokens": 0, "completion_tokens": 0}))
    assert tally.count() == Counted(Tokens(20, 9), is_estimated=False)


def test_count__prompt_first_and_output_last__both_count() -> None:
    tally = make_tally()
    read(tally, make_chunk("a", usage={"input_tokens": 20, "output_tokens": 1}))
    read(tally, make_chunk("some more text", finish="stop"))
    read(tally, make_chunk(None, usage={"output_tokens": 9}))
    assert tally.count() == Counted(Tokens(20, 9), is_estimated=False)


def test_count__running_reports__the_last_one_covers_its_own_piece() -> None:
    tally = make_tally()
    for number in (1, 2, 3):
        usage = {"prompt_tokens": 20, "completion_tokens": number}
        read(tally, make_chunk("some longer word ", usage=usage))
    assert tally.count() == Counted(Tokens(20, 3), is_estimated=False)
    read(tally, make_chunk("", finish="stop"))  # says nothing more
    assert tally.count() == Counted(Tokens(20, 3), is_estimated=False)


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b"[]",
        b"7",
        b"null",
        b'"ping"',
        b"ping",
        b"",
        b'{"choices": null}',
        b'{"choices": 3}',
        b'{"choices": []}',
        b'{"choices": [null, "x"]}',
        b'{"type": "ping"}',
        b'{"choices": null, "usage": null}',
        b'{"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 2}}',
        b'{"choices": null, "usage": {"prompt_tokens": 20, "completion_tokens": 2}}',
        b'{"usage": {"prompt_tokens": 20, "completion_tokens": 2}}',
    ],
)
def test_read__no_chunk__dropped_and_never_fatal(data: bytes) -> None:
    tally = make_tally()
    assert read(tally, b"data: " + data + b"\n\n") == [Move.DROP]
    assert tally.weight.extent == 0
    assert (tally.count().tokens.completion > 0) == (b"20" in data)


def test_read__chunk_that_only_lenient_clients_read__passed_so_that_all_do() -> None:
    chunk = b'data: {"choices": [{"index": 0, "delta": {"content": "a\tb"}, "logprobs": NaN}]}\n\n'
    move, event = make_tally().read(chunk)
    assert move is Move.PASS
    assert orjson.loads(event.removeprefix(b"data: "))["choices"][0]["logprobs"] is None

    typed = b'data: {"type": "response.output_text.delta", "delta": "a\tb", "score": NaN}\n\n'
    move, event = ResponseTally(make_sent()).read(typed)
    assert move is Move.PASS
    name, _, data = event.partition(b"\ndata: ")
    assert name == b"event: response.output_text.delta"
    assert orjson.loads(data) == {"type": name[7:].decode(), "delta": "a\tb", "score": None}


@pytest.mark.parametrize(
    "choices", [[{}, None], [{}], [{"delta": None}], [{"delta": {"content": None}}]]
)
def test_read__chunk_with_an_odd_choice__passed(choices: list[Any]) -> None:
    assert read(make_tally(), make_event(choices=choices)) == [Move.PASS]


@pytest.mark.parametrize(
    ("event", "failure"),
    [
        (b'data: {"error": {"message": "no"}}\n\n', {"message": "no"}),
        (b'data: {"error": "no", "choices": []}\n\n', "no"),
        (b'data: {"object": "error", "message": "no"}\n\n', {"object": "error", "message": "no"}),
        (b'event: error\ndata: {"type": "error", "code": 1}\n\n', {"type": "error", "code": 1}),
        (b'error: {"code": 500}\n\n', {"code": 500}),
        (b'data: {"choices": [{"error": {"code": 502}}]}\n\n', {"code": 502}),
        (
            b'data: {"choices": [{"delta": {"content": "x"}, "finish_reason": "error"}]}\n\n',
            {"message": None},
        ),
        (b"data: {not json\n\n", None),
    ],
)
def test_read__error_or_damaged_chunk__failed_and_not_delivered(event: bytes, failure: Any) -> None:
    tally = make_tally()
    assert read(tally, event) == [Move.FAILED]
    assert tally.failure == failure
    assert tally.weight.extent == 0


@pytest.mark.parametrize(
    "event", [b": keep-alive\n\n", b"event: ping\n\n", b"\n\n", b"retry: 3\n\n"]
)
def test_read__event_without_data__passed_as_a_comment(event: bytes) -> None:
    assert make_tally().read(event) == (Move.COMMENT, event)


@pytest.mark.parametrize("reason", ["", None, "null"])
def test_is_finished__no_reason__goes_on(reason: str | None) -> None:
    tally = make_tally()
    read(tally, make_event(choices=[make_choice("x", finish=reason)]))
    assert not tally.is_finished


def test_is_finished__several_choices__once_each_has_said_why() -> None:
    tally = make_tally(choices=2)
    read(tally, make_event(choices=[make_choice("a", finish="stop")]))
    assert not tally.is_finished, "the second choice has not even begun"
    read(tally, make_event(choices=[make_choice("a", index=1)]))
    assert not tally.is_finished
    read(tally, make_event(choices=[make_choice(index=1, finish="length")]))
    assert tally.is_finished


def test_read__usage_beside_choices__said_once_at_the_end() -> None:
    tally = make_tally()
    told = [
        tally.read(make_chunk("a", usage={"prompt_tokens": 20, "completion_tokens": 1}))[1],
        tally.read(make_event(choices=[{**make_choice("b"), "usage": USAGE}]))[1],
        tally.read(make_event(choices=[make_choice("c")], x_groq={"id": "1", "usage": USAGE}))[1],
    ]
    assert all(b"usage" not in event and b"tokens" not in event for event in told)
    assert parse_end(tally)["usage"] == {**USAGE, "cost": 40}


def test_read__running_usage_asked_for__passed_as_it_came() -> None:
    event = make_chunk("a", usage=USAGE)
    assert make_tally(passes_usage=True).read(event) == (Move.PASS, event)


@pytest.mark.parametrize(
    "said",
    [
        {"usage": {**USAGE, "cost_usdc": 0}},
        {"usage": {"cost_usdc": 0}},
        {"usage": USAGE, "x_groq": {"usage": {"cost_usdc": 0}}},
        {"usage": USAGE, "usage_metadata": {"cost_usdc": 0}},
        {"choices": [{**make_choice("a"), "usage": {"cost_usdc": 0}}]},
    ],
)
@pytest.mark.parametrize("passes_usage", [True, False])
def test_read__cost_beside_choices__neither_passed_nor_believed(
    said: dict[str, Any], passes_usage: bool
) -> None:
    tally = make_tally(passes_usage=passes_usage)
    move, told = tally.read(make_event(**{"choices": [make_choice("a")], **said}))
    assert move is Move.PASS
    assert b"cost_usdc" not in told
    assert orjson.loads(told.removeprefix(b"data: "))["choices"] == [make_choice("a")]
    assert tally.count().sold_usdc is None


def test_read__cost_in_a_chunk_of_its_own__believed() -> None:
    tally = make_tally()
    used = make_event(choices=[], usage={**USAGE, "cost_usdc": 7})
    assert read(tally, make_chunk("a"), used) == [Move.PASS, Move.DROP]
    assert tally.count().sold_usdc == 7


@pytest.mark.parametrize("kind", ["response.in_progress", "response.completed"])
def test_read__response_that_says_a_cost__leaves_without_it(kind: str) -> None:
    tally = ResponseTally(make_sent())
    response = {"id": "r-1", "usage": {"input_tokens": 3, "output_tokens": 1, "cost_usdc": 0}}
    _, told = tally.read(make_event(type=kind, response=response, usage={"cost_usdc": 0}))
    told += tally.build_end(tally.count(), charge={"cost": 40}, asks_for_usage=True, is_whole=True)
    assert b"cost_usdc" not in told
    assert b'"id":"r-1"' in told
    assert b'"input_tokens":3' in told
    assert tally.count().sold_usdc is None


@pytest.mark.parametrize(("asks", "choices"), [(True, 0), (False, 1)])
def test_build_end__usage_with_cost__client_finds_what_it_expects(asks: bool, choices: int) -> None:
    tally = make_tally()
    usage = {**USAGE, "details": {"cached_tokens": 3}}
    read(tally, make_chunk("a", usage=usage))
    chunk = parse_end(tally, asks_for_usage=asks)
    assert chunk["usage"] == {**usage, "cost": 40}
    assert len(chunk["choices"]) == choices
    assert chunk["id"] == "c-1"


@pytest.mark.parametrize(("is_chat", "field"), [(True, "delta"), (False, "text")])
def test_build_end__usage_not_asked_for__choice_is_of_its_endpoint(
    is_chat: bool, field: str
) -> None:
    tally = make_tally(is_chat=is_chat)
    read(tally, make_event(id="1", choices=[{"index": 0, "text": "Hi", "delta": {}}]))
    [choice] = parse_end(tally, asks_for_usage=False)["choices"]
    assert field in choice
    assert tally.weight.text == 2


@pytest.mark.parametrize("is_whole", [True, False])
def test_build_end__whole_or_not__only_a_whole_stream_is_done(is_whole: bool) -> None:
    tally = make_tally()
    read(tally, make_chunk("a"))
    end = tally.build_end(tally.count(), charge={}, asks_for_usage=True, is_whole=is_whole)
    assert end.endswith(b"data: [DONE]\n\n") == is_whole


def test_response_tally__typed_events__counted_and_the_end_is_kept() -> None:
    tally = ResponseTally(Sent(prompt_estimate=14, prompt_bound=200, output_bound=100))
    usage = {"input_tokens": 20, "output_tokens": 2, "total_tokens": 22}
    moves = read(
        tally,
        make_event(type="response.created", response={}),
        make_event(type="response.output_text.delta", delta="Hello"),
        make_event(type="response.function_call_arguments.delta", delta="{}"),
        make_event(type="response.output_text.done", text="Hello"),
        make_event(type="response.completed", response={"id": "r", "usage": usage}),
    )
    assert moves == [Move.PASS] * 4 + [Move.DROP]
    assert tally.weight == Weight(7, 7)
    assert tally.is_finished
    assert tally.count() == Counted(Tokens(20, 2), is_estimated=False)
    end = parse_end(tally)
    assert end["type"] == "response.completed"
    assert end["response"] == {"id": "r", "usage": {**usage, "cost": 40}}


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "error", "message": "no"},
        {"type": "response.failed", "response": {"error": {"message": "no"}}},
        {"error": {"message": "no"}},
    ],
)
def test_response_tally__error__failed_and_kept(fields: dict[str, Any]) -> None:
    tally = ResponseTally(Sent(prompt_estimate=14, prompt_bound=200, output_bound=100))
    assert read(tally, make_event(**fields)) == [Move.FAILED]
    assert tally.failure["message"] == "no"


@pytest.mark.parametrize("data", [b"{}", b"[]", b"7", b"ping", b'{"type": 3}'])
def test_response_tally__no_event__dropped(data: bytes) -> None:
    tally = ResponseTally(Sent(prompt_estimate=14, prompt_bound=200, output_bound=100))
    assert read(tally, b"data: " + data + b"\n\n") == [Move.DROP]
