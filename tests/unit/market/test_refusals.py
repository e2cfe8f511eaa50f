"""Why no offer serves a request: what the offers that came furthest did not pass."""

from dataclasses import replace

import pytest

from market.routing.ranking import Ask, Drop, Offer, Ranking, Verdict
from market.routing.refusals import build_rejection, explain_none, find_telling
from serving.models.failures import NotServed, UpstreamRejected
from serving.models.prices import Price, Tokens

TOKENS = Tokens(1_000, 1_000)


def make_verdict(drop: Drop | None, *, worth: int = 0, direct_worth: int = 0) -> Verdict:
    price = Price(1, 1)
    offer = Offer("of_1", "m", "0x1", price)
    return Verdict(offer, 1, 1, 0, drop, price, worth, direct_worth)


def ask(minimum_discount_pct: int | None = None) -> Ask:
    return Ask("m", TOKENS, TOKENS, minimum_discount_pct=minimum_discount_pct)


def make_ranking(*drops: Drop | None) -> Ranking:
    verdicts = [make_verdict(drop) for drop in drops]
    ranked = tuple(verdict for verdict in verdicts if verdict.drop is None)
    dropped = tuple(verdict for verdict in verdicts if verdict.drop is not None)
    return Ranking(ranked, dropped)


@pytest.mark.parametrize(
    ("drops", "status", "code"),
    [
        ([], 404, "model_not_found"),
        ([Drop.INACTIVE], 404, "model_not_found"),
        ([Drop.INACTIVE, Drop.UNTRUSTED], 503, "no_trusted_seller"),
        ([Drop.UNTRUSTED, Drop.GRADE], 503, "no_seller_of_grade"),
        ([Drop.PRICE_CEILING, Drop.UNTRUSTED], 503, "price_ceiling_not_met"),
        ([Drop.BUSY, Drop.BACKING_OFF], 503, "sellers_busy"),
    ],
)
def test_explain_none__offers_dropped__the_furthest_reason(
    drops: list[Drop], status: int, code: str
) -> None:
    told = explain_none(make_ranking(*drops), ask())

    assert (told.status, told.code) == (status, code)


def test_explain_none__offers_dropped__counted_by_reason() -> None:
    told = explain_none(make_ranking(Drop.BUSY, Drop.UNTRUSTED, Drop.BUSY), ask())

    assert told.beside == {"dropped": {str(Drop.UNTRUSTED): 1, str(Drop.BUSY): 2}}


def test_explain_none__offers_not_looked_at__count_by_their_reason() -> None:
    unseen = {Drop.INACTIVE: 2, Drop.UNTRUSTED: 3}
    busy = explain_none(replace(make_ranking(Drop.BUSY), unseen=unseen), ask())
    waiting = explain_none(Ranking((), (), unseen), ask())
    asleep = explain_none(Ranking((), (), {Drop.INACTIVE: 1, Drop.UNTRUSTED: 0}), ask())

    assert busy.code == "sellers_busy"
    assert busy.beside == {"dropped": {"inactive": 2, "untrusted": 3, "busy": 1}}
    assert waiting.code == "no_trusted_seller"
    assert asleep.code == "model_not_found"


def test_explain_none__offers_would_do__cannot_be_reached_or_were_denied() -> None:
    ranking = make_ranking(None)

    assert explain_none(ranking, ask()).code == "sellers_unavailable"
    denied = explain_none(ranking, ask(), denied=Drop.CAP_REACHED)
    assert denied.code == "seller_caps_reached"


def test_explain_none__minimum_discount_alone_blocks__the_best_there_is() -> None:
    dropped = (
        make_verdict(Drop.MINIMUM_DISCOUNT, worth=70, direct_worth=100),
        make_verdict(Drop.MINIMUM_DISCOUNT, worth=60, direct_worth=100),
        make_verdict(Drop.MINIMUM_DISCOUNT),
    )

    told = explain_none(Ranking((), dropped), ask(minimum_discount_pct=50))

    assert told.beside["best_available_discount_pct"] == 40.0
    assert told.beside["minimum_discount_pct"] == 50


def test_find_telling__not_served_and_a_reason__the_reason() -> None:
    absent, reason = NotServed(404, "Nothing here."), UpstreamRejected(400, "Too long.")

    assert find_telling([absent, reason]) is reason
    assert find_telling([absent]) is absent


@pytest.mark.parametrize(
    ("error", "status", "code", "facts"),
    [
        (NotServed(404, "Nothing here."), 400, "seller_rejected", {}),
        (UpstreamRejected(422, "Odd."), 422, "seller_rejected", {}),
        (
            UpstreamRejected(400, "Odd.", "top_k", "their_own"),
            400,
            "seller_rejected",
            {"upstream_code": "their_own"},
        ),
        (
            UpstreamRejected(400, "Too long.", "messages", "context_length_exceeded"),
            400,
            "context_length_exceeded",
            {"upstream_code": "context_length_exceeded"},
        ),
    ],
)
def test_build_rejection__status_and_known_code__kept(
    error: UpstreamRejected, status: int, code: str, facts: dict[str, str]
) -> None:
    told = build_rejection(error)

    assert (told.status, told.code, told.facts) == (status, code, facts)
