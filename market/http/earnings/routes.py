"""What a seller earned and failed, as JSON and CSV."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy import Connection, RowMapping

from market.http.dependencies import (
    CSV,
    PAGE_MAX,
    SIGNED,
    TIME_MAX_S,
    Cursor,
    Limit,
    SellerDep,
    ServicesDep,
    TimeQuery,
)
from market.listing.markets import build_csv
from market.records.store import (
    EARNING_COLUMNS,
    KeyHolder,
    load_earning_totals,
    load_earnings,
    load_failures,
    load_seller_offers,
)
from market.services import Services

router = APIRouter()

_FAILURE_COLUMNS: Final = ("sale_id", "resolved_at_s", "offer_id", "model", "endpoint", "cause")
Load = Callable[..., Sequence[RowMapping]]


async def _load_page(
    services: Services,
    seller: KeyHolder,
    load: Load,
    *,
    from_s: int | None,
    until_s: int | None,
    cursor: str | None,
    limit: int,
) -> Sequence[RowMapping]:
    def query(connection: Connection) -> Sequence[RowMapping]:
        return load(
            connection,
            seller=seller.owner,
            from_s=0 if from_s is None else from_s,
            until_s=TIME_MAX_S if until_s is None else until_s,
            after=cursor or "",
            limit=limit,
        )

    return await services.database.read(query)


@router.get("/v1/seller/earnings", responses=SIGNED)
async def get_earnings(
    services: ServicesDep,
    seller: SellerDep,
    from_s: TimeQuery = None,
    until_s: TimeQuery = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Return what the seller earned, sale by sale, with the fee of each; amounts in 1e-6 USDC."""
    rows = await _load_page(
        services, seller, load_earnings, from_s=from_s, until_s=until_s, cursor=cursor, limit=limit
    )
    totals = await services.database.read(
        lambda connection: load_earning_totals(connection, seller=seller.owner)
    )
    next_cursor = rows[-1]["sale_id"] if len(rows) == limit else None
    return {"totals": totals, "earnings": [dict(row) for row in rows], "next_cursor": next_cursor}


@router.get("/v1/seller/earnings.csv", responses=CSV)
async def get_earnings_csv(
    services: ServicesDep,
    seller: SellerDep,
    from_s: TimeQuery = None,
    until_s: TimeQuery = None,
    cursor: Cursor = None,
    limit: Limit = PAGE_MAX,
) -> Response:
    """Return the same as CSV."""
    rows = await _load_page(
        services, seller, load_earnings, from_s=from_s, until_s=until_s, cursor=cursor, limit=limit
    )
    return _csv(rows, (*EARNING_COLUMNS, "payout_state"))


@router.get("/v1/seller/health-log", responses=SIGNED)
async def get_health_log(
    services: ServicesDep,
    seller: SellerDep,
    from_s: TimeQuery = None,
    until_s: TimeQuery = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Return the requests that the seller's offers failed, by cause, and how they stand now."""
    rows = await _load_page(
        services, seller, load_failures, from_s=from_s, until_s=until_s, cursor=cursor, limit=limit
    )
    offers = await services.database.read(
        lambda connection: load_seller_offers(connection, seller=seller.owner)
    )
    next_cursor = rows[-1]["sale_id"] if len(rows) == limit else None
    return {
        "offers": [
            {"id": row["offer_id"], "health": services.book.find_health(row["offer_id"])}
            for row in offers
        ],
        "failures": [dict(row) for row in rows],
        "next_cursor": next_cursor,
    }


@router.get("/v1/seller/health-log.csv", responses=CSV)
async def get_health_log_csv(
    services: ServicesDep,
    seller: SellerDep,
    from_s: TimeQuery = None,
    until_s: TimeQuery = None,
    cursor: Cursor = None,
    limit: Limit = PAGE_MAX,
) -> Response:
    """Return the failures as CSV."""
    rows = await _load_page(
        services, seller, load_failures, from_s=from_s, until_s=until_s, cursor=cursor, limit=limit
    )
    return _csv(rows, _FAILURE_COLUMNS)


def _csv(rows: Sequence[RowMapping], columns: Sequence[str]) -> Response:
    text = build_csv([dict(row) for row in rows], columns)
    return PlainTextResponse(text, media_type="text/csv")
