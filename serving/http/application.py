"""What every server is: the framework's application behind the lean front."""

from collections.abc import Set

from fastapi import APIRouter, FastAPI

from serving.http.cors import Cors
from serving.http.exceptions import Translations, handle_exceptions
from serving.http.front import Dispatch, Front
from serving.http.limits import Limits


def build_front(
    app: FastAPI,
    *,
    router: APIRouter,
    translations: Translations,
    dispatch: Dispatch,
    limits: Limits,
    watched: Set[str],
    cors: Cors | None = None,
) -> Front:
    """Put a server together: its routes, how exceptions become answers, its limits.

    ``cors``: which web pages may ask it; None: no other than its own.
    """
    app.include_router(router)
    handle_exceptions(app, translations)
    return Front(app, dispatch=dispatch, limits=limits, watched=watched, cors=cors)
