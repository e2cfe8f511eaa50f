"""The buyers' calls, for the document and for where the front did not serve; their account."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from market.errors import not_found
from market.http.answers import StreamAnswer
from market.http.dependencies import SIGNED, BuyerDep, ServicesDep, errors_of
from market.http.front import answer_call
from market.http.payment_routes import load_topups
from market.http.schemas import ANY_CALL, CHAT
from market.records.store import load_account
from market.text.dialects import Endpoint
from serving.process.ids import new_id

router = APIRouter()


@router.get("/v1/buyer/account", responses=SIGNED)
async def get_account(services: ServicesDep, buyer: BuyerDep) -> dict[str, Any]:
    """Return the buyer's credit, in 1e-6 USDC."""
    row = await services.database.read(lambda connection: load_account(connection, buyer.owner))
    if row is None:
        raise not_found("account")
    credited, spent, reserved = (
        int(row[name]) for name in ("credited_usdc", "spent_usdc", "reserved_usdc")
    )
    return {
        "account_id": row["account_id"],
        "credited_usdc": credited,
        "spent_usdc": spent,
        "reserved_usdc": reserved,
        "available_usdc": credited - spent - reserved,
        "payments": await load_topups(services, buyer.owner),
    }


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
            request_id=new_id(),
        )
        if isinstance(answer, StreamAnswer):
            return StreamingResponse(answer.stream.events(), headers=dict(answer.headers))
        return Response(answer.body, answer.status, dict(answer.headers))


for _endpoint in Endpoint:
    _add_inference(_endpoint)
