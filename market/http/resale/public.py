"""What of APIs is on sale: for people, for programs, for catalogues of x402."""

from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from contracts.units import format_usdc
from market.endpoints.health import Standing
from market.http.dependencies import OPEN, ServicesDep
from market.http.resale.schemas import (
    ApiDocument,
    ApiList,
    DiscoveredResource,
    DiscoveredResources,
    DiscoveryPagination,
    SoldApi,
    SoldOperation,
)
from market.payments.x402 import build_accepts
from market.resale.api_shelf import SoldConnection
from market.resale.call_wishes import PREFIX, unknown_api
from market.resale.candidates import Candidate
from market.resale.sold_apis import build_openapi, describe_discovery
from market.services import Services

router = APIRouter(tags=["resale"])

DISCOVERED_MAX: Final = 100


@router.get("/v1/apis", response_model=ApiList, responses=OPEN)
async def list_apis(services: ServicesDep) -> Response:
    """List all APIs on sale: operations, prices now, what is left, how they are doing."""
    products = services.api_calls.shelf.products
    return services.lists.answer(
        "apis",
        sum(len(connections) for connections in products.values()),
        lambda: ApiList(
            apis=[_describe(services, name, found) for name, found in products.items()]
        ),
    )


@router.get(
    "/v1/apis/{name:path}/openapi.json",
    response_class=JSONResponse,
    responses={**OPEN, 200: {"description": "an OpenAPI document", "model": ApiDocument}},
)
async def get_api_document(services: ServicesDep, name: str) -> Response:
    """Return the sellable part of an API as OpenAPI, with this market's address."""
    connections = services.api_calls.shelf.list_sold(name)
    if not connections:
        raise unknown_api(name)
    offered = _list_operations(services, connections)
    url = f"{services.public_url}{PREFIX}{name}"
    return JSONResponse(build_openapi(name, url, [one for one, _ in offered]))


@router.get("/discovery/resources", responses=OPEN)
async def discover_resources(
    services: ServicesDep,
    type: str = "http",
    limit: Annotated[int, Query(ge=1, le=DISCOVERED_MAX)] = DISCOVERED_MAX,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> DiscoveredResources:
    """List what is paid for by x402, in the shape of the x402 specification."""
    items: list[DiscoveredResource] = []
    paywall = services.paywall
    if paywall is not None and type == "http":
        terms = await paywall.load_terms()
        for name, connections in services.api_calls.shelf.products.items():
            for one, _ in _list_operations(services, connections):
                resource = f"{services.public_url}{PREFIX}{name}{one.operation.template.text}"
                amount_usdc = one.price.ceiling_usdc + paywall.rules.fee_usdc
                items.append(
                    DiscoveredResource(
                        resource=resource,
                        type="http",
                        x402Version=2,
                        accepts=build_accepts(terms, amount_usdc),
                        lastUpdated=one.connection.changed_at_s,
                        metadata={
                            "name": name,
                            "description": one.operation.summary or one.operation.name,
                            "method": one.operation.method,
                        },
                        extensions={"bazaar": describe_discovery(one.operation)},
                    )
                )
    page = items[offset : offset + limit]
    return DiscoveredResources(
        x402Version=2,
        items=page,
        pagination=DiscoveryPagination(limit=limit, offset=offset, total=len(items)),
    )


def _list_operations(
    services: Services, connections: Sequence[SoldConnection]
) -> list[tuple[Candidate, list[SoldConnection]]]:
    """Return each operation where it is cheapest now, with all who sell it."""
    now_s = services.database.now_s()
    found: dict[str, list[Candidate]] = {}
    for connection in connections:
        for operation in connection.terms.operations:
            price = connection.find_price(operation, now_s)
            one = Candidate(connection, operation, {}, price)
            found.setdefault(operation.name, []).append(one)
    return [
        (
            min(group, key=lambda one: one.price.ceiling_usdc),
            [one.connection for one in group],
        )
        for _, group in sorted(found.items())
    ]


def _describe(services: Services, name: str, connections: list[SoldConnection]) -> SoldApi:
    first = connections[0]
    shelf, now_s = services.api_calls.shelf, services.database.now_s()
    url = f"{services.public_url}{PREFIX}{name}"
    operations = []
    for one, sellers in _list_operations(services, connections):
        standings = [shelf.get_standing(seller.connection_id) for seller in sellers]
        best = Standing.HEALTHY if Standing.HEALTHY in standings else standings[0]
        operations.append(
            SoldOperation(
                method=one.operation.method,
                path=one.operation.template.text,
                url=url + one.operation.template.text,
                summary=one.operation.summary,
                price_usdc=one.price.ceiling_usdc,
                price_usd=format_usdc(one.price.ceiling_usdc),
                valid_until=one.price.valid_until_s,
                units=one.operation.units,
                left=sum(shelf.get_left(seller, now_s) for seller in sellers),
                connections=len(sellers),
                health=best,
                p50_ms=shelf.get_p50_ms(one.connection.connection_id),
            )
        )
    is_owned = name.startswith("~")
    return SoldApi(
        name=first.name,
        sold_under=name,
        owner=first.owner if is_owned else None,
        description=first.terms.description,
        url=url,
        openapi_url=f"{services.public_url}/v1/apis/{name}/openapi.json",
        unit=first.terms.quota.unit,
        resets_at=min(one.find_period(now_s).ends_at_s for one in connections),
        source_price_usdc=first.terms.source_price_usdc,
        operations=operations,
    )
