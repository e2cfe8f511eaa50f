"""Signing in, signing out, and what a wallet owns."""

import re
from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Connection

from ledger.spending.wallet_sessions import SignedIn, end_session, list_sessions
from proxy.http.dependencies import ServicesDep
from proxy.http.keys.bodies import parse
from proxy.http.sessions.schemas import (
    OwnedPosition,
    OwnedPositions,
    SessionEnded,
    SessionMessage,
    SessionState,
    SessionView,
    SessionWish,
)
from proxy.keys.wallet_sessions import COOKIE, not_signed_in
from proxy.services import Services
from proxy.store import load_owned
from serving.http.document.schemas import errors_of
from serving.http.document.writing import body_of
from serving.http.errors import RequestRejected, bad_request
from serving.http.own_pages import write_cookie

router = APIRouter(tags=["sessions"])

_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
AddressQuery = Annotated[str, Query(max_length=64)]


def _check_address(address: str, name: str) -> str:
    if _ADDRESS.fullmatch(address) is None:
        raise bad_request("invalid_address", f"'{name}' must be an Ethereum address.", param=name)
    return address


@router.get("/session/message", responses=errors_of(400))
async def create_session_message(
    request: Request, services: ServicesDep, address: AddressQuery
) -> SessionMessage:
    """Return a message by EIP-4361 that signs a wallet in, once and within some minutes."""
    services.limits.take_nonce(request.scope)
    message = services.sessions.build_message(_check_address(address, "address"))
    return SessionMessage(message=message)


@router.post(
    "/session",
    responses=errors_of(400, 401, 403, 408, 413, 415),
    openapi_extra=body_of(SessionWish),
)
async def sign_in(request: Request, response: Response, services: ServicesDep) -> SessionState:
    """Sign a wallet in: the answer sets a cookie that only this server gets, and no script reads.

    With it and `x-current-position: <tokenId>`, this browser asks as the position's root key.
    Another site's page is refused: it could sign a visitor in as somebody else.
    """
    services.sessions.check_page(request.scope)
    raw = await services.limits.read_sign_in(request.scope, request.receive, services)
    wish = parse(raw, SessionWish)
    opened = await services.sessions.open(
        message=wish.message,
        signature=wish.signature,
        user_agent=request.headers.get("user-agent", ""),
    )
    lifetime_s = services.sessions.lifetime_s
    response.headers["set-cookie"] = write_cookie(COOKIE, opened.token, lifetime_s=lifetime_s)
    return await _describe(services, opened.session)


@router.get("/session", responses=errors_of())
async def show_session(request: Request, services: ServicesDep) -> SessionState:
    """Show who is signed in in this browser, where else, and what the wallet owns."""
    return await _describe(services, await services.sessions.find(request.scope))


@router.delete("/session/{sessionId}", responses=errors_of(401, 403, 404))
async def sign_out(
    request: Request, response: Response, services: ServicesDep, sessionId: str
) -> SessionEnded:
    """End a session of the signed-in wallet, at once and for good; `this` is the one that asks."""
    session = await services.sessions.find(request.scope)
    if session is None:
        raise not_signed_in()
    session_id = session.session_id if sessionId == "this" else sessionId
    is_ended = await services.meter.write(
        lambda connection: end_session(connection, session.address, session_id)
    )
    if not is_ended:
        raise RequestRejected(404, "session_not_found", "There is no such session.", "sessionId")
    if session_id == session.session_id:
        response.headers["set-cookie"] = write_cookie(COOKIE, "", lifetime_s=0)
    return SessionEnded(session_id=session_id)


@router.get("/positions", responses=errors_of(400))
async def list_positions(services: ServicesDep, owner: AddressQuery) -> OwnedPositions:
    """List the positions of a wallet."""
    address = _check_address(owner, "owner").lower()
    positions = await services.meter.read(lambda connection: _load_owned(connection, address))
    return OwnedPositions(owner=address, positions=positions)


async def _describe(services: Services, session: SignedIn | None) -> SessionState:
    if session is None:
        return SessionState(
            address=None, session_id=None, expires_at_s=None, sessions=[], positions=[]
        )
    now_s = services.meter.now_s()

    def load(connection: Connection) -> tuple[Sequence[SignedIn], list[OwnedPosition]]:
        sessions = list_sessions(connection, session.address, now_s=now_s)
        return sessions, _load_owned(connection, session.address)

    sessions, positions = await services.meter.read(load)
    return SessionState(
        address=session.address,
        session_id=session.session_id,
        expires_at_s=session.expires_at_s,
        sessions=[
            SessionView(
                session_id=one.session_id,
                user_agent=one.user_agent,
                created_at_s=one.created_at_s,
                expires_at_s=one.expires_at_s,
                is_this=one.session_id == session.session_id,
            )
            for one in sessions
        ],
        positions=positions,
    )


def _load_owned(connection: Connection, address: str) -> list[OwnedPosition]:
    return [OwnedPosition(**owned) for owned in load_owned(connection, address)]
