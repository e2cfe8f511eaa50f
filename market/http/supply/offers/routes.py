"""A supplier's offers: list, change, probe, pause, resume, take down."""

from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import Connection, RowMapping

from ledger.errors import ChangedMeanwhile, OfferRepeated, TooMany
from ledger.suppliers.callers import SupplierCaller
from ledger.suppliers.supply_offers import (
    Listing,
    NewSupplyOffer,
    ask_probe,
    change_supply_offer,
    delete_supply_offer,
    load_listings,
    load_supply_offer,
    load_supply_offers,
    pause_supply_offer,
    resume_supply_offer,
    save_supply_offer,
)
from market.endpoints.health import Standing
from market.endpoints.places import is_same_place
from market.errors import not_found
from market.http.dependencies import Cursor, IdPath, Limit, ServicesDep
from market.http.supply.dependencies import (
    SESSION_OR_KEY,
    SIGNED,
    OffersReaderDep,
    OffersWriterDep,
    read_object,
)
from market.http.supply.offers.describing import describe_supply_offer
from market.http.supply.offers.schemas import (
    SupplyOfferChange,
    SupplyOfferDeleted,
    SupplyOfferPage,
    SupplyOfferView,
    SupplyOfferWish,
)
from market.listing.model_names import check_model, check_room
from market.listing.offers import read_base_url, refused_url
from market.services import Services
from market.suppliers.offer_wishes import parse_new_supply_offer, parse_supply_change
from market.suppliers.probing import PROBE_REST_S
from serving.http.document.writing import body_of
from serving.http.errors import (
    NO_RETRY,
    RequestRejected,
    bad_request,
    rate_limited,
    wrong_type,
)
from serving.models.dialing import UrlRefused
from serving.process.ids import new_id

router = APIRouter(tags=["supply"])


@router.post(
    "/v1/supply/offers",
    status_code=201,
    responses=SIGNED,
    dependencies=SESSION_OR_KEY,
    openapi_extra=body_of(SupplyOfferWish),
    name="create_supply_offer",
)
async def create(
    request: Request, services: ServicesDep, caller: OffersWriterDep
) -> SupplyOfferView:
    """List an offer of an approved supplier. A probe decides whether it serves."""
    wish = parse_new_supply_offer(await read_object(request, services, caller))
    _check_approved(caller)
    assert wish.base_url is not None
    assert wish.api_key is not None
    base_url = await _check_base_url(services, wish.base_url)
    for model in wish.models:
        _check_listing(services, model)
    supply_offer_id = new_id()
    listings = [
        Listing(offer_id, model, await services.seal(wish.api_key, offer_id))
        for model, offer_id in ((model, new_id()) for model in wish.models)
    ]
    offer = NewSupplyOffer(
        supply_offer_id=supply_offer_id,
        supplier_id=caller.supplier_id,
        base_url=base_url,
        **wish.columns,
    )
    now_s = services.database.now_s()
    try:
        await services.suppliers.callers.write_as(
            caller,
            lambda connection: save_supply_offer(connection, offer, listings, now_s=now_s),
        )
    except OfferRepeated as error:
        raise _repeated(error) from None
    except TooMany as error:
        raise RequestRejected(409, "too_many_offers", f"{error}.") from None
    return await _load(services, caller, supply_offer_id)


@router.get(
    "/v1/supply/offers", responses=SIGNED, dependencies=SESSION_OR_KEY, name="list_supply_offers"
)
async def list_all(
    services: ServicesDep, caller: OffersReaderDep, cursor: Cursor = None, limit: Limit = 100
) -> SupplyOfferPage:
    """List the supplier's offers, oldest first."""

    def load(connection: Connection) -> list[tuple[RowMapping, list[RowMapping]]]:
        rows = load_supply_offers(
            connection, supplier_id=caller.supplier_id, after=cursor or "", limit=limit
        )
        return [(row, load_listings(connection, row["supply_offer_id"])) for row in rows]

    found = await services.database.read(load)
    is_approved = caller.supplier.is_approved
    return SupplyOfferPage(
        offers=[
            describe_supply_offer(services, row, listings, is_approved=is_approved)
            for row, listings in found
        ],
        next_cursor=found[-1][0]["supply_offer_id"] if len(found) == limit else None,
    )


