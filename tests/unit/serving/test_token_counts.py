"""How many tokens a conversation in Anthropic's dialect probably has, before anything is asked."""

import json
from base64 import b64encode
from typing import Any

import pytest

from serving.dialects.token_counts import IMAGE_TOKENS, PAGE_TOKENS, estimate_input
from serving.http.errors import RequestRejected

SEARCH: Any = {"type": "web_search_20250305", "name": "web_search"}
BIG = b64encode(b"x" * 750_000).decode()


def count(content: Any, *tools: Any) -> int:
    body = {"model": "m", "messages": [{"role": "user", "content": content}], "tools": list(tools)}
    return estimate_input(json.dumps(body).encode())


def make_file(kind: str, media_type: str, data: str = BIG) -> list[Any]:
    return [{"type": kind, "source": {"type": "base64", "media_type": media_type, "data": data}}]


def test_estimate__image__counts_the_same_with_any_tool() -> None:
    image = make_file("image", "image/png")

    plain, searched = count(image), count(image, SEARCH)

    assert IMAGE_TOKENS < plain < IMAGE_TOKENS + 100
    assert 0 < searched - plain < 100


def test_estimate__document__counts_by_its_pages_not_its_bytes() -> None:
    pages = b64encode(b"%PDF-1.7 /Type /Pages /Type /Page\n/Type/Page /Type /Page " + b"x" * 9_000)

    assert PAGE_TOKENS < count(make_file("document", "application/pdf")) < PAGE_TOKENS + 100
    three = count(make_file("document", "application/pdf", pages.decode()))
    assert 3 * PAGE_TOKENS < three < 3 * PAGE_TOKENS + 100


def test_estimate__image_in_a_result__is_counted_as_one() -> None:
    use = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": make_file("image", "image/png")}
    turns = [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]

    counted = estimate_input(
        json.dumps({"model": "m", "messages": turns, "tools": [SEARCH]}).encode()
    )

    assert IMAGE_TOKENS < counted < IMAGE_TOKENS + 200


def test_estimate__more_tools_than_are_served__are_counted() -> None:
    tools = [{"name": f"f{number}", "input_schema": {"type": "object"}} for number in range(200)]

    assert count("x", *tools) > count("x", *tools[:100]) > count("x")


def test_estimate__no_conversation__is_refused() -> None:
    with pytest.raises(RequestRejected):
        estimate_input(b'{"model": "m", "messages": "x"}')
