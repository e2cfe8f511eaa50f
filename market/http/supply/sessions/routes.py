"""Signing in by password, and the sessions that it begins."""

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from ledger.suppliers.callers import end_session, end_sessions, load_sessions
from market.errors import not_found
from market.http.dependencies import IdPath, ServicesDep
from market.http.supply.accounts.routes import describe_account
from market.http.supply.dependencies import (
    SESSION,
    SIGNED,
    UNSIGNED,
    SessionDep,
    keep_browser,
    read_object,
    read_open_object,
    set_cookie,
)
from market.http.supply.sessions.schemas import (
    Confirmation,
    Confirmed,
    SessionBegun,
    SessionList,
    SessionsEnded,
    SessionView,
    SignInWish,
)
from market.suppliers.callers import BROWSER_COOKIE, SESSION_COOKIE, read_cookie
from market.suppliers.emails import read_email
from market.suppliers.fields import Fields
from market.suppliers.supplier_tokens import derive_csrf_token, hash_token
from serving.http.document.writing import body_of

router = APIRouter(tags=["suppliers"])


@router.post(
    "/v1/supply/sessions",
    status_code=201,
    responses=UNSIGNED,
    openapi_extra=body_of(SignInWish),
    name="sign_in_as_supplier",
)
async def sign_in(request: Request, services: ServicesDep, response: Response) -> SessionBegun:
    """Sign in by address and password, and by a one-time code where they are on."""
    fields = Fields(await read_open_object(request, services), ("email", "password", "code"))
    signing_in = services.suppliers.signing_in
    caller, token = await signing_in.sign_in(
        read_email(fields.get("email")),
        fields.get("password"),
        fields.get("code"),
        address=services.limits.address_of(request.scope),
        user_agent=request.headers.get("user-agent", ""),
        browser=read_cookie(request, BROWSER_COOKIE),
    )
    keep_browser(response, services, caller.supplier.email)
    before = read_cookie(request, SESSION_COOKIE)
    if before is not None:
        # What the browser had before goes: a cookie that was put there by somebody else, too.
        await services.suppliers.callers.end_by_hash(hash_token(before))
    lifetime_s = signing_in.rules.lifetime_s
    set_cookie(response, SESSION_COOKIE, token.text, lifetime_s=lifetime_s)
    assert caller.session_id is not None
    return SessionBegun(
        session_id=caller.session_id,
        csrf_token=derive_csrf_token(token.text),
        expires_at=caller.fresh_at_s + lifetime_s,
        account=describe_account(caller.supplier),
    )


@router.get(
    "/v1/supply/sessions", responses=SIGNED, dependencies=SESSION, name="list_supplier_sessions"
)
async def list_sessions(request: Request, services: ServicesDep, caller: SessionDep) -> SessionList:
    """List where the account is signed in; and the token that the asking page sends."""
    idle_s, now_s = services.suppliers.signing_in.rules.idle_s, services.database.now_s()
    rows = await services.database.read(
        lambda connection: load_sessions(connection, caller.supplier_id, idle_s=idle_s, now_s=now_s)
    )
    return SessionList(
        csrf_token=derive_csrf_token(read_cookie(request, SESSION_COOKIE) or ""),
        sessions=[
            SessionView(
                session_id=row["session_id"],
                user_agent=row["user_agent"],
                is_current=row["session_id"] == caller.session_id,
                created_at=row["created_at_s"],
                seen_at=row["seen_at_s"],
                expires_at=row["expires_at_s"],
            )
            for row in rows
        ],
    )


@router.post(
    "/v1/supply/sessions/confirm",
    responses=SIGNED,
    dependencies=SESSION,
    openapi_extra=body_of(Confirmation),
    name="confirm_supplier_session",
)
async def confirm(request: Request, services: ServicesDep, caller: SessionDep) -> Confirmed:
    """Show the password, or a one-time code, again: for what decides where money goes."""
    fields = Fields(await read_object(request, services, caller), ("password", "code"))
    await services.suppliers.signing_in.confirm(
        caller, password=fields.get("password"), code=fields.get("code")
    )
    until_s = services.database.now_s() + services.suppliers.signing_in.rules.fresh_s
    return Confirmed(until_at=until_s)


@router.delete(
    "/v1/supply/sessions", responses=SIGNED, dependencies=SESSION, name="sign_out_supplier"
)
async def sign_out(
    services: ServicesDep, caller: SessionDep, response: Response, everywhere: bool = False
) -> SessionsEnded:
    """Sign out: end this session; with ``everywhere`` all of the account's."""

    def end(connection: Connection) -> None:
        if everywhere:
            end_sessions(connection, caller.supplier_id)
        elif caller.session_id is not None:
            end_session(connection, supplier_id=caller.supplier_id, session_id=caller.session_id)

    await services.suppliers.callers.write_as(caller, end)
    set_cookie(response, SESSION_COOKIE, "", lifetime_s=0)
    return SessionsEnded()


@router.delete(
    "/v1/supply/sessions/{session_id}",
    responses=SIGNED,
    dependencies=SESSION,
    name="end_supplier_session",
)
async def end_one(services: ServicesDep, caller: SessionDep, session_id: IdPath) -> SessionsEnded:
    """End one of the account's sessions, at once."""
    found = await services.suppliers.callers.write_as(
        caller,
        lambda connection: end_session(
            connection, supplier_id=caller.supplier_id, session_id=session_id
        ),
    )
    if not found:
        raise not_found("session")
    return SessionsEnded()
