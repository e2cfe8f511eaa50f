"""Requests for text as OpenAI has them, for the document and for where the front did not serve;
quotes."""

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from proxy.http.chat.schemas import (
    COMPLETION_HEADERS,
    CompletionRequest,
    MeteredEmbeddingRequest,
    MeteredTextRequest,
    QuoteView,
)
from proxy.http.dependencies import BEARER, ClaimsDep, ServicesDep
from proxy.http.front import AS_EMBEDDINGS, AS_TEXTS, answer_completion
from serving.dialects.shapes import ChatChunk, ChatCompletion, Completion, EmbeddingList
from serving.http.answers import to_response
from serving.http.document.schemas import errors_of
from serving.http.document.writing import body_of, events_of
from serving.http.front import get_request_id
from serving.http.idempotency_header import IDEMPOTENCY

router = APIRouter(tags=["chat"])

_REFUSALS: Final = errors_of(400, 401, 403, 404, 408, 409, 413, 415, 422, 502, 504)


@router.post(
    "/v1/chat/completions",
    dependencies=BEARER,
    response_class=JSONResponse,
    openapi_extra={**body_of(CompletionRequest), **IDEMPOTENCY},
    responses={
        200: {
            "description": "upstream's completion; events where `stream` is true",
            "headers": COMPLETION_HEADERS,
            "model": ChatCompletion,
            "content": events_of(ChatChunk),
        },
        **_REFUSALS,
    },
)
async def create_completion(request: Request, services: ServicesDep) -> Response:
    """Complete a chat, paid from the key's position. Amounts in headers are 1e-6 USDC."""
    # ``Front`` usually answers before this route is reached.
    scope = request.scope
    answer = await answer_completion(scope, request.receive, services, get_request_id(scope))
    return to_response(answer)


@router.post(
    "/v1/completions",
    dependencies=BEARER,
    response_class=JSONResponse,
    openapi_extra={**body_of(MeteredTextRequest), **IDEMPOTENCY},
    responses={
        200: {
            "description": "upstream's completion; events where `stream` is true",
            "headers": COMPLETION_HEADERS,
            "model": Completion,
            "content": events_of(Completion),
        },
        **_REFUSALS,
    },
)
async def complete_text(request: Request, services: ServicesDep) -> Response:
    """Complete a text, as older clients ask, paid from the key's position."""
    scope = request.scope
    receive, request_id = request.receive, get_request_id(scope)
    return to_response(await answer_completion(scope, receive, services, request_id, AS_TEXTS))


@router.post(
    "/v1/embeddings",
    dependencies=BEARER,
    response_class=JSONResponse,
    openapi_extra={**body_of(MeteredEmbeddingRequest), **IDEMPOTENCY},
    responses={
        200: {
            "description": "the texts' embeddings, as upstream sent them",
            "headers": COMPLETION_HEADERS,
            "model": EmbeddingList,
        },
        **_REFUSALS,
    },
)
async def create_embeddings(request: Request, services: ServicesDep) -> Response:
    """Embed texts, paid from the key's position: only what they hold is charged."""
    scope = request.scope
    receive, request_id = request.receive, get_request_id(scope)
    return to_response(await answer_completion(scope, receive, services, request_id, AS_EMBEDDINGS))


@router.post(
    "/v1/quote",
    responses=errors_of(400, 401, 403, 404, 408, 413, 415),
    dependencies=BEARER,
    openapi_extra=body_of(CompletionRequest),
)
async def quote_completion(request: Request, claims: ClaimsDep, services: ServicesDep) -> QuoteView:
    """Say what a completion with the same body would reserve, and whether it would be admitted."""
    raw = await services.read_body(request, claims)
    quote = await services.completions.admission.quote(claims, raw, get_request_id(request.scope))
    return QuoteView.model_validate(quote)
