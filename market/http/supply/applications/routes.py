"""Applying, and confirming the address by the link in the mail."""

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from market.http.dependencies import ServicesDep
from market.http.supply.applications.schemas import (
    AddressConfirmed,
    ApplicationWish,
    MailOnItsWay,
    VerificationWish,
)
from market.http.supply.dependencies import UNSIGNED, read_open_object, set_cookie
from market.http.supply.pages import read_token, show_button
from market.suppliers.application_form import read_application
from market.suppliers.callers import SIGN_UP_COOKIE
from market.suppliers.joining import SIGN_UP_S
from serving.http.document.writing import body_of, text_of

router = APIRouter(tags=["suppliers"])

TAKEN: Final = (
    "If this address may apply, a mail is on its way to it: one an hour. Confirm within 48 hours."
)


@router.post(
    "/v1/supply/applications",
    status_code=202,
    responses=UNSIGNED,
    openapi_extra=body_of(ApplicationWish),
    name="apply_as_supplier",
)
async def apply(request: Request, services: ServicesDep) -> MailOnItsWay:
    """Apply to supply compute. The answer is the same whether or not the address is known."""
    body = await read_open_object(request, services)
    address = services.limits.address_of(request.scope)
    await services.suppliers.joining.apply(read_application(body), address=address)
    return MailOnItsWay(message=TAKEN)


@router.get(
    "/v1/supply/applications/verify",
    response_class=HTMLResponse,
    responses={**UNSIGNED, 200: {"content": text_of("text/html")}},
    name="show_verification",
)
async def show_verification(token: Annotated[str, Query(max_length=64)] = "") -> HTMLResponse:
    """Show a page with a button. Looking at it uses nothing up: mail scanners follow links."""
    return show_button(
        title="Confirm your address",
        text="Press the button to confirm that this address is yours, and to choose a password.",
        action="/v1/supply/applications/verify",
        token=token,
        button="Confirm my address",
    )


@router.post(
    "/v1/supply/applications/verify",
    responses={
        **UNSIGNED,
        303: {"description": "to a form: the page to go on with", "model": None},
    },
    openapi_extra=body_of(VerificationWish),
    name="verify_application",
    response_model=AddressConfirmed,
)
async def verify(request: Request, services: ServicesDep, response: Response) -> object:
    """Confirm the address by the mail's token, once. The page's form is redirected to the sign-up.

    Whoever confirms gets a cookie that lets it choose the password, for an hour.
    """
    token, is_form = await read_token(request, services)
    confirmed = await services.suppliers.joining.verify(token)
    query = urlencode({"signup": 1, "supplier": 1, "prefill_email": confirmed.email})
    location = f"/login.html?{query}"
    if is_form:
        redirect = RedirectResponse(location, status_code=303)
        set_cookie(redirect, SIGN_UP_COOKIE, confirmed.sign_up.text, lifetime_s=SIGN_UP_S)
        return redirect
    set_cookie(response, SIGN_UP_COOKIE, confirmed.sign_up.text, lifetime_s=SIGN_UP_S)
    return AddressConfirmed(email=confirmed.email, location=location)
