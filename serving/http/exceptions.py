"""How exceptions become answers: the same for what the front serves and for the framework's routes.

Each server passes in a table of the exceptions of its other rooms, and what a client is told of
each: ``{LedgerUnavailable: ledger_unavailable}``. Subclasses count with their class.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from serving.http.answers import (
    Answer,
    BuildError,
    ErrorsOf,
    build_error_answer,
    plain_errors,
    to_response,
)
from serving.http.bodies import ClientGone
from serving.http.errors import (
    ApiError,
    RequestRejected,
    bad_request,
    internal_error,
    method_not_allowed,
    path_not_found,
)
from serving.http.front import get_request_id

log = structlog.get_logger("serving")

T = TypeVar("T")

Translations = Mapping[type[Exception], Callable[[], ApiError]]

CLIENT_GONE: Final = "client_gone"
"""The outcome of a request whose client has left."""

_METHODS: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")
_FULL: Final = Match.FULL
_NO_HEADERS: Final[Mapping[str, str]] = {}


def translate(error: Exception, translations: Translations, *, request_id: str) -> ApiError:
    """Return the error that a client gets for an exception. An unknown exception is logged."""
    if isinstance(error, ApiError):
        return error
    for kind, build in translations.items():
        if isinstance(error, kind):
            told = build()
            log.error(told.code, request_id=request_id, error=str(error))
            return told
    log.error("internal_error", request_id=request_id, exc_info=error)
    return internal_error()


async def answer_safely(
    serve: Callable[[], Awaitable[T]],
    translations: Translations,
    *,
    request_id: str,
    observe: Callable[[str], None],
    error_headers: Mapping[str, str] = _NO_HEADERS,
    build: BuildError = build_error_answer,
) -> T | Answer:
    """Return what ``serve`` returns, and exceptions as answers. Raises ``ClientGone`` only.

    ``build`` makes the answer of an error. ``observe`` is told the code of each error, and of a
    client that has left.
    """
    try:
        return await serve()
    except (ClientGone, asyncio.CancelledError):
        observe(CLIENT_GONE)
        raise
    except Exception as error:
        told = translate(error, translations, request_id=request_id)
        observe(told.code)
        return build(told, error_headers)


def handle_exceptions(
    app: FastAPI, translations: Translations, errors_of: ErrorsOf = plain_errors
) -> None:
    """Have the framework answer exceptions of its routes as ``answer_safely`` does."""

    def answer(request: Request, error: Exception) -> Response:
        request_id = get_request_id(request.scope)
        told = translate(error, translations, request_id=request_id)
        return to_response(errors_of(request.url.path, request_id)(told, _NO_HEADERS))

    async def on_error(request: Request, error: Exception) -> Response:
        return answer(request, error)

    async def on_validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        problem = error.errors()[0]
        param = ".".join(str(part) for part in problem["loc"][1:]) or None
        return answer(request, bad_request("invalid_request", str(problem["msg"]), param=param))

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answer(request, _describe_http_error(request, error))

    async def on_client_gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # the client has gone

    kinds: tuple[type[Exception], ...] = (ApiError, *translations, Exception)
    for kind in kinds:
        app.add_exception_handler(kind, on_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(ClientGone, on_client_gone)


def _describe_http_error(request: Request, error: HTTPException) -> ApiError:
    match error.status_code:
        case 404:
            return path_not_found(request.url.path)
        case 405:
            return method_not_allowed(request.method, _find_methods(request))
        case status:
            headers = dict(error.headers or {})
            return RequestRejected(status, "http_error", error.detail, headers=headers)


def _find_methods(request: Request) -> str | None:
    """Return all methods that the path takes, as an Allow header has them."""
    routes = request.app.router.routes
    found = [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is _FULL for route in routes)
    ]
    if "GET" in found:
        found.append("HEAD")  # the front serves it as GET
    return ", ".join(sorted(found)) or None
