"""A buyer's own providers: list, change, take down."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from sqlalchemy import RowMapping

from ledger.errors import TooMany
from ledger.selling.own_providers import NewProvider as StoredProvider
from ledger.selling.own_providers import (
    change_provider,
    delete_provider,
    save_provider,
)
from market.errors import not_found
from market.http.dependencies import BUYER_KEY, SIGNED, BuyerDep, IdPath, ServicesDep, read_label
from market.http.offers.schemas import Deleted
from market.http.own_providers.schemas import (
    LABEL_MAX,
    MODELS_MAX,
    NewProvider,
    ProviderChange,
    ProviderList,
    ProviderView,
)
from market.listing.offers import keep_place, read_api_key
from market.records.jobs import load_account_providers
from market.routing.own_providers import FEE_USDC, AskedWhen
from market.services import Services
from serving.dialects.call import MODEL_LENGTH_MAX
from serving.http.document.writing import body_of
from serving.http.errors import RequestRejected, bad_request, wrong_type
from serving.http.strict_json import check_fields, parse_exact_json
from serving.models.dialing import UrlRefused, parse_base_url
from serving.models.names import NAME_RULE, is_model_name
from serving.process.ids import new_id

router = APIRouter(tags=["own providers"])

_NEW_FIELDS: Final = frozenset(NewProvider.model_fields)
_CHANGED_FIELDS: Final = frozenset(ProviderChange.model_fields)


@router.post(
    "/v1/buyer/providers",
    status_code=201,
    responses=SIGNED,
    dependencies=BUYER_KEY,
    openapi_extra=body_of(NewProvider),
)
async def create_provider(request: Request, services: ServicesDep, buyer: BuyerDep) -> ProviderView:
    """Add an own provider, asked before the market or after it. Its use is not charged."""
    body = parse_exact_json(await services.read_body(request, buyer))
    for name in ("base_url", "api_key", "models", "position"):
        if body.get(name) is None:
            raise wrong_type(name, "given")
    columns = _read_columns(body, _NEW_FIELDS, services)
    await _check_host(services, columns["base_url"])
    provider_id, now_s = new_id(), services.database.now_s()
    provider = StoredProvider(
        provider_id=provider_id, account_id=buyer.owner, **{"label": "", **columns}
    )
    sealed = await services.seal(read_api_key(body["api_key"]), provider_id)
    try:
        await services.write_as(
            buyer, lambda connection: save_provider(connection, provider, sealed, now_s=now_s)
        )
    except TooMany as error:
        raise RequestRejected(409, "too_many_providers", f"{error}.") from None
    return await _load(services, buyer.owner, provider_id)


@router.get("/v1/buyer/providers", responses=SIGNED, dependencies=BUYER_KEY)
async def list_providers(services: ServicesDep, buyer: BuyerDep) -> ProviderList:
    """List the account's own providers."""
    rows = await services.database.read(lambda c: load_account_providers(c, buyer.owner))
    return ProviderList(
        providers=[_describe(services, row) for row in rows], fee_usdc_per_request=FEE_USDC
    )


@router.patch(
    "/v1/buyer/providers/{provider_id}",
    responses=SIGNED,
    dependencies=BUYER_KEY,
    openapi_extra=body_of(ProviderChange),
)
async def patch_provider(
    request: Request, services: ServicesDep, buyer: BuyerDep, provider_id: IdPath
) -> ProviderView:
    """Change what is named. A key stays with its address: a new address needs the key again."""
    body = parse_exact_json(await services.read_body(request, buyer))
    if not body:
        raise bad_request("invalid_request", "The body names nothing to change.")
    columns = _read_columns(body, _CHANGED_FIELDS, services)
    if body.get("api_key") is None:
        stored = await _find(services, buyer.owner, provider_id)
        keep_place(columns, "base_url", stored["base_url"])
    if "base_url" in columns:
        await _check_host(services, columns["base_url"])
    sealed = None
    if "api_key" in body:
        sealed = await services.seal(read_api_key(body["api_key"]), provider_id)
    now_s = services.database.now_s()
    found = await services.write_as(
        buyer,
        lambda connection: change_provider(
            connection,
            provider_id=provider_id,
            account_id=buyer.owner,
            changes=columns,
            sealed=sealed,
            now_s=now_s,
        ),
    )
    if not found:
        raise not_found("provider")
    if sealed is not None:
        await services.database.scrub()
    return await _load(services, buyer.owner, provider_id)


