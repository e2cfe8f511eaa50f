"""What routes ask the framework for."""

from typing import Annotated, Final

from fastapi import Depends, Request
from starlette.types import Scope

from proxy.keys.authentication import authenticate
from proxy.keys.tokens import KeyClaims
from proxy.keys.wallet_sessions import read_session_cookie
from proxy.services import Services
from serving.http.document.schemas import security_of

BEARER: Final = security_of(
    "apiKey", "an API key from `POST /keys`, or a child of it", "current_<tokenId>_<epoch>_<sig>"
)


def _get_services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_get_services)]


async def identify(scope: Scope, services: Services, authorization: str | None) -> KeyClaims:
    """Return who asks: by a key, else by the cookie of a signed-in wallet. Raises ``ApiError``."""
    if authorization is None and read_session_cookie(scope) is not None:
        return await services.sessions.identify(scope)
    return authenticate(authorization, services.known_keys)


async def _get_claims(request: Request, services: ServicesDep) -> KeyClaims:
    claims = await identify(request.scope, services, request.headers.get("authorization"))
    services.limits.take_request((claims.token_id, claims.key_id))
    return claims


ClaimsDep = Annotated[KeyClaims, Depends(_get_claims)]
