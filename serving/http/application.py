"""What every server is: the framework's application behind the lean front."""

from collections.abc import Set

from fastapi import APIRouter, FastAPI

from serving.http.answers import ErrorsOf, plain_errors
from serving.http.cors import Cors
from serving.http.exceptions import Translations, handle_exceptions
from serving.http.front import Dispatch, Front
from serving.http.limits import Limits
from serving.http.security_text import build_security_router
from serving.http.site import Site


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
    app.include_router(router)
    app.include_router(build_security_router(security_contact))
    handle_exceptions(app, translations, errors_of)
    if site is not None:
        dispatch = site.dispatch_before(dispatch)
    return Front(
        app, dispatch=dispatch, limits=limits, watched=watched, cors=cors, errors_of=errors_of
    )
