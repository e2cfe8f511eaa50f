"""What the routes of suppliers ask the framework for, and how the document states their errors."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie

from ledger.suppliers.callers import SupplierCaller
from market.http.dependencies import ServicesDep
from market.suppliers.callers import SESSION_COOKIE
from market.suppliers.supplier_tokens import Scope
from serving.http.document.schemas import errors_of, security_of

SIGNED: Final = errors_of(400, 401, 403, 404, 405, 408, 409, 413, 415)
"""The errors of what a supplier asks for."""

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
