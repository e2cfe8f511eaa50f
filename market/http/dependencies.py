"""What routes ask the framework for, and how the document states their errors."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import Depends, Path, Query, Request

from market.http.buyers.schemas import PaidErrorBody, PaidMessageErrorBody, PaymentRequired
from market.identity.keys import Role
from market.records.store import KeyHolder
from market.services import Services
from serving.http.document.schemas import errors_of, security_of
from serving.http.document.writing import one_of
from serving.http.errors import wrong_type
from serving.http.own_pages import SAFE_METHODS, check_own_page, read_cookie

PAGE_MAX: Final = 1_000
SELLER_COOKIE: Final = "__Host-current_seller"
BUYER_COOKIE: Final = "__Host-current_buyer"
"""Each holds a key of its owner's browser: hashed in the ledger like any other."""
COOKIES: Final = {Role.SELLER: SELLER_COOKIE, Role.BUYER: BUYER_COOKIE}
TIME_MAX_S: Final = 2**40


SIGNED: Final = errors_of(400, 401, 403, 404, 405, 408, 409, 413, 415)
OPEN: Final = errors_of(400, 404, 405)
CALL: Final = errors_of(400, 401, 402, 404, 405, 408, 409, 413, 415, 422, 502, body=PaidErrorBody)
CALL[402]["content"] = one_of(PaidErrorBody, PaymentRequired)
"""The errors of what buyers pay for. Without a key, a 402 says how to pay by x402."""
CALL_IN_MESSAGES: Final = {
    **CALL,
    **errors_of(400, 401, 404, 405, 408, 409, 413, 415, 422, 502, body=PaidMessageErrorBody),
}
"""The same in Anthropic's dialect. The 402 is x402's own, as every client of that reads it."""

SELLER_KEY: Final = security_of(
    "sellerKey", "a seller's key from `POST /v1/seller/auth/keys`", "si_seller_…"
)
BUYER_KEY: Final = security_of("buyerKey", "a buyer's key from `POST /v1/buyer/auth/keys`", "inf_…")


def _get_services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_get_services)]


async def get_seller(request: Request, services: ServicesDep) -> KeyHolder:
    """Return who holds the seller's key that came with a request, in a header or as our cookie.

    Raises 401, 403, 429.
    """
    return await services.identify(_find_key(request, services, Role.SELLER), Role.SELLER)


async def get_buyer(request: Request, services: ServicesDep) -> KeyHolder:
    """Return who holds the buyer's key that came with a request, in a header or as our cookie.

    The cookie shows and manages an account: what sells inference or calls takes headers alone.
    Raises 401, 403, 429.
    """
    return await services.identify(_find_key(request, services, Role.BUYER), Role.BUYER)


def _find_key(request: Request, services: Services, role: Role) -> str | None:
    """Return what stands for the header ``authorization``: a cookie counts for what changes
    something only from our own pages. Raises 403."""
    authorization = request.headers.get("authorization")
    if authorization is not None:
        return authorization
    key = read_cookie(request.scope, COOKIES[role])
    if key is None:
        return None
    if request.method not in SAFE_METHODS:
        check_own_page(request.scope, services.origin)
    return f"Bearer {key}"


SellerDep = Annotated[KeyHolder, Depends(get_seller)]
BuyerDep = Annotated[KeyHolder, Depends(get_buyer)]
TimeQuery = Annotated[int | None, Query(ge=0, le=TIME_MAX_S)]
IdPath = Annotated[str, Path(max_length=64, pattern="^[0-9A-Za-z._-]+$")]
Cursor = Annotated[str | None, Query(max_length=64, pattern="^[0-9a-f.-]*$")]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]


def read_string(
    body: Mapping[str, Any], name: str, *, length_max: int, default: str | None = None
) -> str:
    """Return a text field of a body that a database can hold. Raises 400."""
    value = body.get(name, default)
    if not isinstance(value, str) or len(value) > length_max or not _is_storable(value):
        raise wrong_type(name, f"a string of at most {length_max} characters")
    return value


def read_label(body: Mapping[str, Any], *, length_max: int) -> str:
    """Return the label of a body, empty without one. Raises 400 for what a page or a terminal could
    take for more than text: markup, control and direction characters."""
    label = read_string(body, "label", length_max=length_max, default="")
    if not label.isprintable() or any(mark in label for mark in "<>&"):
        raise wrong_type("label", "printable text without < > &")
    return label


def _is_storable(text: str) -> bool:
    # PostgreSQL has no NUL in texts, and a lone surrogate is no character.
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
