"""A position's allowance, harvests and mirror."""

from fastapi import APIRouter

from proxy.errors import position_not_found
from proxy.http.dependencies import ServicesDep
from proxy.http.positions.schemas import PositionView
from proxy.http.token_ids import parse_token_id
from proxy.money_refusals import describe_outlook
from proxy.store import load_position
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
    now_s = services.meter.now_s()
    found = await services.meter.read(
        lambda connection: load_position(connection, token_id, now_s=now_s)
    )
    if found is None:
        raise position_not_found()
    pending_usdc = await services.chain_view.fetch_pending_yield(token_id)
    outlook = await services.chain_view.fetch_outlook(
        token_id,
        found.facts.harvest,
        now_s=found.facts.as_of_s,
        load_steps=services.meter.read_principal,
    )
    view = {**found.view, "pending_yield_usdc": pending_usdc}
    view["harvest"] |= describe_outlook(outlook, name="next_at")
    return PositionView.model_validate(view)