@router.delete("/v1/buyer/providers/{provider_id}", responses=SIGNED, dependencies=BUYER_KEY)
async def remove_provider(services: ServicesDep, buyer: BuyerDep, provider_id: IdPath) -> Deleted:
    """Take a provider down and erase its key. Idempotent."""
    now_s = services.database.now_s()
    found = await services.write_as(
        buyer,
        lambda connection: delete_provider(
            connection, provider_id=provider_id, account_id=buyer.owner, now_s=now_s
        ),
    )
    if not found:
        raise not_found("provider")
    await services.serving.own_providers.refresh()
    await services.database.scrub()
    return Deleted(id=provider_id)


def _read_columns(
    body: Mapping[str, Any], known: frozenset[str], services: Services
) -> dict[str, Any]:
    check_fields(body, known)
    columns: dict[str, Any] = {}
    if "label" in body:
        columns["label"] = read_label(body, length_max=LABEL_MAX)
    if "base_url" in body:
        columns["base_url"] = _read_base_url(body["base_url"], services)
    if "models" in body:
        columns["models"] = _read_models(body["models"])
    if "position" in body:
        columns["position"] = _read_choice(body, "position", tuple(AskedWhen))
    if "status" in body:
        columns["status"] = _read_choice(body, "status", ("active", "paused"))
    return columns


def _read_choice(body: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = body[name]
    if not isinstance(value, str) or value not in choices:
        raise wrong_type(name, " or ".join(f"'{choice}'" for choice in choices))
    return value


def _read_models(value: Any) -> str:
    expected = f"an object of 1 to {MODELS_MAX} names of models to the provider's names"
    if not isinstance(value, dict) or not 1 <= len(value) <= MODELS_MAX:
        raise wrong_type("models", expected)
    for name in (*value.keys(), *value.values()):
        if not isinstance(name, str) or not 0 < len(name) <= MODEL_LENGTH_MAX:
            raise wrong_type("models", expected)
        if not is_model_name(name):
            raise wrong_type("models", f"{expected}, each {NAME_RULE}")
    return orjson.dumps(value).decode()


def _read_base_url(value: Any, services: Services) -> str:
    if not isinstance(value, str):
        raise wrong_type("base_url", "a string")
    try:
        return parse_base_url(value, allow_loopback=services.allow_loopback).url
    except UrlRefused as error:
        raise _refused(error) from None


def _refused(error: UrlRefused) -> RequestRejected:
    message = f"The base URL cannot be used: {error}."
    return bad_request("base_url_refused", message, param="base_url")


async def _check_host(services: Services, base_url: str) -> None:
    try:
        await services.dialer.check(base_url)
    except UrlRefused as error:
        raise _refused(error) from None


async def _load(services: Services, account_id: str, provider_id: str) -> ProviderView:
    await services.serving.own_providers.refresh()
    return _describe(services, await _find(services, account_id, provider_id))


async def _find(services: Services, account_id: str, provider_id: str) -> RowMapping:
    rows = await services.database.read(lambda c: load_account_providers(c, account_id))
    for row in rows:
        if row["provider_id"] == provider_id:
            return row
    raise not_found("provider")


def _describe(services: Services, row: RowMapping) -> ProviderView:
    own_providers = services.serving.own_providers
    return ProviderView(
        id=row["provider_id"],
        label=row["label"],
        base_url=row["base_url"],
        models=orjson.loads(row["models"]),
        position=row["position"],
        status=row["status"],
        health=own_providers.get_standing(row["account_id"], row["provider_id"]),
        created_at=int(row["created_at_s"]),
        updated_at=int(row["changed_at_s"]),
    )
