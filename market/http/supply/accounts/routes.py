"""A supplier's account: opened, its password changed, its one-time codes."""

from fastapi import APIRouter, Request, Response

from ledger.suppliers.accounts import SupplierRecord, load_supplier
from market.http.dependencies import ServicesDep
from market.http.supply.accounts.schemas import (
    AccountWish,
    Codes,
    CodesBegun,
    CodeWish,
    PasswordChange,
    PasswordChanged,
    PasswordReset,
    ResetWish,
    SupplierAccount,
)
from market.http.supply.applications.schemas import MailOnItsWay
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
from market.suppliers.callers import SIGN_UP_COOKIE, not_signed_in, read_cookie
from market.suppliers.emails import read_email
from market.suppliers.fields import Fields
from serving.http.document.writing import body_of

router = APIRouter(tags=["suppliers"])


@router.post(
    "/v1/supply/accounts",
    status_code=201,
    responses=UNSIGNED,
    openapi_extra=body_of(AccountWish),
    name="open_supplier_account",
)
async def open_account(
    request: Request, services: ServicesDep, response: Response
) -> SupplierAccount:
    """Open the account of the address that was just confirmed in this browser."""
    fields = Fields(await read_open_object(request, services), ("password",))
    supplier_id, _ = await services.suppliers.joining.open_account(
        read_cookie(request, SIGN_UP_COOKIE), fields.get("password")
    )
    found = await services.database.read(lambda connection: load_supplier(connection, supplier_id))
    if found is None:
        raise not_signed_in()
    set_cookie(response, SIGN_UP_COOKIE, "", lifetime_s=0)
    return describe_account(found)


@router.get(
    "/v1/supply/account", responses=SIGNED, dependencies=SESSION, name="get_supplier_account"
)
async def get_account(caller: SessionDep) -> SupplierAccount:
    """Return the account that is signed in."""
    return describe_account(caller.supplier)


@router.post(
    "/v1/supply/password-resets",
    status_code=202,
    responses=UNSIGNED,
    openapi_extra=body_of(ResetWish),
    name="ask_for_password_reset",
)
async def ask_for_reset(request: Request, services: ServicesDep) -> MailOnItsWay:
    """Ask for a mail to choose another password by. The answer is the same for every address."""
    fields = Fields(await read_open_object(request, services), ("email",))
    await services.suppliers.joining.ask_for_reset(read_email(fields.get("email")))
    return MailOnItsWay(
        message="If there is an account for this address, a mail is on its way to it: one an hour."
    )


@router.post(
    "/v1/supply/password-resets/confirm",
    responses=UNSIGNED,
    openapi_extra=body_of(PasswordReset),
    name="reset_password",
)
async def reset(request: Request, services: ServicesDep, response: Response) -> PasswordChanged:
    """Choose another password by the mail's token, once, within an hour. All sessions end. Whatever
    strangers try meanwhile, this browser may sign in then."""
    fields = Fields(await read_open_object(request, services), ("token", "password"))
    token = fields.text("token", length_max=64)
    email = await services.suppliers.joining.reset(str(token), fields.get("password"))
    keep_browser(response, services, email)
    return PasswordChanged()


@router.put(
    "/v1/supply/password",
    responses=SIGNED,
    dependencies=SESSION,
    openapi_extra=body_of(PasswordChange),
    name="change_supplier_password",
)
async def change_password(
    request: Request, services: ServicesDep, caller: SessionDep
) -> PasswordChanged:
    """Choose another password by the present one. All other sessions end."""
    fields = Fields(await read_object(request, services, caller), ("password", "new_password"))
    await services.suppliers.signing_in.change_password(
        caller, password=fields.get("password"), new=fields.get("new_password")
    )
    return PasswordChanged()


@router.post(
    "/v1/supply/codes",
    status_code=201,
    responses=SIGNED,
    dependencies=SESSION,
    name="begin_supplier_codes",
)
async def begin_codes(services: ServicesDep, caller: SessionDep, response: Response) -> CodesBegun:
    """Begin with one-time codes: the password must have been shown just now."""
    secret, url = await services.suppliers.signing_in.begin_codes(caller)
    response.headers["cache-control"] = "no-store"
    return CodesBegun(secret=secret, url=url)


@router.post(
    "/v1/supply/codes/confirm",
    responses=SIGNED,
    dependencies=SESSION,
    openapi_extra=body_of(CodeWish),
    name="confirm_supplier_codes",
)
async def confirm_codes(request: Request, services: ServicesDep, caller: SessionDep) -> Codes:
    """Have codes asked for from now on, by a first right one. All other sessions end."""
    fields = Fields(await read_object(request, services, caller), ("code",))
    await services.suppliers.signing_in.confirm_codes(caller, fields.get("code"))
    return Codes(has_codes=True)


@router.delete(
    "/v1/supply/codes", responses=SIGNED, dependencies=SESSION, name="end_supplier_codes"
)
async def end_codes(services: ServicesDep, caller: SessionDep) -> Codes:
    """Have codes asked for no more: the password or a code must have been shown just now."""
    await services.suppliers.signing_in.end_codes(caller)
    return Codes(has_codes=False)


def describe_account(supplier: SupplierRecord) -> SupplierAccount:
    """Return an account as answers state it."""
    return SupplierAccount.model_validate(
        {
            "supplier_id": supplier.supplier_id,
            "email": supplier.email,
            "role": supplier.role,
            "kyb_status": supplier.kyb_status,
            "has_codes": supplier.has_totp,
            "created_at": supplier.created_at_s,
        }
    )
