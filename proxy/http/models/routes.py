"""The models, live from upstream."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from proxy.catalogue import FRESH_S, Model
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
from proxy.services import Services
from serving.http.document.schemas import errors_of

router = APIRouter(tags=["models"])
host_router = APIRouter()
"""What some clients ask at the host's root, whatever their base URL is: LiteLLM lists models so."""


@router.get("/models", response_model_exclude_unset=True, responses=errors_of())
async def list_models(services: ServicesDep) -> ModelCatalogue:
    """List the models, live from upstream. `fallback` is true while upstream is down."""
    snapshot = await services.catalogue.refresh(older_than_s=FRESH_S)
    now_s = services.catalogue.now_s()
    models = [
        ModelEntry(**describe_model(model, now_s=now_s)) for model in services.catalogue.listed
    ]
    if snapshot.fallback:
        return ModelCatalogue(models=models, fallback=True)
    return ModelCatalogue(models=models)


@host_router.get("/v1/models", include_in_schema=False)
@router.get("/v1/models", response_model=OpenAiModelList, responses=errors_of())
async def list_openai_models(request: Request, services: ServicesDep) -> Any:
    """List the models as OpenAI does, so that `base_url=…/api/current/v1` works in any SDK.

    With the header `anthropic-version`, as Anthropic does, and with the operator's aliases.
    """
    await services.catalogue.refresh(older_than_s=FRESH_S)
    now_s = services.catalogue.now_s()
    if _is_claude(request):
        return JSONResponse(_list_claude_models(services).model_dump())
    return OpenAiModelList(
        data=[_describe_openai(model, now_s=now_s) for model in services.catalogue.listed]
    )


@host_router.get("/v1/models/{model:path}", include_in_schema=False)
@router.get("/v1/models/{model:path}", response_model=OpenAiModel, responses=errors_of(404))
async def get_openai_model(request: Request, services: ServicesDep, model: str) -> Any:
    """Return one model as OpenAI does; with the header `anthropic-version`, as Anthropic does."""
    await services.catalogue.refresh(older_than_s=FRESH_S)
    if _is_claude(request):
        for known in _list_claude_models(services).data:
            if known.id == model:
                return JSONResponse(known.model_dump())
    model = services.aliases.resolve(model)
    for listed in services.catalogue.listed:
        if listed.model_id == model:
            return _describe_openai(listed, now_s=services.catalogue.now_s())
    raise model_not_found(model)


def _is_claude(request: Request) -> bool:
    return "anthropic-version" in request.headers


def _list_claude_models(services: Services) -> ClaudeModelList:
    """Return the models, the operator's aliases first: their names are why they are there."""
    listed = [model.model_id for model in services.catalogue.listed]
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
