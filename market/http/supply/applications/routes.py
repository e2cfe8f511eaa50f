"""Applying, and confirming the address by the link in the mail."""

from html import escape
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlencode

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
from market.suppliers.application_form import read_application
from market.suppliers.callers import SIGN_UP_COOKIE
from market.suppliers.fields import Fields
from market.suppliers.joining import SIGN_UP_S
from serving.http.document.writing import body_of, text_of

router = APIRouter(tags=["suppliers"])

FORM: Final = "application/x-www-form-urlencoded"
TAKEN: Final = (
    "If this address may apply, a mail is on its way to it: one an hour. Confirm within 48 hours."
)
_POLICY: Final = "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Confirm your address</title>
</head>
<body>
<main>
<h1>Confirm your address</h1>
<p>Press the button to confirm that this address is yours, and to choose a password.</p>
<form method="post" action="/v1/supply/applications/verify">
<input type="hidden" name="token" value="{token}">
<button type="submit">Confirm my address</button>
</form>
</main>
</body>
</html>
"""


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
    headers = {
        "content-security-policy": _POLICY,
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
    }
    return HTMLResponse(_PAGE.format(token=escape(token, quote=True)), headers=headers)


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
    is_form = request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM
    if is_form:
        services.suppliers.callers.check_origin(request)
        raw = await services.limits.read_sign_in(request.scope, request.receive, services)
        body = dict(parse_qsl(raw.decode("latin-1")))
    else:
        body = await read_open_object(request, services)
    fields = Fields(body, ("token",))
    token = fields.text("token", length_max=64)
    confirmed = await services.suppliers.joining.verify(str(token))
    query = urlencode({"signup": 1, "supplier": 1, "prefill_email": confirmed.email})
    location = f"/login.html?{query}"
    if is_form:
        redirect = RedirectResponse(location, status_code=303)
        set_cookie(redirect, SIGN_UP_COOKIE, confirmed.sign_up.text, lifetime_s=SIGN_UP_S)
        return redirect
    set_cookie(response, SIGN_UP_COOKIE, confirmed.sign_up.text, lifetime_s=SIGN_UP_S)
    return AddressConfirmed(email=confirmed.email, location=location)
