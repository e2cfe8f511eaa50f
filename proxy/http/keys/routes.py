"""Signing in for a root key; the key that asks."""

import asyncio
import secrets

import structlog
from fastapi import APIRouter, Request
from sqlalchemy import Connection

from contracts.errors import Retryable
from contracts.signatures import parse_signature
from contracts.siwe import SiweInvalid
from ledger.spending.keys import (
    NonceUsed,
    load_child,
    save_issued_key,
    use_nonce,
)
from proxy.errors import chain_state_stale, position_not_found
from proxy.http.dependencies import BEARER, ClaimsDep, ServicesDep
from proxy.http.keys.bodies import parse
from proxy.http.keys.child_schemas import (
    describe_child,
)
from proxy.http.keys.schemas import KeyIssued, KeyRequest, KeySelf, NonceView, SignInRequest
from proxy.http.token_ids import parse_token_id
from proxy.keys.authentication import check_standing
from proxy.keys.key_message import (
    PAST_TOLERANCE_MS,
    build_key_message,
    build_key_nonce,
    is_before_revocation,
    is_timestamp_current,
)
from proxy.keys.tokens import KEY_ID_BYTES, KeyClaims
from proxy.services import Services
from proxy.store import KeyStanding, load_revoked_at_s, load_standing
from serving.http.document.schemas import errors_of
from serving.http.document.writing import body_of
from serving.http.errors import RequestRejected, bad_request, unavailable
from serving.http.strict_json import parse_json_object

log = structlog.get_logger("proxy")


router = APIRouter(prefix="/keys", tags=["keys"])


@router.get("/nonce", responses=errors_of(400))
async def create_nonce(
    request: Request, services: ServicesDep, tokenId: str | None = None
) -> NonceView:
    """Return a nonce for one sign-in by EIP-4361, and the message's other fields.

    With `tokenId` the template lacks only your address and the time.
    """
    services.limits.take_nonce(request.scope)
    token_id = None
    if tokenId is not None:
        try:
            token_id = parse_token_id(tokenId)
        except ValueError as error:
            raise bad_request("invalid_token_id", f"'tokenId' {error}.", param="tokenId") from None
    return NonceView.model_validate(
        services.sign_in.describe(token_id, now_s=services.meter.now_s())
    )


