"""The sellers as everybody may see them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Final

from fastapi import APIRouter, Query

from market.endpoints.health import Standing
from market.http.dependencies import OPEN, ServicesDep
from market.http.markets.schemas import OfferMeasured
from market.http.sellers.schemas import SellerList, SellerStanding
from market.listing.seller_pages import SellerPlace, group_by_seller, parse_place
from market.records.seller_standings import SellerStandingRecord, load_seller_standings
from market.routing.book import Book
from market.routing.live_offers import Live
from serving.http.errors import bad_request

router = APIRouter(tags=["markets"])

PROVIDERS_MAX: Final = 20


@router.get("/v1/sellers", responses=OPEN)
async def list_sellers(
    services: ServicesDep,
    cursor: Annotated[str | None, Query(max_length=80)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> SellerList:
    """Return how each seller stands that has listed an offer, a page at a time: approved ones
    first."""
    after = None if cursor is None else parse_place(cursor)
    if cursor is not None and after is None:
        raise bad_request("invalid_cursor", "'cursor' is not one of this list.", param="cursor")
    book = services.book
    live = book.list_live()
    listed = services.lists.keep("sellers", len(live), lambda: group_by_seller(live))
    page, last = listed.take_page(after=after, limit=limit)
    names = [place.seller for place in page]
    records = await services.database.read(lambda c: load_seller_standings(c, names))
    return SellerList(
        sellers=[
            _describe(book, place, listed.offers[place], records[place.seller])
            for place in page
            if place.seller in records
        ],
        next_cursor=None if last is None else str(last),
    )


def _describe(
    book: Book, place: SellerPlace, offers: Sequence[Live], record: SellerStandingRecord
) -> SellerStanding:
    active = [live for live in offers if live.offer.is_active]
    providers = Counter(live.offer.provider for live in active)
    ranked = sorted(providers, key=lambda name: (-providers[name], name))
    healthy = sum(book.health.get_standing(live.place) is Standing.HEALTHY for live in active)
    return SellerStanding(
        seller=place.seller,
        trusted=not place.waits,
        since=record.created_at_s,
        providers=ranked[:PROVIDERS_MAX],
        grades=sorted({live.offer.grade for live in active}),
        models=len({live.offer.model for live in active}),
        offers_active=len(active),
        offers_resting=len(active) - healthy,
        offers_suspended=record.suspended,
        offers_doubted=record.doubted,
        convictions=record.convictions,
        last_convicted_at=record.last_convicted_at_s,
        measured=OfferMeasured(**asdict(book.report_together(offers))),
    )
