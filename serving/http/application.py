"""What every server is: the framework's application behind the lean front."""

from collections.abc import Set
from typing import Final

from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute

from serving.http.answers import ErrorsOf, plain_errors
from serving.http.cors import Cors
from serving.http.document.app import name_route
from serving.http.exceptions import Translations, handle_exceptions
from serving.http.front import Dispatch, Front
from serving.http.limits import Limits
from serving.http.security_text import build_security_router
from serving.http.site import Site

_BOUND: Final[dict[int, BaseRoute]] = {}
"""Routers as routes, by the router's ``id``: a route keeps its router."""


def build_front(
    app: FastAPI,
    *,
    router: APIRouter,
    translations: Translations,
    dispatch: Dispatch,
    limits: Limits,
    watched: Set[str],
    security_contact: str,
    cors: Cors | None = None,
    site: Site | None = None,
    errors_of: ErrorsOf = plain_errors,
) -> Front:
    """Put a server together: its routes, how exceptions become answers, its limits.

    ``security_contact``: a URL for reports of weaknesses, "" for none. ``cors``: which web pages
    may ask it; None: no other than its own. ``site``: its pages; None: it has none.
    ``errors_of``: the shape of errors, by path.
    """
    app.router.routes.append(_bind(router))
    app.include_router(build_security_router(security_contact))
    handle_exceptions(app, translations, errors_of)
    if site is not None:
        dispatch = site.dispatch_before(dispatch)
    return Front(
        app, dispatch=dispatch, limits=limits, watched=watched, cors=cors, errors_of=errors_of
    )


def _bind(router: APIRouter) -> BaseRoute:
    """Return a router as one route of any application of ours.

    The framework makes the routes anew for each application that includes them, at its first
    requests: a tenth of a second, again and again where many servers share a process.
    """
    bound = _BOUND.get(id(router))
    if bound is None:
        app = FastAPI(openapi_url=None, generate_unique_id_function=name_route)
        app.include_router(router)
        bound = _BOUND[id(router)] = app.routes[-1]
    return bound
