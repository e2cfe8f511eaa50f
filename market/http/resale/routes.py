"""An owner's connections to APIs: make, change, take down, look at."""

from contextlib import suppress
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection, RowMapping

from ledger.errors import TooMany
from ledger.resale.connections import (
    CALL_COLUMNS,
    ConnectionChanged,
    NameTaken,
    change_connection,
    delete_connection,
    load_calls,
    load_connections,
    save_connection,
)
from ledger.resale.periods import change_period
from market.errors import not_found
from market.http.dependencies import (
    PAGE_MAX,
    SELLER_KEY,
    SIGNED,
    Cursor,
    IdPath,
    Limit,
    SellerDep,
    ServicesDep,
)
from market.http.offers.schemas import Deleted
from market.http.resale.describing import describe_connection, describe_status
from market.http.resale.schemas import (
    CallPage,
    CallView,
    ConnectionChange,
    ConnectionList,
    ConnectionStatus,
    ConnectionTest,
    ConnectionView,
    ConnectionWish,
)
from market.listing.offers import check_payable, read_payout_address
from market.records.store import KeyHolder
from market.resale.connection_terms import parse_terms, read_stored
from market.resale.operations import TermsRefused
from market.resale.owning import (
    PeriodStatus,
    build_changes,
    build_connection,
    load_status,
    read_key,
)
from market.resale.trying import try_connection
from market.services import Services
from serving.http.document.writing import body_of, table_of_lines
from serving.http.errors import RequestRejected, bad_request, wrong_type
from serving.http.strict_json import check_fields, parse_exact_json
from serving.http.tables import write_csv
from serving.models.dialing import UrlRefused
from serving.models.failures import Cause

router = APIRouter(tags=["resale"])

CHANGES_MAX: Final = 5
_NEW: Final = frozenset(ConnectionWish.model_fields)
_CHANGED: Final = frozenset(ConnectionChange.model_fields)


@router.post(
    "/v1/seller/connections",
    status_code=201,
    responses=SIGNED,
    dependencies=SELLER_KEY,
    openapi_extra=body_of(ConnectionWish),
)
async def create_connection(
    request: Request, services: ServicesDep, seller: SellerDep
) -> ConnectionView:
    """Connect an API whose unused quota is sold by the call. It is on sale at once."""
    body = await _read_body(request, services, seller, _NEW)
    payee = body.get("payout_address")
    if payee is not None:
        if not isinstance(payee, str):
            raise wrong_type("payout_address", "an address that can be paid")
        check_payable(read_payout_address(payee), services.unpayable)
    try:
        new, api_key = await build_connection(
            body,
            owner=seller.owner,
            dialer=services.dialer,
            approved=services.api_calls.shelf.approved_names,
        )
    except (TermsRefused, UrlRefused) as error:
        raise _refused(error) from None
    sealed = await services.seal(api_key, new.connection_id)
    now_s = services.database.now_s()
    try:
        await services.write_as(seller, lambda c: save_connection(c, new, sealed, now_s=now_s))
    except NameTaken as error:
        raise RequestRejected(409, "name_taken", f"{str(error).capitalize()}.") from None
    except TooMany as error:
        message = f"{str(error).capitalize()}."
        raise RequestRejected(409, "too_many_connections", message) from None
    return await _show(services, seller, new.connection_id)


@router.get("/v1/seller/connections", responses=SIGNED, dependencies=SELLER_KEY)
async def list_connections(services: ServicesDep, seller: SellerDep) -> ConnectionList:
    """List the owner's connections."""
    rows = await services.database.read(lambda c: load_connections(c, owner=seller.owner))
    return ConnectionList(connections=[describe_connection(services, row) for row in rows])


@router.get("/v1/seller/connections/{connection_id}", responses=SIGNED, dependencies=SELLER_KEY)
async def get_connection(
    services: ServicesDep, seller: SellerDep, connection_id: IdPath
) -> ConnectionView:
    """Return one connection."""
    return describe_connection(services, await _find(services, seller, connection_id))


@router.patch(
    "/v1/seller/connections/{connection_id}",
    responses=SIGNED,
    dependencies=SELLER_KEY,
    openapi_extra=body_of(ConnectionChange),
)
async def patch_connection(
    request: Request, services: ServicesDep, seller: SellerDep, connection_id: IdPath
) -> ConnectionView:
    """Change what is named. A key stays with its address: a new address needs the key again."""
    body = await _read_body(request, services, seller, _CHANGED)
    status = body.pop("status", None)
    if status not in (None, "enabled", "disabled"):
        raise wrong_type("status", "'enabled' or 'disabled'")
    for _ in range(CHANGES_MAX):
        # Changes that cross are made one after the other: none is lost.
        with suppress(ConnectionChanged):
            return await _change(services, seller, connection_id, body, status)
    message = "The connection is being changed by other requests. Send this one again."
    raise RequestRejected(409, "connection_changed", message)


