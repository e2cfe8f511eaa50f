"""A supplier's API keys, for programs: what each may do is said when it is made."""

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from ledger.errors import TooMany
from ledger.suppliers.accounts import lock_supplier
from ledger.suppliers.callers import (
    load_supplier_keys,
    revoke_supplier_key,
    save_supplier_key,
)
from market.errors import not_found
from market.http.dependencies import TIME_MAX_S, IdPath, ServicesDep, read_label
from market.http.supply.dependencies import SESSION, SIGNED, SessionDep, read_object
from market.http.supply.keys.schemas import (
    LABEL_MAX,
    SupplyKeyIssued,
    SupplyKeyList,
    SupplyKeyRevoked,
    SupplyKeyView,
    SupplyKeyWish,
)
from market.suppliers.fields import Fields
from market.suppliers.supplier_tokens import KEY_PREFIX, Scope, make_token
from serving.http.document.writing import body_of
from serving.http.errors import RequestRejected, wrong_type
from serving.http.strict_json import INTEGER_MAX
from serving.process.ids import new_id

router = APIRouter(tags=["suppliers"])


@router.post(
    "/v1/supply/keys",
    status_code=201,
    responses=SIGNED,
    dependencies=SESSION,
    openapi_extra=body_of(SupplyKeyWish),
    name="issue_supply_key",
)
async def issue(
    request: Request, services: ServicesDep, caller: SessionDep, response: Response
) -> SupplyKeyIssued:
    """Make an API key with scopes, which is shown this once. At most 25 are live."""
    body = await read_object(request, services, caller)
    fields = Fields(body, SupplyKeyWish.model_fields)
    label = read_label(body, length_max=LABEL_MAX)
    now_s = services.database.now_s()
    expires_at_s = fields.integer("expires_at", low=1, high=INTEGER_MAX, is_needed=False)
    if expires_at_s is not None and not now_s < expires_at_s <= TIME_MAX_S:
        raise wrong_type("expires_at", "a time to come, in Unix seconds")
    scopes = fields.list_of("scopes", count_max=len(Scope))
    known = {str(scope) for scope in Scope}
    if not scopes or not all(isinstance(scope, str) and scope in known for scope in scopes):
        raise wrong_type("scopes", "a list of " + " or ".join(sorted(known)))
    key, key_id = make_token(KEY_PREFIX), new_id()

    def save(connection: Connection) -> None:
        lock_supplier(connection, caller.supplier_id)
        save_supplier_key(
            connection,
            key_id=key_id,
            key_hash=key.token_hash,
            supplier_id=caller.supplier_id,
            label=label,
            scopes=frozenset(scopes),
            expires_at_s=expires_at_s,
            now_s=now_s,
        )

    try:
        await services.suppliers.callers.write_as(caller, save)
    except TooMany as error:
        message = f"{error}: revoke one first, and see that keys are used again."
        raise RequestRejected(409, "too_many_keys", message) from None
    response.headers["cache-control"] = "no-store"
    return SupplyKeyIssued(
        key_id=key_id,
        api_key=key.text,
        label=label,
        scopes=sorted(set(scopes)),
        expires_at=expires_at_s,
    )


@router.get("/v1/supply/keys", responses=SIGNED, dependencies=SESSION, name="list_supply_keys")
async def list_keys(services: ServicesDep, caller: SessionDep) -> SupplyKeyList:
    """List the supplier's keys; none of them can be shown again."""
    rows = await services.database.read(
        lambda connection: load_supplier_keys(connection, caller.supplier_id)
    )
    return SupplyKeyList(
        keys=[
            SupplyKeyView(
                key_id=row["key_id"],
                label=row["label"],
                scopes=row["scopes"].split(),
                created_at=row["created_at_s"],
                expires_at=row["expires_at_s"],
                revoked_at=row["revoked_at_s"],
            )
            for row in rows
        ]
    )


@router.delete(
    "/v1/supply/keys/{key_id}", responses=SIGNED, dependencies=SESSION, name="revoke_supply_key"
)
async def revoke(services: ServicesDep, caller: SessionDep, key_id: IdPath) -> SupplyKeyRevoked:
    """Revoke a key, at once and for good."""
    now_s = services.database.now_s()
    found = await services.suppliers.callers.write_as(
        caller,
        lambda connection: revoke_supplier_key(
            connection, supplier_id=caller.supplier_id, key_id=key_id, now_s=now_s
        ),
    )
    if not found:
        raise not_found("key")
    return SupplyKeyRevoked(key_id=key_id)
