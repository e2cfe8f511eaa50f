"""Signing in with a wallet in a browser, and who asks by the cookie that it gives.

A session stands for the wallet: with ``x-current-position`` it asks as the root key of a position
that the wallet owns. It ends by itself, by its owner, and for a position when the position's keys
are revoked after it began. A cookie counts for what changes something only from our own pages.
"""

import asyncio
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection
from starlette.types import Scope

from contracts.errors import Retryable
from contracts.signature_checker import SignatureChecker
from contracts.signatures import parse_signature
from contracts.siwe import SiweInvalid, build_siwe, parse_siwe
from ledger.spending.keys import NonceUsed, use_nonce
from ledger.spending.wallet_sessions import SignedIn, find_session, open_session
from proxy.chat.meter import Meter
from proxy.errors import position_not_found
from proxy.keys.key_message import is_before_revocation
from proxy.keys.sign_in import SignIn
from proxy.keys.tokens import INTEGER_MAX, KEY_ID_BYTES, KeyClaims
from proxy.store import load_revoked_at_s, load_standing
from serving.http.bodies import find_header
from serving.http.errors import RequestRejected, bad_request, unauthorized, unavailable
from serving.http.own_pages import (
    SAFE_METHODS,
    check_no_other_page,
    check_own_page,
    read_cookie,
)

