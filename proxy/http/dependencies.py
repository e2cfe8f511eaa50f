"""What routes ask the framework for."""

from typing import Annotated, Final

from fastapi import Depends, Request

from proxy.keys.authentication import authenticate
from proxy.keys.tokens import KeyClaims
from proxy.services import Services
from serving.http.document.schemas import security_of

BEARER: Final = security_of(
    "apiKey", "an API key from `POST /keys`, or a child of it", "current_<tokenId>_<epoch>_<sig>"
)


def _get_services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_get_services)]


def _get_claims(request: Request, services: ServicesDep) -> KeyClaims:
    header = request.headers.get("authorization")
    claims = authenticate(header, services.known_keys)
    services.limits.take_request((claims.token_id, claims.key_id))
    return claims


ClaimsDep = Annotated[KeyClaims, Depends(_get_claims)]
