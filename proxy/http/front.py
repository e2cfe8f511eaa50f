"""The lean way in: inference bypasses the framework, everything else goes through it.

The same answers are reachable as FastAPI routes, which are also what documents them.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from starlette.types import Receive, Scope

from ledger.errors import LedgerUnavailable
from proxy.chat.request import AS_CHAT, Manner
from proxy.http.dependencies import identify
from proxy.keys.wallet_sessions import read_session_cookie
from proxy.services import Services
from serving.dialects.dialect import MESSAGES, RESPONSES
from serving.dialects.endpoints import Endpoint
from serving.dialects.native_messages import read_dialect_headers
from serving.dialects.speaking import build_errors_of, find_authorization, find_errors_below
from serving.http.answers import Answer, BuildError, StreamAnswer
from serving.http.bodies import find_header
from serving.http.errors import ledger_unavailable
from serving.http.exceptions import Translations, answer_safely
from serving.http.front import WATCHED, Dispatch, Lean
from serving.http.repeat_keys import derive_repeat_key

PREFIX: Final = "/api/current"
WATCHED_PATHS: Final = frozenset(f"{PREFIX}/{name}" for name in WATCHED)
TRANSLATIONS: Final[Translations] = {LedgerUnavailable: ledger_unavailable}

AS_MESSAGES: Final = Manner(dialect=MESSAGES)
AS_RESPONSES: Final = Manner(dialect=RESPONSES)
AS_TEXTS: Final = Manner(Endpoint.COMPLETIONS)
AS_EMBEDDINGS: Final = Manner(Endpoint.EMBEDDINGS)
_MANNERS: Final[Mapping[str, Manner]] = {
    f"{PREFIX}/v1/{manner.name}": manner
    for manner in (AS_CHAT, AS_MESSAGES, AS_RESPONSES, AS_TEXTS, AS_EMBEDDINGS)
}
_FREE: Final = {"x-current-cost-usdc": "0"}
"""What every refused completion says."""


def build_dispatch(get_services: Callable[[], Services]) -> Dispatch:
    """Return what serves inference itself. Services are there once the application has begun."""

    def serve(manner: Manner) -> Lean:
        async def answer(scope: Scope, receive: Receive, request_id: str) -> Answer | StreamAnswer:
            return await answer_completion(scope, receive, get_services(), request_id, manner)

        return answer

    lean = {path: serve(manner) for path, manner in _MANNERS.items()}

    def dispatch(scope: Scope) -> Lean | None:
        return lean.get(scope["path"]) if scope["method"] == "POST" else None

    return dispatch


async def answer_completion(
    scope: Scope,
    receive: Receive,
    services: Services,
    request_id: str,
    manner: Manner = AS_CHAT,
) -> Answer | StreamAnswer:
    """Authenticate, read and answer one request for text. Raises ``ClientGone`` only."""
    dialect = manner.dialect
    started_s = time.monotonic()
    is_admitted = False

    async def serve() -> Answer | StreamAnswer:
        nonlocal is_admitted
        services.limits.check(scope)
        authorization = find_authorization(scope, dialect)
        claims = await identify(scope, services, authorization)
        services.limits.take_request((claims.token_id, claims.key_id))
        is_proven = await services.completions.proven.check(claims.token_id)
        raw = await services.limits.read_body(
            scope, receive, services, claims.token_id, is_proven=is_proven
        )
        named = find_header(scope, b"idempotency-key")
        repeat = None
        if named is not None:
            asked = raw if manner == AS_CHAT else manner.name.encode() + b"\n" + raw
            # A session's repeats belong to the cookie, as a key's to the key.
            asked_as = authorization or f"Bearer {read_session_cookie(scope)}"
            repeat = derive_repeat_key(asked_as, idempotency_key=named, body=asked)
        is_admitted = True
        asked_in = manner
        if dialect is MESSAGES:
            headers = read_dialect_headers(partial(find_header, scope))
            asked_in = replace(manner, headers=headers)
        return await services.completions.complete(
            claims, raw, request_id, is_proven=is_proven, repeat=repeat, manner=asked_in
        )

    def observe(code: str) -> None:
        if not is_admitted:  # else `complete` has counted it
            services.metrics.observe_request(code, time.monotonic() - started_s)

    return await answer_safely(
        serve,
        TRANSLATIONS,
        request_id=request_id,
        observe=observe,
        error_headers=_FREE,
        build=build_errors_of(dialect, request_id),
    )


def find_errors(path: str, request_id: str) -> BuildError:
    """Return what makes the errors of a path: all below a dialect's speak that dialect."""
    return find_errors_below(PREFIX, path, request_id)
