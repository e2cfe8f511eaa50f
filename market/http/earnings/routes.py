"""What a seller earned and failed, as JSON and CSV."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Response
from sqlalchemy import Connection

from market.http.dependencies import (
    PAGE_MAX,
    SELLER_KEY,
    SIGNED,
    TIME_MAX_S,
    Cursor,
    Limit,
    SellerDep,
    ServicesDep,
    TimeQuery,
)
from market.http.earnings.capacity import load_capacity
from market.http.earnings.schemas import (
    Capacity,
    Earning,
    EarningPage,
    EarningTotals,
    Failure,
    FailurePage,
    OfferHealth,
)
from market.records.earning_records import (
    EARNING_COLUMNS,
    load_earning_totals,
    load_earnings,
)
from market.records.store import KeyHolder, load_failures, load_seller_offers
from market.services import Services
from serving.http.document.writing import table_of_lines
from serving.http.tables import write_csv

router = APIRouter(tags=["earnings"])

_FAILURE_COLUMNS: Final = ("sale_id", "resolved_at_s", "offer_id", "model", "endpoint", "cause")
Row = Mapping[str, Any]
Load = Callable[..., Sequence[Any]]


async def _load_page(
    services: Services,
    seller: KeyHolder,
    load: Load,
    *,
    from_s: int | None,
    until_s: int | None,
    cursor: str | None,
    limit: int,
) -> Sequence[Row]:
    def query(connection: Connection) -> Sequence[Row]:
        return load(
            connection,
            seller=seller.owner,
            from_s=0 if from_s is None else from_s,
            until_s=TIME_MAX_S if until_s is None else until_s,
            after=cursor or "",
            limit=limit,
        )

    return await services.database.read(query)


@router.get("/v1/seller/earnings", responses=SIGNED, dependencies=SELLER_KEY)
async def get_earnings(
    services: ServicesDep,
    seller: SellerDep,
    from_s: TimeQuery = None,
    until_s: TimeQuery = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> EarningPage:
    """Return what the seller earned, by each sale and each call of its APIs, with the fee of each;
    amounts in 1e-6 USDC."""
    now_s = services.database.now_s()
    load = partial(load_earnings, now_s=now_s)
    rows = await _load_page(
        services, seller, load, from_s=from_s, until_s=until_s, cursor=cursor, limit=limit
    )
    totals = await services.database.read(
        lambda connection: load_earning_totals(connection, seller=seller.owner, now_s=now_s)
    )
    next_cursor = rows[-1]["sale_id"] if len(rows) == limit else None
    return EarningPage(
        chain_id=services.chain_id,
        totals=EarningTotals(**totals),
        earnings=[Earning.model_validate(dict(row)) for row in rows],
        next_cursor=next_cursor,
    )


@router.get(
    "/v1/seller/earnings.csv",
    response_class=Response,
    responses={**SIGNED, 200: table_of_lines(EARNING_COLUMNS)},
    dependencies=SELLER_KEY,
)
async def get_earnings_csv(
    services: ServicesDep,
    seller: SellerDep,
    from_s: TimeQuery = None,
    until_s: TimeQuery = None,
    cursor: Cursor = None,
    limit: Limit = PAGE_MAX,
) -> Response:
    """Return what the seller earned, by each sale and each call, as CSV; amounts in 1e-6 USDC."""
    load = partial(load_earnings, now_s=services.database.now_s())
    rows = await _load_page(
        services, seller, load, from_s=from_s, until_s=until_s, cursor=cursor, limit=limit
    )
    return _csv(rows, EARNING_COLUMNS)


@router.get("/v1/seller/health-log", responses=SIGNED, dependencies=SELLER_KEY)
async def get_health_log(
    services: ServicesDep,
    seller: SellerDep,
    from_s: TimeQuery = None,
    until_s: TimeQuery = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> FailurePage:
    """Return the requests that the seller's offers failed, by cause, and how they stand now."""
    rows = await _load_page(
        services, seller, load_failures, from_s=from_s, until_s=until_s, cursor=cursor, limit=limit
    )
    offers = await services.database.read(
        lambda connection: load_seller_offers(connection, seller=seller.owner)
    )
    next_cursor = rows[-1]["sale_id"] if len(rows) == limit else None
    return FailurePage(
        offers=[
            OfferHealth.model_validate(
                {"id": row["offer_id"], "health": services.book.find_health(row["offer_id"])},
                from_attributes=True,
            )
            for row in offers
        ],
        failures=[Failure.model_validate(dict(row)) for row in rows],
        next_cursor=next_cursor,
    )


@router.get(
    "/v1/seller/health-log.csv",
    response_class=Response,
    responses={**SIGNED, 200: table_of_lines(_FAILURE_COLUMNS)},
    dependencies=SELLER_KEY,
)
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


@router.get("/v1/seller/capacity", responses=SIGNED, dependencies=SELLER_KEY)
async def get_capacity(services: ServicesDep, seller: SellerDep) -> Capacity:
    """Return what was sold of capacity that expires, and what lapsed, newest first: of offers with
    ``quota_resets_at`` and a total quota, and of connections to APIs, period by period."""
    now_s = services.database.now_s()
    return await services.database.read(
        lambda connection: load_capacity(connection, seller.owner, now_s=now_s)
    )


def _csv(rows: Sequence[Row], columns: Sequence[str]) -> Response:
    return Response(write_csv([dict(row) for row in rows], columns), media_type="text/csv")