@router.get(
    "/v1/supply/offers/{offer_id}",
    responses=SIGNED,
    dependencies=SESSION_OR_KEY,
    name="get_supply_offer",
)
async def get_one(
    services: ServicesDep, caller: OffersReaderDep, offer_id: IdPath
) -> SupplyOfferView:
    """Return one of the supplier's offers, with what its last probe found."""
    return await _load(services, caller, offer_id)


@router.patch(
    "/v1/supply/offers/{offer_id}",
    responses=SIGNED,
    dependencies=SESSION_OR_KEY,
    openapi_extra=body_of(SupplyOfferChange),
    name="change_supply_offer",
)
async def change(
    request: Request, services: ServicesDep, caller: OffersWriterDep, offer_id: IdPath
) -> SupplyOfferView:
    """Change what is named; requests in flight keep their price. Another key or address is probed
    first."""
    wish = parse_supply_change(await read_object(request, services, caller))
    row, listings = await _find(services, caller, offer_id)
    changes = dict(wish.columns)
    if wish.base_url is not None:
        base_url = await _check_base_url(services, wish.base_url)
        if wish.api_key is not None:
            changes["base_url"] = base_url
        elif not is_same_place(row["base_url"], base_url):
            raise wrong_type("api_key", "given again with a new base_url")
    sealed = {}
    if wish.api_key is not None:
        for one in listings:
            sealed[str(one["offer_id"])] = await services.seal(wish.api_key, one["offer_id"])
    now_s = services.database.now_s()
    if changes or sealed:
        try:
            found = await services.suppliers.callers.write_as(
                caller,
                lambda connection: change_supply_offer(
                    connection,
                    supplier_id=caller.supplier_id,
                    supply_offer_id=offer_id,
                    version=int(row["version"]),
                    changes=changes,
                    sealed=sealed,
                    now_s=now_s,
                ),
            )
        except OfferRepeated as error:
            raise _repeated(error) from None
        except ChangedMeanwhile:
            message = (
                "The offer was changed by another request meanwhile: read it, and change it again."
            )
            raise RequestRejected(409, "offer_changed", message) from None
        except ValueError as error:
            raise bad_request(
                "invalid_amount", f"'quota_total' is too small: {error}.", param="quota_total"
            ) from None
        if not found:
            raise not_found("offer")
    if wish.status == "paused":
        await _pause(services, caller, offer_id)
    elif wish.status == "active":
        await _resume(services, caller, offer_id)
    await _take_in(services, offer_id)
    if sealed:
        await services.database.scrub()
    return await _load(services, caller, offer_id)


@router.post(
    "/v1/supply/offers/{offer_id}/pause",
    responses=SIGNED,
    dependencies=SESSION_OR_KEY,
    name="pause_supply_offer",
)
async def pause(
    services: ServicesDep, caller: OffersWriterDep, offer_id: IdPath
) -> SupplyOfferView:
    """Take an offer out of the order; requests in flight go on. What it sold is settled."""
    await _pause(services, caller, offer_id)
    await _take_in(services, offer_id)
    return await _load(services, caller, offer_id)


@router.post(
    "/v1/supply/offers/{offer_id}/resume",
    responses=SIGNED,
    dependencies=SESSION_OR_KEY,
    name="resume_supply_offer",
)
async def resume(
    services: ServicesDep, caller: OffersWriterDep, offer_id: IdPath
) -> SupplyOfferView:
    """Let an offer serve again; after failures it is probed first."""
    await _resume(services, caller, offer_id)
    await _take_in(services, offer_id)
    return await _load(services, caller, offer_id)


@router.post(
    "/v1/supply/offers/{offer_id}/probe",
    status_code=202,
    responses=SIGNED,
    dependencies=SESSION_OR_KEY,
    name="probe_supply_offer",
)
async def probe(
    services: ServicesDep, caller: OffersWriterDep, offer_id: IdPath
) -> SupplyOfferView:
    """Have an offer probed now: its provider charges you for the pings. Once in 10 seconds."""
    row, _ = await _find(services, caller, offer_id)
    now_s = services.database.now_s()
    if row["probe_due_s"] is None:
        rests_s = int(row["probed_at_s"] or 0) + PROBE_REST_S - now_s
        if rests_s > 0:
            raise rate_limited(rests_s, "for a probe of this offer")
        await services.suppliers.callers.write_as(
            caller,
            lambda connection: ask_probe(
                connection,
                supplier_id=caller.supplier_id,
                supply_offer_id=offer_id,
                now_s=now_s,
            ),
        )
    return await _load(services, caller, offer_id)


