"""Which seller a conversation stays with: its name or beginning, and the order of near offers.

::

    a session
    ├── by the header, else prompt_cache_key, else user, else by the conversation's beginning
    ├── the same over the turns of a conversation; another for another account, model or beginning
    └── none for embeddings, an empty prompt, or a premium of 0
    the order of offers
    ├── only offers near the cheapest one left are moved before it
    └── one seller's cheapest offer comes first
"""

from typing import Any

import pytest

from market.routing.sessions import Session, make_session
from serving.dialects.endpoints import Endpoint

SYSTEM = {"role": "system", "content": "Be brief."}
FIRST = {"role": "user", "content": "Hello"}
LATER = [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "More"}]


def key_of(
    body: dict[str, Any],
    *,
    endpoint: Endpoint = Endpoint.CHAT,
    account_id: str = "ac_1",
    model: str = "m",
    name: str | None = None,
    premium_pct: int = 5,
) -> bytes | None:
    session = make_session(
        endpoint, body, account_id=account_id, model=model, name=name, premium_pct=premium_pct
    )
    return None if session is None else session.key


@pytest.mark.parametrize(
    ("endpoint", "body", "next_body"),
    [
        (
            Endpoint.CHAT,
            {"messages": [SYSTEM, FIRST]},
            {"messages": [SYSTEM, FIRST, *LATER]},
        ),
        (
            Endpoint.CHAT,
            {"messages": [FIRST]},
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]},
        ),
        (
            Endpoint.RESPONSES,
            {"instructions": "Be brief.", "input": "Hello"},
            {"instructions": "Be brief.", "input": [FIRST, *LATER]},
        ),
        (
            Endpoint.COMPLETIONS,
            {"prompt": "x" * 256},
            {"prompt": ["x" * 256 + " and what came next"]},
        ),
    ],
)
def test_make_session__a_later_turn__same_session(
    endpoint: Endpoint, body: dict[str, Any], next_body: dict[str, Any]
) -> None:
    key = key_of(body, endpoint=endpoint)

    assert key is not None
    assert key_of(next_body, endpoint=endpoint) == key


def test_make_session__named__by_the_header_then_the_fields() -> None:
    body = {"messages": [FIRST], "prompt_cache_key": "cache", "user": "person"}
    by_header = key_of(body, name="mine")

    assert by_header == key_of({"messages": [SYSTEM]}, name="mine")
    assert key_of(body) == key_of({"messages": LATER, "prompt_cache_key": "cache", "user": "x"})
    assert key_of({"messages": [FIRST], "user": "person"}) == key_of({"user": "person"})
    assert len({by_header, key_of(body), key_of({"user": "person"})}) == 3


@pytest.mark.parametrize(
    "changes", [{"account_id": "ac_2"}, {"model": "n"}, {"body": {"messages": [SYSTEM, FIRST]}}]
)
def test_make_session__other_account_model_or_beginning__other_session(
    changes: dict[str, Any],
) -> None:
    body = {"messages": [FIRST]}

    assert key_of(**{"body": body, **changes}) != key_of(body)


@pytest.mark.parametrize(
    ("endpoint", "body", "premium_pct"),
    [
        (Endpoint.CHAT, {"messages": [FIRST]}, 0),
        (Endpoint.EMBEDDINGS, {"input": "Hello"}, 5),
        (Endpoint.COMPLETIONS, {"prompt": ""}, 5),
        (Endpoint.COMPLETIONS, {"prompt": [[1, 2]]}, 5),
    ],
)
def test_make_session__no_turns_or_no_premium__none(
    endpoint: Endpoint, body: dict[str, Any], premium_pct: int
) -> None:
    assert key_of(body, endpoint=endpoint, premium_pct=premium_pct) is None


@pytest.mark.parametrize("messages", [None, ["text"], [{"role": "user", "content": 7}], [SYSTEM]])
def test_make_session__odd_messages__still_a_session(messages: Any) -> None:
    assert key_of({"messages": messages}) is not None


def test_make_session__image__told_apart_from_another() -> None:
    def ask(url: str) -> dict[str, Any]:
        part = {"type": "image_url", "image_url": {"url": url}}
        return {"messages": [{"role": "user", "content": [part]}]}

    assert key_of(ask("https://a.test")) != key_of(ask("https://b.test"))


def test_is_near__at_the_premium__is_and_one_more_is_not() -> None:
    session = Session(b"k", 5)

    assert session.is_near(105, cheapest=100)
    assert not session.is_near(106, cheapest=100)


def test_arrange__near_offers__heaviest_seller_first_then_the_dear_ones() -> None:
    session = Session(b"key", 5)
    offers = [(100, "a"), (104, "b"), (105, "c"), (200, "d")]
    near = sorted("abc", key=session.weigh, reverse=True)

    order = list(session.arrange(offers))

    assert [offers[place][1] for place, _ in order[:1]] == near[:1]
    assert sorted(place for place, _ in order) == [0, 1, 2, 3]
    assert order[-1] == (3, False)
    assert dict(order)[0] is False, "the cheapest is never moved before a cheaper one"


def test_arrange__two_offers_of_one_seller__the_cheaper_first() -> None:
    order = [place for place, _ in Session(b"key", 50).arrange([(100, "a"), (101, "a")])]

    assert order == [0, 1]


def test_arrange__nothing_near__by_price() -> None:
    order = list(Session(b"key", 5).arrange([(0, "a"), (1, "b"), (2, "c")]))

    assert order == [(0, False), (1, False), (2, False)]
