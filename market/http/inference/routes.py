"""The buyers' calls, for the document and for where the front did not serve."""

from fastapi import APIRouter, Request, Response

from market.http.dependencies import ServicesDep, errors_of
from market.http.front import answer_call
from market.http.schemas import ANY_CALL, CHAT
from market.text.dialects import Endpoint
from serving.http.answers import to_response
from serving.http.front import get_request_id

router = APIRouter()


def _add_inference(endpoint: Endpoint) -> None:
    """Document an endpoint, and serve it where the front did not."""
    extra = CHAT if endpoint is Endpoint.CHAT else ANY_CALL

    @router.post(
        f"/v1/{endpoint}",
        responses=errors_of(400, 401, 402, 404, 405, 408, 409, 413, 415, 422, 502),
        openapi_extra=extra,
        name=endpoint.replace("/", "_"),
    )
    async def infer(request: Request, services: ServicesDep) -> Response:
        """Serve a request from the cheapest seller who may serve it. Also below /min{N}, but for
        embeddings: then only from sellers N % or more below the reference price."""
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