@router.delete(
    "/v1/supply/offers/{offer_id}",
    responses=SIGNED,
    dependencies=SESSION_OR_KEY,
    name="delete_supply_offer",
)
async def remove(
    services: ServicesDep, caller: OffersWriterDep, offer_id: IdPath
) -> SupplyOfferDeleted:
    """Take an offer down and erase its key. What it sold is settled."""
    now_s = services.database.now_s()
    listings = await services.suppliers.callers.write_as(
        caller,
        lambda connection: delete_supply_offer(
            connection, supplier_id=caller.supplier_id, supply_offer_id=offer_id, now_s=now_s
        ),
    )
    if listings is None:
        raise not_found("offer")
    for one in listings:
        services.book.forget_access(one)
    await services.book.refresh_offers(listings)
    await services.database.scrub()
    return SupplyOfferDeleted(id=offer_id)


# ------------------------------------------------------------------------------------------- checks


def _check_approved(caller: SupplierCaller) -> None:
    if not caller.supplier.is_approved:
        message = "Offers are listed once your application is approved: see GET /v1/supply/kyb."
        raise RequestRejected(403, "kyb_not_approved", message, headers=NO_RETRY)


async def _check_base_url(services: Services, text: str) -> str:
    """Return a base URL that may be called now. Raises 400."""
    base_url = read_base_url(text, allow_loopback=services.allow_loopback)
    try:
        await services.dialer.check(base_url)
    except UrlRefused as error:
        raise refused_url(error) from None
    return base_url


def _check_listing(services: Services, model: str) -> None:
    book = services.book
    references = book.references
    check_model(model, is_known=model in references.operator, looks=references.looks)
    check_room(
        services.listing_rules,
        is_new=book.is_new(model, is_trusted=True),
        new_models_listed=book.count_new_models(is_trusted=True),
        offers_listed=book.count_offers(is_trusted=True),
    )


def _repeated(error: OfferRepeated) -> RequestRejected:
    message = (
        f"Your offer {error} has the same provider_type, model_list and bid price: change it, or"
        " bid otherwise."
    )
    return RequestRejected(409, "offer_exists", message)


# ------------------------------------------------------------------------------------------ actions


async def _pause(services: Services, caller: SupplierCaller, offer_id: str) -> None:
    now_s = services.database.now_s()
    found = await services.suppliers.callers.write_as(
        caller,
        lambda connection: pause_supply_offer(
            connection, supplier_id=caller.supplier_id, supply_offer_id=offer_id, now_s=now_s
        ),
    )
    if not found:
        raise not_found("offer")


async def _resume(services: Services, caller: SupplierCaller, offer_id: str) -> None:
    _check_approved(caller)
    _, listings = await _find(services, caller, offer_id)
    reports = [services.book.find_health(one["offer_id"]) for one in listings]
    has_failed = any(
        report is not None and report.standing is not Standing.HEALTHY for report in reports
    )
    now_s = services.database.now_s()
    status = await services.suppliers.callers.write_as(
        caller,
        lambda connection: resume_supply_offer(
            connection,
            supplier_id=caller.supplier_id,
            supply_offer_id=offer_id,
            has_failed=has_failed,
            now_s=now_s,
        ),
    )
    if status is None:
        raise not_found("offer")
    if status == "exhausted":
        message = "The quota is spent: set a larger quota_total first."
        raise RequestRejected(409, "quota_spent", message)


async def _find(
    services: Services, caller: SupplierCaller, offer_id: str
) -> tuple[RowMapping, list[RowMapping]]:
    def load(connection: Connection) -> Any:
        row = load_supply_offer(
            connection, supplier_id=caller.supplier_id, supply_offer_id=offer_id
        )
        return row, load_listings(connection, offer_id)

    row, listings = await services.database.read(load)
    if row is None:
        raise not_found("offer")
    return row, listings


async def _take_in(services: Services, offer_id: str) -> None:
    """Have this process's book know of a change at once; the others look for it."""
    listings = await services.database.read(lambda connection: load_listings(connection, offer_id))
    ids = [str(one["offer_id"]) for one in listings]
    for one in ids:
        services.book.forget_access(one)
    await services.book.refresh_offers(ids)


async def _load(services: Services, caller: SupplierCaller, offer_id: str) -> SupplyOfferView:
    row, listings = await _find(services, caller, offer_id)
    is_approved = caller.supplier.is_approved
    return describe_supply_offer(services, row, listings, is_approved=is_approved)
