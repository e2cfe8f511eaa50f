"""Chat completions, for the document and for where the front did not serve; quotes."""

from typing import Any

from fastapi import APIRouter, Request, Response

from proxy.http.chat.schemas import COMPLETION_HEADERS, COMPLETION_REQUEST, QuoteView
from proxy.http.dependencies import BEARER, ClaimsDep, ServicesDep, errors_of
from proxy.http.front import answer_completion
from serving.http.answers import to_response
from serving.http.bodies import read_body
from serving.http.front import get_request_id

router = APIRouter()


@router.post(
    "/v1/chat/completions",
    dependencies=BEARER,
    openapi_extra={"requestBody": COMPLETION_REQUEST},
    responses={
        200: {
            "description": "upstream's completion, unchanged; events where `stream` is true",
            "headers": COMPLETION_HEADERS,
            "content": {"text/event-stream": {}},
        },
        **errors_of(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 500, 502, 503, 504),
    },
)
async def create_completion(request: Request, services: ServicesDep) -> Response:
    """Complete a chat, paid from the key's position. Amounts in headers are 1e-6 USDC."""
    # ``Front`` usually answers before this route is reached.
    scope = request.scope
    answer = await answer_completion(scope, request.receive, services, get_request_id(scope))
    return to_response(answer)


@router.post(
    "/v1/quote",
    response_model=QuoteView,
    responses=errors_of(400, 401, 404, 408, 413, 415, 429, 503),
    dependencies=BEARER,
    openapi_extra={"requestBody": COMPLETION_REQUEST},
)
async def quote_completion(
    request: Request, claims: ClaimsDep, services: ServicesDep
) -> dict[str, Any]:
    """Say what a completion with the same body would reserve, and whether it would be admitted."""
    raw = await read_body(request.scope, request.receive, services)
    return await services.completions.quote(claims, raw, get_request_id(request.scope))
