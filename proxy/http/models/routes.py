"""The models, live from upstream."""

from typing import Any

from fastapi import APIRouter

from proxy.catalogue import FRESH_S, Model
from proxy.errors import model_not_found
from proxy.http.dependencies import ServicesDep
from proxy.http.models.schemas import (
    ModelCatalogue,
    ModelEntry,
    OpenAiModel,
    OpenAiModelList,
)
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
@router.get("/v1/models", responses=errors_of())
async def list_openai_models(services: ServicesDep) -> OpenAiModelList:
    """List the models as OpenAI does, so that `base_url=…/api/current/v1` works in any SDK."""
    await services.catalogue.refresh(older_than_s=FRESH_S)
    now_s = services.catalogue.now_s()
    return OpenAiModelList(
        data=[_describe_openai(model, now_s=now_s) for model in services.catalogue.listed]
    )


@host_router.get("/v1/models/{model:path}", include_in_schema=False)
@router.get("/v1/models/{model:path}", responses=errors_of(404))
async def get_openai_model(services: ServicesDep, model: str) -> OpenAiModel:
    """Return one model as OpenAI does."""
    await services.catalogue.refresh(older_than_s=FRESH_S)
    for listed in services.catalogue.listed:
        if listed.model_id == model:
            return _describe_openai(listed, now_s=services.catalogue.now_s())
    raise model_not_found(model)


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
