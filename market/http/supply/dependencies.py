"""What the routes of suppliers ask the framework for, and how the document states their errors."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import Depends, Request, Response
from fastapi.security import APIKeyCookie

from ledger.suppliers.callers import SupplierCaller
from market.http.dependencies import ServicesDep
from market.services import Services
from market.suppliers.callers import BROWSER_COOKIE, SESSION_COOKIE
from market.suppliers.known_browsers import LIVES_S
from market.suppliers.supplier_tokens import Scope
from serving.http.document.schemas import errors_of, security_of
from serving.http.strict_json import parse_exact_json

SIGNED: Final = errors_of(400, 401, 403, 404, 405, 408, 409, 413, 415)
"""The errors of what a supplier asks for."""
UNSIGNED: Final = errors_of(400, 401, 403, 404, 405, 408, 409, 413, 415)
"""The errors of what somebody asks for who is not signed in."""

FORM: Final = "application/x-www-form-urlencoded"

_COOKIE: Final = APIKeyCookie(
    name=SESSION_COOKIE,
    scheme_name="supplierSession",
    description="a session from `POST /v1/supply/sessions`; what changes something also needs its"
    " `csrf_token` in the header `x-csrf-token`",
    auto_error=False,
)
SESSION: Final = [Depends(_COOKIE)]
"""For routes that only a session may call."""
SESSION_OR_KEY: Final = [
    *SESSION,
    *security_of("supplyKey", "a supplier's key from `POST /v1/supply/keys`", "si_supply_…"),
]
"""For routes that a session or an API key may call."""


def _need(scope: Scope | None) -> Callable[..., Awaitable[SupplierCaller]]:
    async def identify(request: Request, services: ServicesDep) -> SupplierCaller:
        caller = await services.suppliers.callers.identify(request, scope)
        services.limits.take_request(caller.key_id or caller.supplier_id)
        return caller

    return identify


SessionDep = Annotated[SupplierCaller, Depends(_need(None))]
"""Who is signed in. Raises 401, 403, 429."""
OffersReaderDep = Annotated[SupplierCaller, Depends(_need(Scope.OFFERS_READ))]
OffersWriterDep = Annotated[SupplierCaller, Depends(_need(Scope.OFFERS_WRITE))]
UsageReaderDep = Annotated[SupplierCaller, Depends(_need(Scope.USAGE_READ))]
PayoutsReaderDep = Annotated[SupplierCaller, Depends(_need(Scope.PAYOUTS_READ))]
KybReaderDep = Annotated[SupplierCaller, Depends(_need(Scope.KYB_READ))]


async def read_object(
    request: Request, services: Services, caller: SupplierCaller, *, is_needed: bool = True
) -> dict[str, Any]:
    """Return the JSON object that a supplier sends; empty where it need not and sends nothing.
    Raises 400, 408, 413, 415, 429."""
    raw = await services.limits.read_body(
        request.scope,
        request.receive,
        services,
        caller.supplier_id,
        is_proven=caller.supplier.is_approved,
    )
    return parse_exact_json(raw) if raw or is_needed else {}


async def read_open_object(request: Request, services: Services) -> dict[str, Any]:
    """Return the JSON object of somebody who is not signed in. Raises 403 for a page that is not
    ours, and as ``read_object`` does."""
    services.suppliers.callers.check_origin(request)
    raw = await services.limits.read_sign_in(request.scope, request.receive, services)
    return parse_exact_json(raw)


async def read_open_form(request: Request, services: Services) -> tuple[dict[str, Any], bool]:
    """Return the fields of a form, or a JSON object, of somebody who is not signed in; and whether
    it was a form. Raises as ``read_open_object`` does."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != FORM:
        return await read_open_object(request, services), False
    services.suppliers.callers.check_origin(request)
    raw = await services.limits.read_sign_in(request.scope, request.receive, services)
    return dict(parse_qsl(raw.decode("latin-1"))), True


def set_cookie(response: Response, name: str, value: str, *, lifetime_s: int) -> None:
    """Put a cookie of ours into a browser: for this host alone, over TLS, out of scripts' reach;
    no other site's page has it sent along. A browser takes it from localhost without TLS."""
    response.headers.append(
        "set-cookie",
        f"{name}={value}; Path=/; Max-Age={lifetime_s}; Secure; HttpOnly; SameSite=Strict",
    )
    response.headers["cache-control"] = "no-store"


def keep_browser(response: Response, services: Services, email: str) -> None:
    """Have a browser known as one of an account's owner: strangers' wrong tries are not its own."""
    name = services.suppliers.signing_in.browsers.name(email)
    set_cookie(response, BROWSER_COOKIE, name, lifetime_s=LIVES_S)
