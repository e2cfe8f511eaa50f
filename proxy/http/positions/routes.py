"""A position's allowance, harvests and mirror."""

import time

from fastapi import APIRouter

from proxy.errors import position_not_found
from proxy.http.dependencies import ServicesDep
from proxy.http.positions.schemas import PositionView
from proxy.http.token_ids import parse_token_id
from proxy.store import load_position_view
from serving.http.document.schemas import errors_of
from serving.http.errors import bad_request

router = APIRouter(tags=["positions"])


@router.get("/positions/{tokenId}", responses=errors_of(400, 404))
async def show_position(tokenId: str, services: ServicesDep) -> PositionView:
    """Show a position's allowance, harvests and how recent that is."""
    try:
        token_id = parse_token_id(tokenId)
    except ValueError as error:
        raise bad_request("invalid_token_id", f"'tokenId' {error}.", param="tokenId") from None
    now_s = int(time.time())
    view = await services.meter.read(
        lambda connection: load_position_view(connection, token_id, now_s=now_s)
    )
    if view is None:
        raise position_not_found()
    view["pending_yield_usdc"] = await services.chain_view.fetch_pending_yield(token_id)
    return PositionView.model_validate(view)
