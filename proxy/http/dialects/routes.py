"""Messages and responses, for the document and for where the front did not serve."""

from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from proxy.errors import nothing_stored
from proxy.http.chat.schemas import COMPLETION_HEADERS
from proxy.http.dependencies import BEARER, ClaimsDep, ServicesDep
from proxy.http.dialects.free_counts import count_tokens
from proxy.http.dialects.schemas import MeteredResponse, MeteredResponseRequest
from proxy.http.front import AS_MESSAGES, AS_RESPONSES, answer_completion
from serving.dialects.message_shapes import (
    AnsweredMessage,
    MessageErrorBody,
    MessageEvent,
    MessageRequest,
    TokenCount,
)
from serving.dialects.shapes import ResponseEvent
from serving.http.answers import to_response
from serving.http.document.schemas import ErrorBody, errors_of
from serving.http.document.writing import body_of, events_of
from serving.http.front import get_request_id
from serving.http.idempotency_header import IDEMPOTENCY

router = APIRouter(tags=["dialects"])

_REFUSALS: Final = (400, 401, 403, 404, 408, 409, 413, 415, 422, 502, 504)


def _answers(
    model: type[Any], event: type[Any], body: type[BaseModel] = ErrorBody
) -> dict[int | str, dict[str, Any]]:
    answered: dict[str, Any] = {
        "description": "the answer; events where `stream` is true",
        "headers": COMPLETION_HEADERS,
        "model": model,
        "content": events_of(event),
    }
    return {200: answered, **errors_of(*_REFUSALS, body=body)}


@router.post(
    "/v1/messages",
    dependencies=BEARER,
    response_class=JSONResponse,
    openapi_extra={**body_of(MessageRequest), **IDEMPOTENCY},
    responses=_answers(AnsweredMessage, MessageEvent, MessageErrorBody),
)
async def create_message(request: Request, services: ServicesDep) -> Response:
    """Continue a conversation, in Anthropic's dialect. The key may stand in `x-api-key`.

    Errors have the dialect's own shape.
    """
    scope = request.scope
    receive, request_id = request.receive, get_request_id(scope)
    return to_response(await answer_completion(scope, receive, services, request_id, AS_MESSAGES))


@router.post(
    "/v1/messages/count_tokens",
    dependencies=BEARER,
    response_class=JSONResponse,
    openapi_extra=body_of(MessageRequest),
    responses={
        200: {"model": TokenCount},
        **errors_of(400, 401, 408, 413, 415, body=MessageErrorBody),
    },
)
async def count_message_tokens(request: Request, services: ServicesDep) -> Response:
    """Say how many tokens a conversation probably has. Free; nothing is sent to a provider."""
    scope = request.scope
    answer = await count_tokens(scope, request.receive, services, get_request_id(scope))
    return to_response(answer)


@router.post(
    "/v1/responses",
    dependencies=BEARER,
    response_class=JSONResponse,
    openapi_extra={**body_of(MeteredResponseRequest), **IDEMPOTENCY},
    responses=_answers(MeteredResponse, ResponseEvent),
)
async def create_response(request: Request, services: ServicesDep) -> Response:
    """Respond to an input, in the dialect of OpenAI's newer API. Nothing is stored."""
    scope = request.scope
    receive, request_id = request.receive, get_request_id(scope)
    return to_response(await answer_completion(scope, receive, services, request_id, AS_RESPONSES))


@router.get("/v1/responses/{responseId}", include_in_schema=False)
async def show_response(responseId: str, claims: ClaimsDep) -> MeteredResponse:  # noqa: ARG001
    """Refuse: no response is stored."""
    raise nothing_stored()
