"""The lean way in: inference bypasses the framework, everything else goes through it.

Paths are ``/v1/<endpoint>`` and, where the reference mirrors them, ``/min{N}/v1/<endpoint>``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from starlette.types import Receive, Scope

from market.errors import invalid_minimum_discount
from market.http.mirrors import MIRRORED, is_medium, mirror, read_minimum
from market.http.paying import answer_by, find_payment
from market.http.resale.calling import build_call
from market.identity.keys import Role
from market.payments.paywall import PaidCall
from market.records.store import KeyHolder
from market.resale.call_wishes import PREFIX
from market.routing.filters import CEILING_HEADERS, Ceilings, parse_ceilings, parse_drain
from market.routing.sessions import SESSION_HEADER
from market.services import Services
from market.text.requests import MINIMUM_DISCOUNT_ENDPOINTS, find_dialect, parse_request
from serving.dialects.endpoints import Endpoint
from serving.dialects.native_messages import read_dialect_headers
from serving.dialects.speaking import build_errors_of, find_authorization, find_errors_below
from serving.http.answers import Answer, BuildError, StreamAnswer
from serving.http.bodies import find_header, read_body
from serving.http.errors import (
    ApiError,
    method_not_allowed,
    path_not_found,
)
from serving.http.front import WATCHED, Dispatch, Lean
from serving.http.repeat_keys import RepeatKey, derive_repeat_key
from serving.models.sold import DRAIN_HEADER

DRAIN: Final = DRAIN_HEADER.encode()

WATCHED_PATHS: Final = frozenset(f"/{name}" for name in WATCHED)

_ENDPOINTS: Final[Mapping[str, Endpoint]] = {f"/v1/{endpoint}": endpoint for endpoint in Endpoint}


def build_dispatch(get_services: Callable[[], Services]) -> Dispatch:
    """Return what serves inference itself. Services are there once the application has begun."""

    def serve(endpoint: Endpoint, minimum_pct: int | None) -> Lean:
        async def answer(scope: Scope, receive: Receive, request_id: str) -> Answer | StreamAnswer:
            return await answer_call(
                scope,
                receive,
                get_services(),
                endpoint=endpoint,
                minimum_pct=minimum_pct,
                request_id=request_id,
            )

        return answer

    plain = {path: serve(endpoint, None) for path, endpoint in _ENDPOINTS.items()}
    call = build_call(get_services)

    def refuse(error: ApiError) -> Lean:
        async def answer(scope: Scope, _: Receive, request_id: str) -> Answer | StreamAnswer:
            async def fail() -> Answer:
                get_services().limits.check(scope)
                raise error

            return await answer_by(fail, get_services().metrics, request_id)

        return answer

    def dispatch(scope: Scope) -> Lean | None:
        path, method = scope["path"], scope["method"]
        if path.startswith(PREFIX):
            return call
        if not path.startswith("/min"):
            return plain.get(path) if method == "POST" else None
        mirrored = MIRRORED.fullmatch(path)
        if mirrored is None:
            return None
        segment, path = mirrored[1], mirrored[2]
        minimum_pct, endpoint = read_minimum(segment), _ENDPOINTS.get(path)
        if minimum_pct is None:
            return refuse(invalid_minimum_discount(segment))
        if is_medium(path):
            mirror(scope, path, segment, minimum_pct)
            return None
        if endpoint is None or endpoint not in MINIMUM_DISCOUNT_ENDPOINTS:
            return refuse(path_not_found(scope["path"]))
        if method != "POST":
            return refuse(method_not_allowed(method, "POST"))
        return serve(endpoint, minimum_pct)

    return dispatch


def find_errors(path: str, request_id: str) -> BuildError:
    """Return what makes the errors of a path: all below a dialect's speak that dialect."""
    return find_errors_below("", path, request_id)


async def answer_call(
    scope: Scope,
    receive: Receive,
    services: Services,
    *,
    endpoint: Endpoint,
    minimum_pct: int | None,
    request_id: str,
) -> Answer | StreamAnswer:
    """Authenticate, read and answer one request. Raises ``ClientGone`` only."""

    dialect = find_dialect(endpoint)
    find = partial(find_header, scope)

    async def serve() -> Answer | StreamAnswer:
        services.limits.check(scope)
        header, payment = find_authorization(scope, dialect), find_payment(scope)
        ceilings = parse_ceilings(find)
        drain_s = parse_drain(find_header(scope, DRAIN))
        paywall = services.paywall
        if paywall is not None and (header is None or payment is not None):
            raw = await read_body(scope, receive, services, keep_open=services.limits.keep_open)
            ask = services.serving.build_ask(parse_request(endpoint, raw), minimum_pct, ceilings)

            async def serve_payer(payer: KeyHolder) -> Answer | StreamAnswer:
                services.limits.release(scope)
                return await serve_to(payer, raw, ceilings, drain_s)

            call = PaidCall(scope["path"], raw, paywall.price([ask]), serve_payer)
            return await paywall.sell(payment, call, request_id=request_id)
        buyer = await services.identify(header, Role.BUYER, for_sale=True)
        raw = await services.limits.read_body(
            scope, receive, services, buyer.owner, is_proven=buyer.is_proven
        )
        named = find_header(scope, b"idempotency-key")
        repeat = None
        if named is not None:
            whole = build_request_text(scope, raw)
            repeat = derive_repeat_key(header, idempotency_key=named, body=whole)
        return await serve_to(buyer, raw, ceilings, drain_s, repeat)

    async def serve_to(
        buyer: KeyHolder,
        raw: bytes,
        ceilings: Ceilings,
        drain_s: float | None,
        repeat: RepeatKey | None = None,
    ) -> Answer | StreamAnswer:
        return await services.serving.serve(
            buyer,
            endpoint,
            raw,
            minimum_pct=minimum_pct,
            request_id=request_id,
            ceilings=ceilings,
            session_name=find_header(scope, SESSION_HEADER),
            drain_s=drain_s,
            repeat=repeat,
            dialect_headers=None if dialect is None else read_dialect_headers(find),
        )

    return await answer_by(
        serve, services.metrics, request_id, build=build_errors_of(dialect, request_id)
    )


def build_request_text(scope: Scope, raw: bytes) -> bytes:
    """Return all that makes a request what it is: its path, its price ceilings, its body."""
    ceilings = (find_header(scope, name.encode()) for name in CEILING_HEADERS)
    return "\n".join((scope["path"], *(text or "" for text in ceilings))).encode() + b"\0" + raw
