"""A seller's offers: list, change, take down; and what a provider key can serve."""

from fastapi import APIRouter, Request
from sqlalchemy import RowMapping

from contracts.units import utc_day
from ledger.errors import ChangedMeanwhile, IdempotencyConflict, TooMany
from ledger.selling.offers import NewOffer as StoredOffer
from ledger.selling.offers import change_offer, delete_offer, save_offer
from market.errors import not_found
from market.http.dependencies import SELLER_KEY, SIGNED, IdPath, SellerDep, ServicesDep
from market.http.idempotency import read_idempotency_key
from market.http.markets.describing import describe_reference
from market.http.offers.describing import describe_offer
from market.http.offers.schemas import (
    Deleted,
    Discovery,
    DiscoveryWish,
    NewOffer,
    OfferChange,
    OfferList,
    OfferView,
)
from market.identity.keys import digest_request
from market.listing.model_names import check_model, check_room, check_strangers_room
from market.listing.offer_expiry import parse_expiry
from market.listing.offers import (
    check_payable,
    parse_change,
    parse_new_offer,
    read_api_key,
    read_base_url,
    refused_url,
)
from market.pricing.media_units import find_price, get_base
from market.records.store import (
    KeyHolder,
    is_seller_trusted,
    load_seller_offer,
    load_seller_offers,
)
from market.services import Services
from serving.http.document.writing import body_of
from serving.http.errors import RequestRejected, bad_request, overloaded
from serving.http.idempotency_header import IDEMPOTENCY
from serving.http.strict_json import check_fields, parse_exact_json
from serving.models.dialing import UrlRefused
from serving.models.failures import NotServed, UpstreamFailure, UpstreamRejected
from serving.models.upstream import Access
from serving.process.ids import new_id
from serving.process.turns import NoPlace

router = APIRouter(tags=["offers"])


@router.post(
    "/v1/seller/offers",
    status_code=201,
    responses=SIGNED,
    dependencies=SELLER_KEY,
    openapi_extra=body_of(NewOffer) | IDEMPOTENCY,
)
async def create_offer(request: Request, services: ServicesDep, seller: SellerDep) -> OfferView:
    """List an offer. With an Idempotency-Key the same request makes one offer only."""
    raw = await services.read_body(request, seller)
    body = parse_exact_json(raw)
    wish = parse_new_offer(body, seller=seller.owner, allow_loopback=services.allow_loopback)
    expiry = parse_expiry(body, None, now_s=services.database.now_s())
    idempotency_key = read_idempotency_key(request)
    digests = () if idempotency_key is None else digest_request(services.secrets, raw)
    columns = wish.columns
    check_payable(columns["payout_address"], services.unpayable)
    is_trusted = await services.database.read(
        lambda connection: is_seller_trusted(connection, seller.owner)
    )
    _check_listing(services, columns["model"], is_trusted=is_trusted)
    if not is_trusted:
        in_all, own = services.book.count_strangers(columns["model"], seller.owner)
        check_strangers_room(
            services.listing_rules, model_offers_listed=in_all, own_offers_listed=own
        )
    _check_model(services, columns["model"], columns["upstream_model"])
    await _check_host(services, columns["seller_base_url"])
    if columns["cost_multiplier_ppm"] is not None:
        _check_reference(services, columns["model"], columns["unit"])
    assert wish.api_key is not None
    offer_id = new_id()
    sealed = await services.seal(wish.api_key, offer_id)
    offer = StoredOffer(
        offer_id=offer_id,
        seller=seller.owner,
        idempotency_key=idempotency_key,
        request_digest=digests[0] if digests else None,
        **columns,
        **expiry,
    )
    now_s = services.database.now_s()
    try:
        stored_id = await services.write_as(
            seller,
            lambda connection: save_offer(
                connection, offer, sealed, now_s=now_s, same_digests=digests
            ),
        )
    except IdempotencyConflict:
        message = "The Idempotency-Key was used for another offer."
        raise RequestRejected(409, "idempotency_conflict", message) from None
    except TooMany as error:
        raise RequestRejected(409, "too_many_offers", f"{error}.") from None
    await services.book.refresh_offers([stored_id])
    return await _load_offer(services, seller, stored_id)


@router.get("/v1/seller/offers", responses=SIGNED, dependencies=SELLER_KEY)
async def list_offers(services: ServicesDep, seller: SellerDep) -> OfferList:
    """List the seller's offers."""
    rows = await services.database.read(
        lambda connection: load_seller_offers(connection, seller=seller.owner)
    )
    return OfferList(offers=[_describe_offer(services, row) for row in rows])


@router.get("/v1/seller/offers/{offer_id}", responses=SIGNED, dependencies=SELLER_KEY)
async def get_offer(services: ServicesDep, seller: SellerDep, offer_id: IdPath) -> OfferView:
    """Return one of the seller's offers."""
    return await _load_offer(services, seller, offer_id)


