"""Chat completions, for the document and for where the front did not serve; quotes."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from proxy.http.chat.schemas import COMPLETION_HEADERS, CompletionRequest, QuoteView
from proxy.http.dependencies import BEARER, ClaimsDep, ServicesDep
from proxy.http.front import answer_completion
from serving.dialects.shapes import ChatChunk, ChatCompletion
from serving.http.answers import to_response
from serving.http.document.schemas import errors_of
from serving.http.document.writing import body_of, events_of
from serving.http.front import get_request_id
from serving.http.idempotency_header import IDEMPOTENCY

router = APIRouter(tags=["chat"])


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
        **errors_of(400, 401, 403, 404, 408, 409, 413, 415, 422, 502, 504),
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
    responses=errors_of(400, 401, 403, 404, 408, 413, 415),
    dependencies=BEARER,
    openapi_extra=body_of(CompletionRequest),
)
async def quote_completion(request: Request, claims: ClaimsDep, services: ServicesDep) -> QuoteView:
    """Say what a completion with the same body would reserve, and whether it would be admitted."""
    raw = await services.read_body(request, claims)
    quote = await services.completions.admission.quote(claims, raw, get_request_id(request.scope))
    return QuoteView.model_validate(quote)