@router.post(
    "",
    responses=errors_of(400, 401, 403, 404, 408, 413, 415),
    openapi_extra=body_of(SignInRequest, KeyRequest),
)
async def issue_key(request: Request, services: ServicesDep) -> KeyIssued:
    """Issue an API key to the owner of a position, who proves it with a wallet signature.

    Either `{message, signature}` by EIP-4361 with a nonce from `/keys/nonce`, or
    `{tokenId, signature, timestamp}` over the plain text.
    """
    raw = await services.limits.read_sign_in(request.scope, request.receive, services)
    now_s = services.meter.clock.now()
    if "message" in parse_json_object(raw):
        return await _issue_for_sign_in(services, parse(raw, SignInRequest), now_s=now_s)
    wish = parse(raw, KeyRequest)
    if not services.legacy_key_message:
        message = "Sign in by EIP-4361: GET /api/current/keys/nonce says what to sign."
        raise RequestRejected(403, "sign_in_required", message)
    if not is_timestamp_current(wish.timestamp, now_ms=int(now_s * 1_000)):
        message = (
            "The timestamp (milliseconds) must be at most five minutes old, and at most 30 s"
            " ahead: sign again."
        )
        raise RequestRejected(401, "signature_expired", message, "timestamp")
    signature = _parse_signature(wish.signature)
    standing = await _load_standing(services, wish.tokenId, now_s=int(now_s))
    text = build_key_message(token_id=wish.tokenId, timestamp_ms=wish.timestamp)
    await _check_signed(services, standing.owner, text, signature)
    await _check_not_revoked(services, wish.tokenId, standing, wish.timestamp, now_s=now_s)
    nonce = (build_key_nonce(text), (wish.timestamp + PAST_TOLERANCE_MS) // 1_000 + 1)
    return await _issue(services, wish.tokenId, standing, now_s=int(now_s), nonce=nonce)


async def _issue_for_sign_in(services: Services, wish: SignInRequest, *, now_s: float) -> KeyIssued:
    signature = _parse_signature(wish.signature)
    try:
        message, token_id, expires_at_s = services.sign_in.read_message(wish.message, now_s=now_s)
    except SiweInvalid as error:
        raise RequestRejected(401, "invalid_message", f"Refused: {error}.", "message") from None
    standing = await _load_standing(services, token_id, now_s=int(now_s))
    if message.address != standing.owner:
        text = "The message's address is not the position's owner."
        raise RequestRejected(401, "invalid_signature", text, "message")
    await _check_signed(services, standing.owner, wish.message, signature)
    # By our nonce's time: what the message says of its own is the wallet's.
    given_out_ms = (expires_at_s - services.sign_in.nonce_lifetime_s) * 1_000
    await _check_not_revoked(services, token_id, standing, given_out_ms, now_s=now_s)
    nonce = (message.nonce, expires_at_s)
    return await _issue(services, token_id, standing, now_s=int(now_s), nonce=nonce)


def _parse_signature(text: str) -> bytes:
    signature = parse_signature(text)
    if signature is None:
        raise bad_request("invalid_signature", "'signature' must be 0x hex.", param="signature")
    return signature


async def _load_standing(services: Services, token_id: int, *, now_s: int) -> KeyStanding:
    standing = await services.meter.read(lambda connection: load_standing(connection, token_id))
    if standing is None:
        raise position_not_found()
    mirror = standing.mirror
    if mirror is None or abs(now_s - mirror.observed_at_s) > services.meter.max_staleness_s:
        raise chain_state_stale()
    return standing


async def _check_signed(services: Services, owner: str, text: str, signature: bytes) -> None:
    try:
        is_signed = await asyncio.to_thread(services.checker.is_signed_by, owner, text, signature)
    except Retryable as error:
        message = "The wallet contract cannot be asked now: the chain does not answer."
        raise unavailable("chain_unavailable", message) from error
    if not is_signed:
        message = "The signature is not by the position's owner, or not over the exact text."
        raise RequestRejected(401, "invalid_signature", message, "signature")


async def _check_not_revoked(
    services: Services, token_id: int, standing: KeyStanding, signed_at_ms: int, *, now_s: float
) -> None:
    """Refuse what was signed before the owner last revoked all keys."""
    if standing.key_epoch == 0:
        return
    revoked_at_s = await services.meter.read(lambda c: load_revoked_at_s(c, token_id))
    if is_before_revocation(signed_at_ms, revoked_at_s=revoked_at_s, now_s=now_s):
        message = "This was signed before the position's keys were revoked: sign again."
        raise RequestRejected(401, "signature_expired", message)


async def _issue(
    services: Services,
    token_id: int,
    standing: KeyStanding,
    *,
    now_s: int,
    nonce: tuple[str, int],
) -> KeyIssued:
    """Issue a root key for a signature, which is used up. ``nonce``: itself and its expiry."""
    claims = KeyClaims(token_id, standing.key_epoch, secrets.token_hex(KEY_ID_BYTES))

    def save(connection: Connection) -> None:
        use_nonce(connection, nonce[0], expires_at_s=nonce[1])
        save_issued_key(
            connection,
            key_id=claims.key_id,
            token_id=token_id,
            key_epoch=claims.key_epoch,
            now_s=now_s,
        )

    try:
        await services.meter.write(save)
    except NonceUsed:
        text = "This signature was used before: sign again."
        raise RequestRejected(401, "nonce_used", text) from None
    services.metrics.keys_issued.inc()
    log.info("key_issued", token_id=token_id, key_id=claims.key_id, key_epoch=claims.key_epoch)
    # So that a hold is there by the time of the first request.
    services.meter.note_demand(token_id, 0)
    return KeyIssued(
        apiKey=services.ring.build_key(claims),
        tokenId=str(token_id),
        keyEpoch=claims.key_epoch,
        keyId=claims.key_id,
    )


@router.get("/self", responses=errors_of(400, 401, 403, 404), dependencies=BEARER)
async def show_own_key(claims: ClaimsDep, services: ServicesDep) -> KeySelf:
    """Show the key that asks: its kind, and a child key's limits and what is used of them."""
    await check_standing(claims, services.meter)
    child = None
    if claims.is_child:
        row = await services.meter.read(
            lambda c: load_child(c, claims.key_id, token_id=claims.token_id)
        )
        assert row is not None
        child = describe_child(row, now_s=services.meter.now_s())
    return KeySelf(
        keyId=claims.key_id,
        tokenId=str(claims.token_id),
        keyEpoch=claims.key_epoch,
        kind="child" if claims.is_child else "root",
        child=child,
    )
