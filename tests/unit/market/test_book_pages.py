"""The pages of a model's book: each offer once, approved sellers first, whatever changes."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from market.listing.book_pages import BookPlace, find_place, parse_place, take_page
from market.pricing.media_units import Base
from market.routing.ranking import Offer
from serving.models.prices import Price

OFFERS = [
    Offer("stranger", "m", "0xs", Price(1, 1), is_trusted=False),
    Offer("dear", "m", "0xa", Price(9, 9)),
    Offer("cheap", "m", "0xb", Price(2, 2)),
    Offer("twin", "m", "0xb", Price(2, 2)),
    Offer("pictures", "m", "0xb", Price(3, 0), unit="image"),
    Offer("songs", "m", "0xs", Price(1, 0), unit="image", is_trusted=False),
]


def split(offers: list[Offer]) -> tuple[list[Offer], list[Offer]]:
    trusted = [offer for offer in offers if offer.is_trusted]
    return trusted, [offer for offer in offers if not offer.is_trusted]


def walk(*, limit: int, trusted_only: bool) -> list[list[str]]:
    pages, after = [], None
    while True:
        page, after = take_page(*split(OFFERS), after=after, limit=limit, trusted_only=trusted_only)
        pages.append([offer.offer_id for offer in page])
        if after is None:
            return pages
        # As a client would: the place is written out and read again.
        after = parse_place(str(after))


def test_take_page__market_of_approved_sellers__shows_the_others_last() -> None:
    pages = walk(limit=2, trusted_only=True)
    assert pages == [["pictures", "cheap"], ["twin", "dear"], ["songs", "stranger"]]


def test_take_page__approved_sellers_fill_it__looks_at_no_stranger_but_whether_there_is_one() -> (
    None
):
    trusted, strangers = split(OFFERS)
    looked: list[str] = []

    def walk_strangers() -> Iterator[Offer]:
        for offer in strangers:
            looked.append(offer.offer_id)
            yield offer

    for limit, seen in ((3, []), (4, ["stranger"]), (5, ["stranger", "songs"])):
        looked.clear()
        page, last = take_page(
            trusted, walk_strangers(), after=None, limit=limit, trusted_only=True
        )
        assert (len(page), last is not None, looked) == (limit, True, seen)


def test_take_page__open_market__is_by_price_alone() -> None:
    [page] = walk(limit=6, trusted_only=False)
    assert page == ["songs", "pictures", "stranger", "cheap", "twin", "dear"]


def test_take_page__offer_behind_the_cursor_is_gone__goes_on_after_its_place() -> None:
    place = find_place(OFFERS[2], trusted_only=True)
    left = [offer for offer in OFFERS if offer.offer_id != "cheap"]
    page, _ = take_page(*split(left), after=place, limit=1, trusted_only=True)
    assert [offer.offer_id for offer in page] == ["twin"]


def test_take_page__the_same_price__is_in_the_order_of_ids() -> None:
    many = [replace(OFFERS[1], offer_id=f"{number:03d}") for number in range(300)]
    page, last = take_page(reversed(many), [], after=None, limit=200, trusted_only=True)
    assert page == many[:200]
    assert last == BookPlace(False, Base.TOKEN, last.worth if last else -1, "199")


@pytest.mark.parametrize("text", ["", "0-token-1", "2-token-1-a", "0-nothing-1-a", "0-token-x-a"])
def test_parse_place__what_is_none__is_none(text: str) -> None:
    assert parse_place(text) is None
