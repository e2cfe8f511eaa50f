"""A market's book, as the proxy reads it: all of its pages, within a bound."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from proxy.chat.upstream import BOOK_PAGES_MAX, HttpUpstream
from tests.support.http_fakes import Answer, HttpFake
from tests.support.proxy import make_settings


class PagedMarket(HttpFake):
    """A market whose book has so many offers; without an end, it goes on for ever."""

    def __init__(self, *, offers: int, has_end: bool = True) -> None:
        super().__init__()
        self._offers = [{"offer_id": f"of_{number}"} for number in range(offers)]
        self._has_end = has_end

    def answer(self, path: str, _body: bytes) -> Answer:
        parts = urlsplit(path)
        query = parse_qs(parts.query)
        if parts.path != "/api/markets/maker/m":
            return 404, {"error": {"message": "not found"}}
        start, limit = int(query.get("cursor", ["0"])[0]), int(query.get("limit", ["100"])[0])
        end = start + limit
        is_last = self._has_end and end >= len(self._offers)
        told: dict[str, Any] = {"offers": self._offers[start:end]}
        return 200, {**told, "next_cursor": None if is_last else str(end)}


@pytest.mark.parametrize(
    ("offers", "has_end", "pages"),
    [(3, True, 1), (1_201, True, 3), (1_201, False, BOOK_PAGES_MAX)],
)
async def test_fetch_book__every_page_is_read_within_the_bound(
    offers: int, has_end: bool, pages: int
) -> None:
    with PagedMarket(offers=offers, has_end=has_end) as market:
        upstream = HttpUpstream(make_settings(upstream_url=f"{market.url}/min20/v1"))
        found = await upstream.fetch_book("maker/m")
        await upstream.close()
    assert [one["offer_id"] for one in found] == [f"of_{number}" for number in range(offers)]
    assert len(market.seen) == pages
