"""The lean way in: chat completions bypass the framework, everything else goes through it.

The same answer is reachable as a FastAPI route (``routes.py``), which is also what documents it.
"""

import time
from collections.abc import Callable
from typing import Final

from starlette.types import Receive, Scope

from ledger.errors import LedgerUnavailable
from proxy.keys.authentication import authenticate
from proxy.services import Services
from serving.http.answers import Answer, StreamAnswer
from serving.http.bodies import find_header
from serving.http.errors import ledger_unavailable
from serving.http.exceptions import Translations, answer_safely
from serving.http.front import WATCHED, Dispatch, Lean
from serving.http.repeat_keys import derive_repeat_key

PREFIX: Final = "/api/current"
COMPLETIONS_PATH: Final = f"{PREFIX}/v1/chat/completions"
WATCHED_PATHS: Final = frozenset(f"{PREFIX}/{name}" for name in WATCHED)
TRANSLATIONS: Final[Translations] = {LedgerUnavailable: ledger_unavailable}

_FREE: Final = {"x-current-cost-usdc": "0"}
"""What every refused completion says."""


def build_dispatch(get_services: Callable[[], Services]) -> Dispatch:
    """Return what serves completions itself. Services are there once the application has begun."""

    async def complete(scope: Scope, receive: Receive, request_id: str) -> Answer | StreamAnswer:
        return await answer_completion(scope, receive, get_services(), request_id)

    def dispatch(scope: Scope) -> Lean | None:
        is_completion = scope["path"] == COMPLETIONS_PATH and scope["method"] == "POST"
        return complete if is_completion else None

    return dispatch


async def answer_completion(
    scope: Scope, receive: Receive, services: Services, request_id: str
) -> Answer | StreamAnswer:
    """Authenticate, read and answer one completion request. Raises ``ClientGone`` only."""
    started_s = time.monotonic()
    is_admitted = False

    async def serve() -> Answer | StreamAnswer:
        nonlocal is_admitted
        services.limits.check(scope)
        authorization = find_header(scope, b"authorization")
        claims = authenticate(authorization, services.known_keys)
        services.limits.take_request((claims.token_id, claims.key_id))
        is_proven = await services.completions.proven.check(claims.token_id)
        raw = await services.limits.read_body(
            scope, receive, services, claims.token_id, is_proven=is_proven
        )
        named = find_header(scope, b"idempotency-key")
        repeat = None
        if named is not None:
            repeat = derive_repeat_key(authorization, idempotency_key=named, body=raw)
        is_admitted = True
        return await services.completions.complete(
            claims, raw, request_id, is_proven=is_proven, repeat=repeat
        )

    def observe(code: str) -> None:
        if not is_admitted:  # else `complete` has counted it
            services.metrics.observe_request(code, time.monotonic() - started_s)

    return await answer_safely(
        serve, TRANSLATIONS, request_id=request_id, observe=observe, error_headers=_FREE
    )
