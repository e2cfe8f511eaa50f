"""The buyers' calls, for the document and for where the front did not serve."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from market.http.dependencies import BUYER_KEY, CALL, CALL_IN_MESSAGES, ServicesDep
from market.http.front import answer_call
from market.http.inference.schemas import ANSWERS, BODIES, EVENTS, HEADERS
from market.identity.keys import Role
from serving.dialects.dialect import MESSAGES
from serving.dialects.endpoints import Endpoint
from serving.dialects.message_shapes import MessageErrorBody, TokenCount
from serving.dialects.speaking import find_authorization
from serving.dialects.token_counts import estimate_input
from serving.http.answers import to_response
from serving.http.document.schemas import errors_of
from serving.http.document.writing import body_of, events_of
from serving.http.front import get_request_id
from serving.http.idempotency_header import IDEMPOTENCY

router = APIRouter(tags=["inference"])


def _add_inference(endpoint: Endpoint) -> None:
    """Document an endpoint, and serve it where the front did not."""
    answer: dict[str, Any] = {"model": ANSWERS[endpoint], "headers": HEADERS}
    errors = CALL_IN_MESSAGES if endpoint is Endpoint.MESSAGES else CALL
    if endpoint in EVENTS:
        answer["content"] = events_of(EVENTS[endpoint])

    @router.post(
        f"/v1/{endpoint}",
        response_class=JSONResponse,
        responses={**errors, 200: answer},
        dependencies=BUYER_KEY,
        openapi_extra={**body_of(BODIES[endpoint]), **IDEMPOTENCY},
        name=f"create_{endpoint}",
    )
    async def infer(request: Request, services: ServicesDep) -> Response:
        """Serve a request from the cheapest seller who may serve it.

        Also below /min{N}, but for embeddings: then only from sellers N % or more below the
        reference price.
        """
        answer = await answer_call(
            request.scope,
            request.receive,
            services,
            endpoint=endpoint,
            minimum_pct=None,
            request_id=get_request_id(request.scope),
        )
        return to_response(answer)


for _endpoint in Endpoint:
    _add_inference(_endpoint)


@router.post(
    f"/v1/{Endpoint.MESSAGES}/count_tokens",
    response_class=JSONResponse,
    responses={
        200: {"model": TokenCount},
        **errors_of(400, 401, 408, 413, 415, body=MessageErrorBody),
    },
    dependencies=BUYER_KEY,
    openapi_extra=body_of(BODIES[Endpoint.MESSAGES]),
)
async def count_message_tokens(request: Request, services: ServicesDep) -> Response:
    """Say how many tokens a conversation probably has. Free; nothing is sent to a seller."""
    authorization = find_authorization(request.scope, MESSAGES)
    buyer = await services.identify(authorization, Role.BUYER)
    raw = await services.limits.read_body(
        request.scope, request.receive, services, buyer.owner, is_proven=buyer.is_proven
    )
    return JSONResponse({"input_tokens": estimate_input(raw)})
