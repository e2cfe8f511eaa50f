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
