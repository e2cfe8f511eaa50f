"""Signing in with a wallet, and the keys that it gives: the same for sellers and buyers."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import RowMapping

from ledger.selling.accounts import revoke_key
from market.errors import not_found
from market.http.dependencies import (
    BUYER_KEY,
    COOKIES,
    OPEN,
    SELLER_KEY,
    SIGNED,
    TIME_MAX_S,
    IdPath,
    ServicesDep,
    get_buyer,
    get_seller,
    read_label,
    read_string,
)
from market.http.sign_in.schemas import (
    LABEL_MAX,
    ChallengeView,
    KeyIssued,
    KeyList,
    KeyRevoked,
    KeyView,
    KeyWish,
)
from market.identity.authentication import STATEMENTS
from market.identity.keys import Role, is_address
from market.records.store import KeyHolder, load_keys
from serving.http.document.writing import body_of
from serving.http.errors import wrong_type
from serving.http.own_pages import check_no_other_page, read_cookie, write_cookie
from serving.http.strict_json import parse_exact_json

router = APIRouter(tags=["keys"])

SESSION_LIFETIME_S: Final = 7 * 86_400
"""How long a wallet stays signed in in a browser, unless it says otherwise."""


def _add_sign_in(role: Role) -> None:
    prefix = f"/v1/{role}/auth"
    is_seller = role is Role.SELLER
    holder_dep = get_seller if is_seller else get_buyer
    key = SELLER_KEY if is_seller else BUYER_KEY

    @router.get(
        f"{prefix}/challenge",
        responses=OPEN,
        name=f"challenge_{role}",
    )
    async def challenge(
        request: Request, services: ServicesDep, address: Annotated[str, Query(max_length=64)]
    ) -> ChallengeView:
        """Return a message by EIP-4361 for a wallet to sign within five minutes, once."""
        services.limits.take_nonce(request.scope)
        if not is_address(address):
            raise wrong_type("address", "an Ethereum address")
        made = services.authenticator.build_challenge(role, address, statement=STATEMENTS[role])
        return ChallengeView(message=made.message, nonce=made.nonce, expires_at=made.expires_at_s)

    @router.post(
        f"{prefix}/keys",
        status_code=201,
        responses=SIGNED,
        openapi_extra=body_of(KeyWish),
        name=f"issue_{role}_key",
    )
    async def issue(request: Request, response: Response, services: ServicesDep) -> KeyIssued:
        """Trade a signed challenge for a key, which is shown this once.

        A key that becomes a browser's cookie (`session`) is given to our own pages only.
        """
        raw = await services.limits.read_sign_in(request.scope, request.receive, services)
        body = parse_exact_json(raw)
        label = read_label(body, length_max=LABEL_MAX)
        now_s = services.database.now_s()
        expires_at_s = _read_expiry(body, now_s=now_s)
        is_session = body.get("session", False)
        if not isinstance(is_session, bool):
            raise wrong_type("session", "true or false")
        if is_session:
            check_no_other_page(request.scope, services.origin)
        if is_session and expires_at_s is None:
            expires_at_s = now_s + SESSION_LIFETIME_S
        trusted_only = body.get("trusted_only")
        if trusted_only is not None and (is_seller or not isinstance(trusted_only, bool)):
            raise wrong_type("trusted_only", "true or false, of a buyer's key")
        issued = await services.authenticator.issue_key(
            role,
            message=read_string(body, "message", length_max=10_000),
            signature=read_string(body, "signature", length_max=100_000),
            label=label,
            expires_at_s=expires_at_s,
            trusted_only=trusted_only,
        )
        if is_session and expires_at_s is not None:
            response.headers["set-cookie"] = write_cookie(
                COOKIES[role], issued.text, lifetime_s=expires_at_s - now_s
            )
        return KeyIssued(
            key_id=issued.key_id,
            api_key="" if is_session else issued.text,
            label=label,
            expires_at=expires_at_s,
            trusted_only=trusted_only,
        )

    @router.get(f"{prefix}/keys", responses=SIGNED, dependencies=key, name=f"list_{role}_keys")
    async def list_keys(
        services: ServicesDep, holder: Annotated[KeyHolder, Depends(holder_dep)]
    ) -> KeyList:
        """List the keys of the wallet; none of them can be shown again."""
        rows = await services.database.read(
            lambda connection: load_keys(connection, kind=role, owner=holder.owner)
        )
        return KeyList(keys=[_describe_key(row, current=holder.key_id) for row in rows])

    @router.delete(
        f"{prefix}/keys/{{key_id}}",
        responses=SIGNED,
        dependencies=key,
        name=f"revoke_{role}_key",
    )
    async def revoke(
        request: Request,
        response: Response,
        services: ServicesDep,
        holder: Annotated[KeyHolder, Depends(holder_dep)],
        key_id: IdPath,
    ) -> KeyRevoked:
        """Revoke a key of the wallet, at once and for good. A browser that revokes its own is
        signed out: its cookie goes too."""
        now_s = services.database.now_s()
        found = await services.write_as(
            holder,
            lambda connection: revoke_key(
                connection, kind=role, owner=holder.owner, key_id=key_id, now_s=now_s
            ),
        )
        services.authenticator.forget()
        if not found:
            raise not_found("key")
        if key_id == holder.key_id and read_cookie(request.scope, COOKIES[role]):
            response.headers["set-cookie"] = write_cookie(COOKIES[role], "", lifetime_s=0)
        return KeyRevoked(key_id=key_id)


_add_sign_in(Role.SELLER)
_add_sign_in(Role.BUYER)


def _read_expiry(body: Mapping[str, Any], *, now_s: int) -> int | None:
    value = body.get("expires_at")
    if value is None:
        return None
    if type(value) is not int or not now_s < value <= TIME_MAX_S:
        raise wrong_type("expires_at", "a time to come, in Unix seconds")
    return int(value)


def _describe_key(row: RowMapping, *, current: str) -> KeyView:
    return KeyView(
        is_current=row["key_id"] == current,
        key_id=row["key_id"],
        label=row["label"],
        created_at=row["created_at_s"],
        expires_at=row["expires_at_s"],
        revoked_at=row["revoked_at_s"],
        trusted_only=row["trusted_only"],
    )
