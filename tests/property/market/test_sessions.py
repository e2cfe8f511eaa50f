"""Conversations stay with sellers: the same everywhere, at little more, and where others come."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.endpoints.health import Standing
from market.routing.ranking import Ask, Offer, OfferState, rank
from market.routing.sessions import Session, make_session
from market.routing.shelf import Shelf
from serving.dialects.endpoints import Endpoint
from serving.models.prices import Price, Tokens
from tests.support.examples import examples

TOKENS = Tokens(1_000, 1_000)
CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": "Say hello."},
]


def make_offer(number: int, input_usdc: int, *, seller: str | None = None) -> Offer:
    name = f"seller-{number}" if seller is None else seller
    return Offer(f"{number:03d}", "m", name, Price(input_usdc, input_usdc))


def make_ask(conversation: int, premium_pct: int = 5, **changes: Any) -> Ask:
    session = Session(conversation.to_bytes(16, "big"), premium_pct)
    return Ask("m", TOKENS, TOKENS, session=session, **changes)


def name(body: dict[str, Any], **changes: Any) -> bytes | None:
    facts: dict[str, Any] = {"account_id": "a", "model": "m", "name": None, "premium_pct": 5}
    endpoint = changes.pop("endpoint", Endpoint.CHAT)
    session = make_session(endpoint, body, **{**facts, **changes})
    return None if session is None else session.key


offers = st.lists(st.tuples(st.integers(90, 120), st.integers(0, 6)), min_size=1, max_size=12).map(
    lambda drawn: [
        make_offer(number, price, seller=f"s{seller}")
        for number, (price, seller) in enumerate(drawn)
    ]
)
states = st.lists(
    st.sampled_from([Standing.HEALTHY, Standing.BACKING_OFF]), min_size=12, max_size=12
)


@settings(max_examples=examples(300), deadline=None)
@given(offers, states, st.integers(0, 2**64), st.integers(1, 30))
def test_select__any_market__is_healthy_never_dearer_than_allowed_and_the_first_of_the_ranking(
    listed: list[Offer], health: list[Standing], conversation: int, premium_pct: int
) -> None:
    standing = dict(zip((offer.offer_id for offer in listed), health, strict=False))
    ask = make_ask(conversation, premium_pct)

    def get_state(offer: Offer) -> OfferState:
        return OfferState(standing=standing[offer.offer_id])

    chosen = Shelf(listed).select(get_state, ask)
    plain = Shelf(listed).select(get_state, replace(ask, session=None))
    ranking = rank(listed, get_state, ask)

    if plain is None:
        assert chosen is None
        return
    assert chosen is not None
    assert standing[chosen.offer.offer_id] is Standing.HEALTHY
    assert chosen.worth * 100 <= plain.worth * (100 + premium_pct)
    assert chosen == ranking.ranked[0]
    assert chosen.stays == (chosen.offer != plain.offer)
    assert {v.offer for v in ranking.ranked} == {
        offer for offer in listed if standing[offer.offer_id] is Standing.HEALTHY
    }


@settings(max_examples=examples(200), deadline=None)
@given(offers, st.integers(0, 2**64))
def test_rank__each_place__is_what_is_chosen_once_all_before_it_were_tried(
    listed: list[Offer], conversation: int
) -> None:
    ask, shelf = make_ask(conversation), Shelf(listed)
    order = [verdict.offer.offer_id for verdict in rank(listed, lambda _: OfferState(), ask).ranked]

    for place, offer_id in enumerate(order):
        left = replace(ask, excluded=frozenset(order[:place]))
        chosen = shelf.select(lambda _: OfferState(), left)
        assert chosen is not None
        assert chosen.offer.offer_id == offer_id


@settings(max_examples=examples(200), deadline=None)
@given(st.integers(1, 12), st.integers(0, 2**64))
def test_select__one_seller_more__moves_only_the_sessions_that_go_to_it(
    sellers: int, conversation: int
) -> None:
    listed = [make_offer(number, 100) for number in range(sellers)]
    ask = make_ask(conversation)
    before = Shelf(listed).select(lambda _: OfferState(), ask)
    after = Shelf([*listed, make_offer(sellers, 100)]).select(lambda _: OfferState(), ask)

    assert before is not None
    assert after is not None
    assert after.offer in (before.offer, make_offer(sellers, 100))


def test_select__many_sessions__are_spread_over_sellers_and_not_over_offers() -> None:
    # One seller lists nine offers, the other one: each has about half of the sessions.
    listed = [make_offer(number, 100, seller="many") for number in range(9)]
    listed.append(make_offer(9, 100, seller="one"))
    shelf = Shelf(listed)
    chosen = [shelf.select(lambda _: OfferState(), make_ask(number)) for number in range(1_000)]

    of_one = sum(verdict is not None and verdict.offer.seller == "one" for verdict in chosen)
    # Five standard deviations.
    assert 420 < of_one < 580


def test_select__free_offer__is_never_passed_over_for_one_with_a_price() -> None:
    listed = [make_offer(0, 0), make_offer(1, 1)]
    chosen = [Shelf(listed).select(lambda _: OfferState(), make_ask(n)) for n in range(50)]
    assert {verdict.offer.offer_id for verdict in chosen if verdict is not None} == {"000"}


def test_select__minimum_discount_and_ceilings__hold_for_the_sessions_seller_too() -> None:
    listed = [make_offer(0, 100), make_offer(1, 104)]
    direct = Price(200, 200)
    for conversation in range(50):
        by_discount = make_ask(conversation, minimum_discount_pct=50, direct=direct)
        by_ceiling = make_ask(conversation, input_usdc_per_mtok_max=103)
        for ask in (by_discount, by_ceiling):
            chosen = Shelf(listed).select(lambda _: OfferState(), ask)
            assert chosen is not None
            assert chosen.offer.offer_id == "000"


def test_weigh__in_other_processes__is_the_same() -> None:
    """Python's own hashes differ from process to process; these must not."""
    program = (
        "from market.routing.sessions import *;"
        "s = make_session(Endpoint.CHAT, {'messages': [{'role': 'user', 'content': 'Hello'}]},"
        " account_id='a', model='m', name=None, premium_pct=5);"
        "print(s.key.hex(), [s.weigh(f's{n}') for n in range(3)])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


# ------------------------------------------------------------------------- which session it is


def test_session__later_turns__are_the_same() -> None:
    later = [*CONVERSATION, {"role": "assistant", "content": "Hello."}]
    later += [{"role": "user", "content": "Again."}]
    assert name({"messages": CONVERSATION}) == name({"messages": later, "temperature": 1})


def test_session__written_otherwise__is_the_same() -> None:
    parts = [{"type": "text", "text": "Say "}, {"type": "text", "text": "hello."}]
    as_parts = [CONVERSATION[0], {"role": "user", "content": parts}]
    assert name({"messages": CONVERSATION}) == name({"messages": as_parts})
    first = {"input": "Say hello.", "instructions": "Be terse."}
    item = {"role": "user", "content": [{"type": "input_text", "text": "Say hello."}]}
    answer = {"role": "assistant", "content": "Hello."}
    later = {"input": [item, answer, item], "instructions": "Be terse."}
    endpoint = Endpoint.RESPONSES
    assert name(first, endpoint=endpoint) == name(later, endpoint=endpoint)


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        ({"messages": [CONVERSATION[0], {"role": "user", "content": "Say good-bye."}]}, {}),
        ({"messages": [CONVERSATION[1]]}, {}),
        ({"messages": [{"role": "system", "content": "You are terse.Say hello."}]}, {}),
        ({"messages": CONVERSATION}, {"account_id": "b"}),
        ({"messages": CONVERSATION}, {"model": "n"}),
        ({"messages": CONVERSATION, "prompt_cache_key": "k"}, {}),
        ({"messages": CONVERSATION, "user": "u"}, {}),
        ({"messages": CONVERSATION}, {"name": "n"}),
    ],
)
def test_session__another_conversation__is_another(
    body: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert name(body, **changes) != name({"messages": CONVERSATION})


def test_session__with_a_name__is_the_same_whatever_it_begins_with() -> None:
    other = [{"role": "user", "content": "Something else."}]
    for named in ({"prompt_cache_key": "k"}, {"user": "k"}):
        assert name({"messages": CONVERSATION, **named}) == name({"messages": other, **named})
    both = {"messages": CONVERSATION, "user": "u", "prompt_cache_key": "k"}
    assert name(both) == name({"messages": other}, name="k")
    assert name(both, name="h") == name({"messages": other}, name="h")


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (Endpoint.EMBEDDINGS, {"input": "x"}),
        (Endpoint.COMPLETIONS, {"prompt": [1, 2]}),
        (Endpoint.COMPLETIONS, {"prompt": ""}),
    ],
)
def test_session__nothing_to_tell_it_by__is_none(endpoint: Endpoint, body: dict[str, Any]) -> None:
    assert name(body, endpoint=endpoint) is None


def test_session__premium_of_0__is_none() -> None:
    assert name({"messages": CONVERSATION, "user": "u"}, premium_pct=0) is None


def test_session__half_a_surrogate_pair__is_hashed_like_any_text() -> None:
    assert name({"messages": [{"role": "user", "content": "\ud83d"}]}) is not None


def test_session__prompt_that_grows__is_the_same() -> None:
    prompt = "Once upon a time. " * 20
    endpoint = Endpoint.COMPLETIONS
    first = name({"prompt": prompt}, endpoint=endpoint)
    assert first == name({"prompt": prompt + "And then"}, endpoint=endpoint)
    assert first == name({"prompt": [prompt]}, endpoint=endpoint)
    assert first != name({"prompt": "x" + prompt}, endpoint=endpoint)
