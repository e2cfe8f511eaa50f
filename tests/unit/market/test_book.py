"""What approved sellers list, and what others do, is counted apart."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from market.endpoints.sealing import Sealer
from market.records.database import Database
from market.routing.book import Book
from serving.models.references import References

KNOWN = "gpt-4o"
"""A model that the data set names."""


@pytest.fixture
def book() -> Book:
    """A book without a ledger."""
    database = cast(Database, SimpleNamespace(now_s=lambda: 1_800_000_000))
    return Book(database, References(), cast(Sealer, None), fee_bps=0, concurrency_max=1)


def put(book: Book, offer_id: str, model: str, *, is_trusted: bool, **changes: Any) -> None:
    row = {
        "offer_id": offer_id,
        "model": model,
        "seller": "0xa" if is_trusted else "0xb",
        "status": "active",
        "suspended_for": None,
        "supply_offer_id": None,
        "version": 0,
        "doubted_at_s": None,
        "cost_multiplier_ppm": None,
        "price_input_usdc_per_mtok": 1,
        "price_output_usdc_per_mtok": 1,
        "price_cached_input_usdc_per_mtok": None,
        "price_per_request_usdc": None,
        "price_tiers": None,
        "unit": None,
        "label": "",
        "seller_base_url": "https://s.example",
        "upstream_model": model,
        "payout_address": "0xa",
        "cap_daily_usdc": None,
        "quota_total_usdc": None,
        "rate_limit_rpm": None,
        "declares": None,
        "quota_resets_at_s": None,
        "falls_from_s": None,
        "floor_pct": None,
        "day": 0,
        "day_used_usdc": 0,
        "total_used_usdc": 0,
        **changes,
    }
    book.put(row, fee_bps=None, is_trusted=is_trusted)


def count(book: Book, *, is_trusted: bool) -> tuple[int, int]:
    """Return the offers and the new models of one kind of seller."""
    offers = book.count_offers(is_trusted=is_trusted)
    return offers, book.count_new_models(is_trusted=is_trusted)


def test_count__strangers_list_much__approved_sellers_have_their_own_room(
    book: Book,
) -> None:
    for number in range(9):
        put(book, f"s{number}", f"invented-{number}", is_trusted=False)
    put(book, "s-known", KNOWN, is_trusted=False)
    put(book, "a1", KNOWN, is_trusted=True)
    put(book, "a2", "invented-0", is_trusted=True)

    assert count(book, is_trusted=True) == (2, 1)
    assert count(book, is_trusted=False) == (10, 8)

    put(book, "s0", "invented-0", is_trusted=True)
    put(book, "a1", KNOWN, is_trusted=True, status="deleted")
    assert count(book, is_trusted=True) == (2, 1)
    assert count(book, is_trusted=False) == (9, 8)


def test_is_new__listed_by_strangers_only__is_new_to_an_approved_seller(book: Book) -> None:
    put(book, "s", "theirs", is_trusted=False)
    put(book, "a", "ours", is_trusted=True)

    told = {
        (model, is_trusted): book.is_new(model, is_trusted=is_trusted)
        for model in ("theirs", "ours", "nobodys", KNOWN)
        for is_trusted in (False, True)
    }

    assert {key for key, is_new in told.items() if is_new} == {
        ("theirs", True),
        ("nobodys", False),
        ("nobodys", True),
    }


def test_price__falls__is_of_the_moment_wherever_it_is_read() -> None:
    now = [1_000]
    database = cast(Database, SimpleNamespace(now_s=lambda: now[0]))
    book = Book(database, References(), cast(Sealer, None), fee_bps=0, concurrency_max=1)
    fall = {"falls_from_s": 1_000, "quota_resets_at_s": 1_180, "floor_pct": 10}
    prices = {"price_input_usdc_per_mtok": 1_000, "price_output_usdc_per_mtok": 2_000}
    put(book, "falls", "model", is_trusted=True, **prices, **fall)
    put(book, "stays", "model", is_trusted=True, **prices)

    def look() -> tuple[int, int | None, int]:
        shelf = book.get_shelf("model")
        assert shelf is not None
        (listed,) = (one for one in book.shelves["model"][shelf_base] if one.offer_id == "falls")
        found = shelf.get("falls")
        assert found is listed
        assert found is book.get_live("falls").offer
        stays = shelf.get("stays")
        assert stays is not None
        assert (stays.price.input_usdc_per_mtok, stays.valid_until_s) == (1_000, None)
        stated = found.stated_tiers[0][1].input_usdc_per_mtok
        return found.price.input_usdc_per_mtok, found.valid_until_s, stated

    (shelf_base,) = book.shelves["model"]
    seen = []
    for at_s in (1_000, 1_059, 1_060, 1_174, 1_175, 1_179, 1_180, 9_999):
        now[0] = at_s
        seen.append(look())

    assert seen == [
        (1_000, 1_060, 1_000),
        (1_000, 1_060, 1_000),
        (700, 1_120, 700),
        (400, 1_175, 400),
        (400, None, 1_000),
        (400, None, 1_000),
        (1_000, None, 1_000),
        (1_000, None, 1_000),
    ]


def test_price__multiplier_that_falls__is_a_part_of_the_multiple(book: Book) -> None:
    fall = {"falls_from_s": 1_799_999_900, "quota_resets_at_s": 1_800_000_100, "floor_pct": 50}
    multiple = {"price_input_usdc_per_mtok": None, "price_output_usdc_per_mtok": None}
    put(book, "whole", KNOWN, is_trusted=True, cost_multiplier_ppm=500_000, **multiple)
    put(book, "part", KNOWN, is_trusted=True, cost_multiplier_ppm=500_000, **multiple, **fall)

    shelf = book.get_shelf(KNOWN)
    assert shelf is not None
    whole, part = shelf.get("whole"), shelf.get("part")

    assert whole is not None
    assert part is not None
    # A third of the way down to one half, rounded up.
    assert whole.price.input_usdc_per_mtok == 1_250_000
    assert part.price.input_usdc_per_mtok == 1_041_668
