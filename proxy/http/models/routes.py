"""The models, live from upstream."""

from typing import Any

from fastapi import APIRouter

from proxy.catalogue import FRESH_S
from proxy.http.dependencies import ServicesDep
from proxy.http.models.schemas import ModelCatalogue, OpenAiModelList

router = APIRouter()
host_router = APIRouter()
"""What some clients ask at the host's root, whatever their base URL is: LiteLLM lists models so."""


@router.get("/models", response_model=ModelCatalogue, response_model_exclude_unset=True)
async def list_models(services: ServicesDep) -> dict[str, Any]:
    """List the models, live from upstream. `fallback` is true while upstream is down."""
    snapshot = await services.catalogue.refresh(older_than_s=FRESH_S)
    listed: dict[str, Any] = {"models": [model.describe() for model in snapshot.models.values()]}
    if snapshot.fallback:
        listed["fallback"] = True
    return listed


@host_router.get("/v1/models", response_model=OpenAiModelList, include_in_schema=False)
@router.get("/v1/models", response_model=OpenAiModelList)
async def list_openai_models(services: ServicesDep) -> dict[str, Any]:
    """List the models as OpenAI does, so that `base_url=…/api/current/v1` works in any SDK."""
    snapshot = await services.catalogue.refresh(older_than_s=FRESH_S)
    return {"data": [model.describe() for model in snapshot.models.values()]}
