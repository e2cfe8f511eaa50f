"""Undoing what somebody else did to an account: a page with a button, and what the button does."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from market.http.dependencies import ServicesDep
from market.http.supply.dependencies import UNSIGNED
from market.http.supply.pages import read_token, show_button, show_page
from market.http.supply.undoing.schemas import ChangesUndone, UndoWish
from serving.http.document.writing import body_of, text_of

router = APIRouter(tags=["suppliers"])

_PATH: Final = "/v1/supply/undo"


@router.get(
    _PATH,
    response_class=HTMLResponse,
    responses={**UNSIGNED, 200: {"content": text_of("text/html")}},
    name="show_undoing",
)
async def show_undoing(token: Annotated[str, Query(max_length=64)] = "") -> HTMLResponse:
    """Show a page with a button. Looking at it changes nothing: mail scanners follow links."""
    return show_button(
        title="This was not me",
        text="Press the button if you did not make the change that the mail tells of. Payout"
        " addresses that do not count yet never will, everybody is signed out, new keys are off,"
        " and a mail lets you choose another password. One-time codes stay: if somebody else"
        " switched them on, ask us to take them off.",
        action=_PATH,
        token=token,
        button="Stop it",
    )


@router.post(
    _PATH,
    responses={**UNSIGNED, 200: {"content": text_of("text/html")}},
    openapi_extra=body_of(UndoWish),
    name="undo_changes",
    response_model=ChangesUndone,
)
async def undo(request: Request, services: ServicesDep) -> object:
    """Stop what was changed lately, by the token of the mail that told of it, once. It needs no
    session: whoever changed it may have shut the owner out. One-time codes that are asked for stay:
    only an operator takes a thief's off."""
    token, is_form = await read_token(request, services)
    undone = await services.suppliers.undoing.undo(token)
    if is_form:
        text = (
            "The changes are stopped. A mail lets you choose another password. One-time codes stay:"
            " if somebody else switched them on, ask us to take them off."
        )
        return show_page(title="Stopped", text=text)
    return ChangesUndone.model_validate({"cancelled_networks": list(undone.networks)})
