"""What routes ask the framework for."""

from typing import Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from proxy.http.schemas import ErrorBody
from proxy.keys.authentication import authenticate
from proxy.keys.tokens import KeyClaims
from proxy.services import Services

BEARER: Final = [
    Depends(
        HTTPBearer(
            scheme_name="apiKey",
            bearerFormat="current_<tokenId>_<epoch>_<sig>",
            description="an API key from `POST /keys`, or a child of it",
            auto_error=False,
        )
    )
]
"""For the document only: the key is read by ``ClaimsDep``."""


def errors_of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how the document states errors with these statuses."""
    return {status: {"model": ErrorBody} for status in statuses}


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