COOKIE: Final = "__Host-current_session"
POSITION_HEADER: Final = b"x-current-position"
STATEMENT: Final = "Sign in to Current. This pays for nothing and moves nothing."
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_TOKEN_ID: Final = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A session that has just begun; ``token`` is for the cookie only."""

    token: str
    session: SignedIn

    def __repr__(self) -> str:
        return f"OpenedSession({self.session.session_id})"


class Sessions:
    """Opens sessions, and recognises them."""

    def __init__(
        self, meter: Meter, checker: SignatureChecker, sign_in: SignIn, *, lifetime_s: int
    ) -> None:
        self._meter = meter
        self._checker = checker
        self._sign_in = sign_in
        self.lifetime_s = lifetime_s

    @property
    def _resource(self) -> str:
        """What the message names: the contract, and no position of it, so it gives no key."""
        return self._sign_in.get_resource(0).removesuffix("/0")

    def build_message(self, address: str) -> str:
        """Return the text for a wallet to sign, good for as long as its nonce."""
        now = datetime.fromtimestamp(self._meter.clock.now(), UTC)
        return build_siwe(
            domain=self._sign_in.domain,
            address=address,
            statement=STATEMENT,
            uri=self._sign_in.uri,
            chain_id=self._sign_in.chain_id,
            nonce=self._sign_in.build_nonce(now_s=int(now.timestamp())),
            issued_at=now,
            resources=(self._resource,),
        )

    async def open(self, *, message: str, signature: str, user_agent: str) -> OpenedSession:
        """Trade a signed message for a session. Raises ``ApiError``, and ``LedgerUnavailable``."""
        now_s = self._meter.clock.now()
        address, nonce, expires_at_s = self._read(message, now_s=now_s)
        decoded = parse_signature(signature)
        if decoded is None:
            raise bad_request("invalid_signature", "'signature' must be 0x hex.", param="signature")
        try:
            is_signed = await asyncio.to_thread(
                self._checker.is_signed_by, address, message, decoded
            )
        except Retryable as error:
            text = "The wallet contract cannot be asked now: the chain does not answer."
            raise unavailable("chain_unavailable", text) from error
        if not is_signed:
            text = "The signature is not by the message's address, or not over the exact text."
            raise RequestRejected(401, "invalid_signature", text, "signature")
        token = secrets.token_urlsafe(32)
        session = SignedIn(
            secrets.token_hex(KEY_ID_BYTES),
            address,
            user_agent,
            int(now_s),
            int(now_s) + self.lifetime_s,
        )

        def save(connection: Connection) -> None:
            use_nonce(connection, nonce, expires_at_s=expires_at_s)
            open_session(connection, hash_session(token), session)

        try:
            await self._meter.write(save)
        except NonceUsed:
            text = "This signature was used before: sign again."
            raise RequestRejected(401, "nonce_used", text) from None
        return OpenedSession(token, session)

    def _read(self, text: str, *, now_s: float) -> tuple[str, str, int]:
        try:
            message = parse_siwe(text)
            message.check(
                domain=self._sign_in.domain,
                chain_id=self._sign_in.chain_id,
                now_s=now_s,
                lifetime_s=self._sign_in.nonce_lifetime_s,
            )
            expires_at_s = self._sign_in.read_nonce(message.nonce, now_s=int(now_s))
            if expires_at_s is None:
                raise SiweInvalid("the nonce is not one of ours, or has expired: get a new one")
            if [resource.lower() for resource in message.resources] != [self._resource]:
                raise SiweInvalid(f"the message's one resource must be {self._resource}")
        except SiweInvalid as error:
            raise RequestRejected(401, "invalid_message", f"Refused: {error}.", "message") from None
        return message.address, message.nonce, expires_at_s

    def check_page(self, scope: Scope) -> None:
        """Raise 403 where a browser says that another site's page wants to sign it in."""
        check_no_other_page(scope, self._sign_in.uri)

    async def find(self, scope: Scope) -> SignedIn | None:
        """Return the session of a request's cookie; None where it has none that lives.

        Raises 403 where another site's page has made a browser send the cookie.
        """
        token = read_session_cookie(scope)
        if token is None:
            return None
        if scope["method"] not in SAFE_METHODS:
            check_own_page(scope, self._sign_in.uri)
        now_s = self._meter.now_s()
        return await self._meter.read(
            lambda connection: find_session(connection, hash_session(token), now_s=now_s)
        )

    async def identify(self, scope: Scope) -> KeyClaims:
        """Return what a signed-in wallet may ask as: the root key of the position that it names.

        Raises 400, 401, 403, 404, and ``LedgerUnavailable``.
        """
        session = await self.find(scope)
        if session is None:
            raise not_signed_in()
        token_id = _read_position(scope)

        def load(connection: Connection) -> tuple[str, int, int] | None:
            standing = load_standing(connection, token_id)
            if standing is None:
                return None
            revoked_at_s = load_revoked_at_s(connection, token_id) if standing.key_epoch else 0
            return standing.owner, standing.key_epoch, revoked_at_s

        found = await self._meter.read(load)
        if found is None:
            raise position_not_found()
        owner, key_epoch, revoked_at_s = found
        if owner != session.address:
            raise RequestRejected(
                403, "not_owner", "The signed-in wallet does not own this position.", "tokenId"
            )
        is_older = is_before_revocation(
            session.created_at_s * 1_000,
            revoked_at_s=revoked_at_s,
            now_s=self._meter.clock.now(),
        )
        if key_epoch > 0 and is_older:
            raise not_signed_in()
        return KeyClaims(token_id, key_epoch, session.session_id)


def hash_session(token: str) -> str:
    """Return what is stored of a cookie: its 256 random bits need no slow hash."""
    return sha256(token.encode()).hexdigest()


def read_session_cookie(scope: Scope) -> str | None:
    """Return the session's cookie; None without one, with two, or where it is none of ours."""
    token = read_cookie(scope, COOKIE)
    return token if token is not None and _TOKEN.fullmatch(token) else None


def _read_position(scope: Scope) -> int:
    text = find_header(scope, POSITION_HEADER) or ""
    if _TOKEN_ID.fullmatch(text) is None or int(text) > INTEGER_MAX:
        name = POSITION_HEADER.decode()
        raise bad_request("invalid_token_id", f"'{name}' must name a position.", param=name)
    return int(text)


def not_signed_in() -> RequestRejected:
    """401: there is no live session."""
    message = "Not signed in, or signed in before the keys were revoked: sign in again."
    return unauthorized("not_signed_in", message)
