"""The models, live from upstream: those for the key that asks, or for any where none does."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from proxy.catalogue import FRESH_S, Catalogue, Model
from proxy.errors import model_not_found
from proxy.http.dependencies import ServicesDep
from proxy.http.models.schemas import (
    ClaudeModel,
    ClaudeModelList,
    ModelCatalogue,
    ModelEntry,
    OpenAiModel,
    OpenAiModelList,
)
from proxy.keys.authentication import authenticate
from proxy.services import Services
from serving.dialects.dialect import MESSAGES
from serving.dialects.speaking import find_authorization
from serving.http.document.schemas import errors_of
from serving.http.errors import ApiError

router = APIRouter(tags=["models"])
host_router = APIRouter()
"""What some clients ask at the host's root, whatever their base URL is: LiteLLM lists models so."""


async def _load_list(request: Request, services: Services) -> Catalogue:
    """Return the list by the policy of the key that asks.

    What is no key is not refused: clients ask for models with whatever they have.
    """
    dialect = MESSAGES if _is_claude(request) else None
    try:
        told = find_authorization(request.scope, dialect)
        claims = authenticate(told, services.known_keys)
    except ApiError:
        policies = []
    else:
        policies = services.policies.find(claims)
    catalogue = await services.lists.load(services.lists.find_minimum(policies))
    await catalogue.refresh(older_than_s=FRESH_S)
    return catalogue


@router.get("/models", response_model_exclude_unset=True, responses=errors_of())
async def list_models(request: Request, services: ServicesDep) -> ModelCatalogue:
    """List the models, live from upstream. `fallback` is true while upstream is down.

    A key is not needed. With one whose policy admits sellers of a lower provenance, the models that
    only they serve are in the list too.
    """
    catalogue = await _load_list(request, services)
    now_s = catalogue.now_s()
    models = [ModelEntry(**describe_model(model, now_s=now_s)) for model in catalogue.listed]
    if catalogue.snapshot.fallback:
        return ModelCatalogue(models=models, fallback=True)
    return ModelCatalogue(models=models)


@host_router.get("/v1/models", include_in_schema=False)
@router.get("/v1/models", response_model=OpenAiModelList, responses=errors_of())
async def list_openai_models(request: Request, services: ServicesDep) -> Any:
    """List the models as OpenAI does, so that `base_url=…/api/current/v1` works in any SDK.

    With the header `anthropic-version`, as Anthropic does, and with the operator's aliases. By a
    key: see `GET /models`.
    """
    catalogue = await _load_list(request, services)
    now_s = catalogue.now_s()
    if _is_claude(request):
        return JSONResponse(_list_claude_models(services, catalogue).model_dump())
    return OpenAiModelList(
        data=[_describe_openai(model, now_s=now_s) for model in catalogue.listed]
    )


@host_router.get("/v1/models/{model:path}", include_in_schema=False)
@router.get("/v1/models/{model:path}", response_model=OpenAiModel, responses=errors_of(404))
async def get_openai_model(request: Request, services: ServicesDep, model: str) -> Any:
    """Return one model as OpenAI does; with the header `anthropic-version`, as Anthropic does."""
    catalogue = await _load_list(request, services)
    if _is_claude(request):
        for known in _list_claude_models(services, catalogue).data:
            if known.id == model:
                return JSONResponse(known.model_dump())
    model = services.aliases.resolve(model)
    for listed in catalogue.listed:
        if listed.model_id == model:
            return _describe_openai(listed, now_s=catalogue.now_s())
    raise model_not_found(model)


def _is_claude(request: Request) -> bool:
    return "anthropic-version" in request.headers


def _list_claude_models(services: Services, catalogue: Catalogue) -> ClaudeModelList:
    """Return the models, the operator's aliases first: their names are why they are there."""
    listed = [model.model_id for model in catalogue.listed]
    aliases = [name for name, to in services.aliases.names.items() if to in listed]
    ids = list(dict.fromkeys([*aliases, *listed]))
    data = [ClaudeModel(id=name, display_name=name) for name in ids]
    return ClaudeModelList(
        data=data,
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
    )


def _describe_openai(model: Model, *, now_s: int) -> OpenAiModel:
    return OpenAiModel(**describe_model(model, now_s=now_s))


def describe_model(model: Model, *, now_s: int) -> dict[str, Any]:
    """Return a model as both lists show it."""
    terms = model.terms
    price = None if terms is None else terms.price
    return {
        "id": model.model_id,
        "owned_by": model.owned_by,
        "input_usdc_per_mtok": None if price is None else price.input_usdc_per_mtok,
        "output_usdc_per_mtok": None if price is None else price.output_usdc_per_mtok,
        "cached_input_usdc_per_mtok": None if price is None else price.cached_usdc_per_mtok,
        "per_request_usdc": None if price is None else price.per_request_usdc,
        "price_source": None if terms is None else terms.source,
        "price_age_s": None if terms is None else terms.get_age_s(now_s),
        "context_tokens": model.context_tokens,
    }
