"""What requests and answers of the endpoints say about money."""

import json
from typing import Any

import pytest

from market.http.mirrors import read_minimum
from market.pricing.amounts import parse_millionths
from market.routing.filters import parse_drain, parse_filters
from market.text.requests import LIMITS, parse_request
from serving.dialects.endpoints import Endpoint
from serving.http.errors import ApiError
from serving.models.prices import get_discount_pct

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def parse(endpoint: Endpoint = Endpoint.CHAT, **body: Any) -> Any:
    base = CHAT if endpoint is Endpoint.CHAT else {"model": "m"}
    return parse_request(endpoint, json.dumps({**base, **body}).encode())


@pytest.mark.parametrize(
    ("endpoint", "body", "tokens"),
    [
        (Endpoint.CHAT, {}, LIMITS.default),
        (Endpoint.CHAT, {"max_tokens": 7}, 7),
        (Endpoint.CHAT, {"max_completion_tokens": 9, "max_tokens": 7}, 7),
        (Endpoint.CHAT, {"max_tokens": 10**9}, LIMITS.cap),
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
    sent = json.loads(
        parse(stream=True, max_completion_tokens=5).build_body(model="theirs", max_tokens=5)
    )

    assert sent["model"] == "theirs"
    assert sent["max_completion_tokens"] == 5
    assert "max_tokens" not in sent
    assert sent["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("segment", "minimum"),
    [("min0", 0), ("min9", 9), ("min30", 30), ("min99", 99), ("min100", 100)]
    + [(bad, None) for bad in ("min", "min00", "min030", "min101", "min30.5", "min-1", "min٣")],
)
def test_read_minimum__grammar__is_the_references(segment: str, minimum: int | None) -> None:
    assert read_minimum(segment) == minimum


def test_parse_filters__prices_and_names__are_exact() -> None:
    filters = parse_filters({"only": ["OpenAI"], "max_price_input_per_1m": 0.3})

    assert filters.only == {"provider:openai"}
    assert filters.input_usdc_per_mtok_max == 300_000


@pytest.mark.parametrize(
    "routing",
    [
        [],
        {"what": 1},
        {"only": "x"},
        {"only": [1]},
        {"ignore": ["x"] * 101},
        {"only": ["host:example.com"]},
        {"only": ["seller:0xAB"]},
        {"only": ["offer:"]},
        {"only": ["provider:"]},
        {"only": ["\u043epenai"]},
        {"ignore": ["open ai"]},
        {"ignore": [""]},
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


@pytest.mark.parametrize(
    ("text", "drain_s"), [(None, None), ("0", 3.0), ("2", 3.0), ("3", 3.0), ("9", 9.0)]
)
def test_parse_drain__less_than_hidden_reasoning_takes__three_seconds(
    text: str | None, drain_s: float | None
) -> None:
    assert parse_drain(text) == drain_s
