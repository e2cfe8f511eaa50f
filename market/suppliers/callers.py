"""Who asks as a supplier: by ``Authorization: Bearer si_supply_…``, or by a browser's cookie.

A cookie counts for what changes something only with the token that belongs to it, and from our own
pages: other sites can make a browser send the cookie, but neither know the token nor be us.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import Connection
from starlette.requests import Request

from ledger.errors import KeyNotLive
from ledger.suppliers.callers import (
    SEEN_STEP_S,
    SupplierCaller,
    check_caller_live,
    end_by_hash,
    load_key_caller,
    load_session_caller,
    note_seen,
)
from market.errors import invalid_key
from market.records.database import Database
from market.suppliers.supplier_tokens import (
    KEY_PREFIX,
    Scope,
    derive_csrf_token,
    hash_token,
    is_supplier_key,
    is_token,
)
from serving.http.bodies import parse_bearer
from serving.http.errors import NO_RETRY, RequestRejected, unauthorized
from serving.http.own_pages import SAFE_METHODS, check_no_other_page

T = TypeVar("T")

SESSION_COOKIE: Final = "__Host-supplier_session"
BROWSER_COOKIE: Final = "__Host-supplier_browser"
SIGN_UP_COOKIE: Final = "__Host-supplier_sign_up"
CSRF_HEADER: Final = "x-csrf-token"


@dataclass(frozen=True, slots=True)
class SessionRules:
    """How long sessions live, and whose pages may use them."""

    origin: str
    """Scheme and host of our own pages."""
    idle_s: int = 12 * 3_600
    """How long a session may go unused, seconds."""
    lifetime_s: int = 14 * 86_400
    """How long a session lives however much it is used, seconds."""
    fresh_s: int = 600
    """How long a password or a code counts as just shown, seconds."""


class SupplierCallers:
    """Recognises suppliers and reviewers."""

    def __init__(self, database: Database, rules: SessionRules) -> None:
        self._database = database
        self.rules = rules

    async def identify(self, request: Request, scope: Scope | None = None) -> SupplierCaller:
        """Return who asks. ``scope``: what a key needs; None: only a session will do.

        Raises 401 without a live session or key, 403 for a key without the scope and for a page
        that is not ours or has no token; and ``LedgerUnavailable``.
        """
        now_s = self._database.now_s()
        authorization = request.headers.get("authorization")
        if authorization is not None:
            return await self._identify_key(authorization, scope, now_s=now_s)
        token = read_cookie(request, SESSION_COOKIE)
        if token is None:
            raise not_signed_in()
        if request.method not in SAFE_METHODS:
            self.check_origin(request)
            said = request.headers.get(CSRF_HEADER, "")
            if not hmac.compare_digest(said.encode(), derive_csrf_token(token).encode()):
                raise missing_csrf_token()
        caller = await self._database.read(
            lambda connection: load_session_caller(
                connection, hash_token(token), idle_s=self.rules.idle_s, now_s=now_s
            )
        )
        if caller is None or caller.session_hash is None:
            raise not_signed_in()
        if caller.seen_at_s <= now_s - SEEN_STEP_S:
            session_hash = caller.session_hash
            await self._database.write(
                lambda connection: note_seen(connection, session_hash, now_s=now_s)
            )
        return caller

    async def _identify_key(
        self, authorization: str, scope: Scope | None, *, now_s: int
    ) -> SupplierCaller:
        text = parse_bearer(authorization)
        if text is None or not is_supplier_key(text):
            raise invalid_key()
        caller = await self._database.read(
            lambda connection: load_key_caller(connection, hash_token(text), now_s=now_s)
        )
        if caller is None:
            raise invalid_key()
        if scope is None:
            raise session_needed()
        if scope not in caller.scopes:
            raise scope_missing(scope)
        return caller

    async def end_by_hash(self, session_hash: str) -> None:
        """End the session of a cookie, whosever it is."""
        await self._database.write(lambda connection: end_by_hash(connection, session_hash))

    def check_origin(self, request: Request) -> None:
        """Raise 403 where a browser says that a page of another site asks."""
        check_no_other_page(request.scope, self.rules.origin)

    def check_fresh(self, caller: SupplierCaller) -> None:
        """Raise 403 unless the password, or a one-time code, was shown in the session just now.

        For what decides where money goes.
        """
        if caller.session_id is None:
            raise session_needed()
        if caller.fresh_at_s <= self._database.now_s() - self.rules.fresh_s:
            raise confirmation_needed()

    async def write_as(self, caller: SupplierCaller, call: Callable[[Connection], T]) -> T:
        """Write what a caller asks for, if its session or key is still live in that transaction.

        Raises 401, and what ``Database.write`` raises.
        """
        now_s = self._database.now_s()

        def write(connection: Connection) -> T:
            check_caller_live(connection, caller, idle_s=self.rules.idle_s, now_s=now_s)
            return call(connection)

        try:
            return await self._database.write(write)
        except KeyNotLive:
            raise not_signed_in() if caller.key_id is None else invalid_key() from None


def read_cookie(request: Request, name: str) -> str | None:
    """Return a cookie that looks like a token of ours, None without one or with two of the name."""
    found = []
    for header in request.headers.getlist("cookie"):
        for part in header.split(";"):
            key, _, value = part.strip().partition("=")
            if key == name:
                found.append(value)
    return found[0] if len(found) == 1 and is_token(found[0]) else None


def not_signed_in() -> RequestRejected:
    """401: there is no live session."""
    message = f"Not signed in: sign in by POST /v1/supply/sessions, or send a key {KEY_PREFIX}…."
    return unauthorized("not_signed_in", message)


def session_needed() -> RequestRejected:
    """403: an API key may not do this."""
    message = "An API key may not do this: sign in by POST /v1/supply/sessions."
    return RequestRejected(403, "session_needed", message, headers=NO_RETRY)


def scope_missing(scope: Scope) -> RequestRejected:
    """403: the API key has not the scope that this needs."""
    message = f"The API key has not the scope {str(scope)!r}."
    return RequestRejected(403, "scope_missing", message, headers=NO_RETRY)


def missing_csrf_token() -> RequestRejected:
    """403: the token that belongs to the session's cookie is not there."""
    message = f"Send the session's csrf_token in the header {CSRF_HEADER}."
    return RequestRejected(403, "csrf_token_missing", message, headers=NO_RETRY)


def confirmation_needed() -> RequestRejected:
    """403: the password, or a one-time code, must be shown again first."""
    message = (
        "This decides where money goes: confirm by POST /v1/supply/sessions/confirm with your"
        " password, or a one-time code, and send it again."
    )
    return RequestRejected(403, "confirmation_needed", message, headers=NO_RETRY)