async def _change(
    services: Services,
    seller: KeyHolder,
    connection_id: str,
    body: dict[str, Any],
    status: str | None,
) -> ConnectionView:
    row = await _find(services, seller, connection_id)
    sealed = None
    try:
        changes, terms = await build_changes(body, row, dialer=services.dialer)
        if body.get("api_key") is not None:
            sealed = await services.seal(read_key(body["api_key"]), connection_id)
    except (TermsRefused, UrlRefused) as error:
        raise _refused(error) from None
    if status is not None:
        changes |= {"status": status}
    if status == "enabled" or sealed is not None:
        changes |= {"suspended_for": None}
    now_s = services.database.now_s()
    period = terms.quota.find_period(now_s)

    def write(connection: Connection) -> bool:
        found = change_connection(
            connection,
            connection_id=connection_id,
            owner=seller.owner,
            changes=changes,
            version=int(row["version"]),
            sealed=sealed,
            now_s=now_s,
        )
        if found:
            change_period(connection, connection_id, period, now_s=now_s)
        return found

    if not await services.write_as(seller, write):
        raise not_found("connection")
    if sealed is not None:
        await services.database.scrub()
    return await _show(services, seller, connection_id)


@router.delete("/v1/seller/connections/{connection_id}", responses=SIGNED, dependencies=SELLER_KEY)
async def remove_connection(
    services: ServicesDep, seller: SellerDep, connection_id: IdPath
) -> Deleted:
    """Take a connection down and erase its credential. Idempotent."""
    now_s = services.database.now_s()
    found = await services.write_as(
        seller,
        lambda connection: delete_connection(
            connection, connection_id=connection_id, owner=seller.owner, now_s=now_s
        ),
    )
    if not found:
        raise not_found("connection")
    await services.api_calls.shelf.refresh()
    await services.database.scrub()
    return Deleted(id=connection_id)


@router.get(
    "/v1/seller/connections/{connection_id}/status", responses=SIGNED, dependencies=SELLER_KEY
)
async def get_connection_status(
    services: ServicesDep, seller: SellerDep, connection_id: IdPath
) -> ConnectionStatus:
    """Return what the present period comes to: quota, sold, left, revenue, fee, net."""
    row = await _find(services, seller, connection_id)
    terms = parse_terms(read_stored(row))
    now_s = services.database.now_s()
    key_fails = services.api_calls.shelf.get_health(connection_id).cause is Cause.AUTH

    def load(connection: Connection) -> PeriodStatus:
        return load_status(connection, connection_id, terms, key_fails=key_fails, now_s=now_s)

    return describe_status(row, terms, await services.database.read(load))


@router.post(
    "/v1/seller/connections/{connection_id}/test", responses=SIGNED, dependencies=SELLER_KEY
)
async def test_connection(
    services: ServicesDep, seller: SellerDep, connection_id: IdPath
) -> ConnectionTest:
    """Call the API once with its credential: the first GET without parameters, else its root.

    Nothing is charged; the call counts as the owner's own at the API.
    """
    await _find(services, seller, connection_id)
    await services.api_calls.shelf.refresh()
    connection = services.api_calls.shelf.find(connection_id)
    if connection is None:
        raise not_found("connection")
    return ConnectionTest(**await try_connection(services.api_calls, connection))


@router.get(
    "/v1/seller/connections/{connection_id}/calls", responses=SIGNED, dependencies=SELLER_KEY
)
async def list_calls(
    services: ServicesDep,
    seller: SellerDep,
    connection_id: IdPath,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> CallPage:
    """Return the calls of a connection: the audit log. Parameters' values are not in it."""
    rows = await _load_calls(services, seller, connection_id, cursor, limit)
    return CallPage(
        calls=[CallView.model_validate(dict(row)) for row in rows],
        next_cursor=rows[-1]["call_id"] if len(rows) == limit else None,
    )


@router.get(
    "/v1/seller/connections/{connection_id}/calls.csv",
    response_class=Response,
    responses={**SIGNED, 200: table_of_lines(CALL_COLUMNS)},
    dependencies=SELLER_KEY,
)
async def list_calls_csv(
    services: ServicesDep,
    seller: SellerDep,
    connection_id: IdPath,
    cursor: Cursor = None,
    limit: Limit = PAGE_MAX,
) -> Response:
    """Return the calls of a connection as CSV; amounts in 1e-6 USDC."""
    rows = await _load_calls(services, seller, connection_id, cursor, limit)
    return Response(write_csv([dict(row) for row in rows], CALL_COLUMNS), media_type="text/csv")


async def _load_calls(
    services: Services, seller: KeyHolder, connection_id: str, cursor: str | None, limit: int
) -> list[RowMapping]:
    await _find(services, seller, connection_id)
    return await services.database.read(
        lambda c: load_calls(c, connection_id, after=cursor or "", limit=limit)
    )


async def _read_body(
    request: Request, services: Services, seller: KeyHolder, known: frozenset[str]
) -> dict[str, Any]:
    body = parse_exact_json(await services.read_body(request, seller))
    if not body:
        raise bad_request("invalid_request", "The body says nothing.")
    check_fields(body, known)
    return body


def _refused(error: TermsRefused | UrlRefused) -> RequestRejected:
    if isinstance(error, UrlRefused):
        message = f"The base URL cannot be used: {error}."
        return bad_request("base_url_refused", message, param="base_url")
    return bad_request("invalid_connection", f"'{error.param}' {error}.", param=error.param)


async def _show(services: Services, seller: KeyHolder, connection_id: str) -> ConnectionView:
    await services.api_calls.shelf.refresh()
    return describe_connection(services, await _find(services, seller, connection_id))


async def _find(services: Services, seller: KeyHolder, connection_id: str) -> RowMapping:
    rows = await services.database.read(lambda c: load_connections(c, owner=seller.owner))
    for row in rows:
        if row["connection_id"] == connection_id:
            return row
    raise not_found("connection")