@router.patch(
    "/v1/seller/offers/{offer_id}",
    responses=SIGNED,
    dependencies=SELLER_KEY,
    openapi_extra=body_of(OfferChange),
)
async def patch_offer(
    request: Request, services: ServicesDep, seller: SellerDep, offer_id: IdPath
) -> OfferView:
    """Change what is named; requests in flight keep their price."""
    raw = await services.read_body(request, seller)
    body = parse_exact_json(raw)
    row = await services.database.read(
        lambda connection: load_seller_offer(connection, seller=seller.owner, offer_id=offer_id)
    )
    if row is None:
        raise not_found("offer")
    wish = parse_change(body, row, allow_loopback=services.allow_loopback)
    now_s = services.database.now_s()
    changes = {**wish.columns, **parse_expiry(body, row, now_s=now_s)}
    if "upstream_model" in wish.columns:
        _check_model(services, row["model"], wish.columns["upstream_model"])
    if "payout_address" in wish.columns:
        check_payable(wish.columns["payout_address"], services.unpayable)
    if "seller_base_url" in wish.columns:
        await _check_host(services, wish.columns["seller_base_url"])
    if wish.columns.get("cost_multiplier_ppm") is not None:
        _check_reference(services, row["model"], row["unit"])
    sealed = None
    if wish.api_key is not None:
        sealed = await services.seal(wish.api_key, offer_id)
    try:
        found = await services.write_as(
            seller,
            lambda connection: change_offer(
                connection,
                offer_id=offer_id,
                seller=seller.owner,
                version=int(row["version"]),
                changes=changes,
                sealed=sealed,
                now_s=now_s,
            ),
        )
    except ChangedMeanwhile:
        message = (
            "The offer was changed by another request meanwhile: read it, and change it again."
        )
        raise RequestRejected(409, "offer_changed", message) from None
    if not found:
        raise not_found("offer")
    services.book.forget_access(offer_id)
    await services.book.refresh_offers([offer_id])
    if sealed is not None:
        services.book.note_new_key(offer_id)
        await services.database.scrub()
    return await _load_offer(services, seller, offer_id)


@router.delete("/v1/seller/offers/{offer_id}", responses=SIGNED, dependencies=SELLER_KEY)
async def remove_offer(services: ServicesDep, seller: SellerDep, offer_id: IdPath) -> Deleted:
    """Take an offer down and erase its key. Idempotent."""
    now_s = services.database.now_s()
    found = await services.write_as(
        seller,
        lambda connection: delete_offer(
            connection, offer_id=offer_id, seller=seller.owner, now_s=now_s
        ),
    )
    if not found:
        raise not_found("offer")
    services.book.forget_access(offer_id)
    await services.book.refresh_offers([offer_id])
    await services.database.scrub()
    return Deleted(id=offer_id)


@router.post(
    "/v1/seller/discover",
    responses=SIGNED,
    dependencies=SELLER_KEY,
    openapi_extra=body_of(DiscoveryWish),
)
async def discover(request: Request, services: ServicesDep, seller: SellerDep) -> Discovery:
    """List what a provider key can serve, with reference prices. The key is not kept."""
    body = parse_exact_json(await services.read_body(request, seller))
    check_fields(body, DiscoveryWish.model_fields)
    base_url = read_base_url(body.get("seller_base_url"), allow_loopback=services.allow_loopback)
    access = Access(base_url, read_api_key(body.get("api_key")), tenant=seller.owner)
    await _check_host(services, base_url)
    try:
        models = await services.seller_client.fetch_models(access)
    except NoPlace:
        raise overloaded() from None
    except UpstreamFailure as failure:
        message = f"The provider did not list its models ({failure.cause})."
        raise RequestRejected(400, "discovery_failed", message) from None
    except NotServed:
        message = "There is no list of models below this base URL."
        raise RequestRejected(400, "discovery_failed", message) from None
    except UpstreamRejected as error:
        raise RequestRejected(400, "discovery_failed", error.message) from None
    find_reference = services.book.find_reference
    return Discovery(models=[describe_reference(name, find_reference(name)) for name in models])


async def _check_host(services: Services, base_url: str) -> None:
    """Refuse a host that is not public now. The first call finds out about an unknown host."""
    try:
        await services.dialer.check(base_url)
    except UrlRefused as error:
        raise refused_url(error) from None


def _check_listing(services: Services, model: str, *, is_trusted: bool) -> None:
    """Refuse a model that imitates another one, or that the market has no room for."""
    book = services.book
    references = book.references
    check_model(model, is_known=model in references.operator, looks=references.looks)
    check_room(
        services.listing_rules,
        is_new=book.is_new(model, is_trusted=is_trusted),
        new_models_listed=book.count_new_models(is_trusted=is_trusted),
        offers_listed=book.count_offers(is_trusted=is_trusted),
    )


def _check_model(services: Services, model: str, upstream_model: str) -> None:
    """Refuse to sell one known model under the name of another."""
    if services.serving.answer_check.is_another(upstream_model, sold=model):
        message = f"{upstream_model!r} is another model than {model!r}: sell it by its own name."
        raise bad_request("model_mismatch", message, param="upstream_model")


def _check_reference(services: Services, model: str, unit: str | None) -> None:
    if find_price(services.book.find_reference(model), get_base(unit)) is None:
        message = f"{model!r} has no reference price to multiply: give prices."
        raise bad_request("no_reference_price", message, param="cost_multiplier")


async def _load_offer(services: Services, seller: KeyHolder, offer_id: str) -> OfferView:
    row = await services.database.read(
        lambda connection: load_seller_offer(connection, seller=seller.owner, offer_id=offer_id)
    )
    if row is None:
        raise not_found("offer")
    return _describe_offer(services, row)


def _describe_offer(services: Services, row: RowMapping) -> OfferView:
    book = services.book
    provider = book.names.providers.find_provider(row["seller_base_url"])
    return describe_offer(
        row,
        book.find_health(row["offer_id"]),
        provider=provider,
        grade=book.names.find_grade(row, provider=provider),
        day=utc_day(services.database.now_s()),
    )
