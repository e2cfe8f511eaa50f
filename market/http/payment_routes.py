"""Top-ups of prepaid credit by x402, and a seller's own account."""

import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from contracts.units import format_usdc
from ledger.payments.claims import load_account_payments
from ledger.selling.accounts import set_seller_terms
from market.errors import bad_request, not_found, wrong_type
from market.http.dependencies import SIGNED, SellerDep, ServicesDep, errors_of
from market.http.front import find_payment, read_body
from market.http.schemas import SELLER_CHANGE, TOPUP
from market.identity.keys import Role
from market.listing.offers import parse_json
from market.payments.terms import CREDIT_HEADER, describe_payment
from market.pricing.amounts import parse_millionths, show_millionths
from market.records.store import KeyHolder, load_seller
from market.services import Services

router = APIRouter()

PAYMENTS_SHOWN: Final = 100
POLICIES: Final = ("at_once", "daily")


async def _get_payee(request: Request, services: ServicesDep) -> KeyHolder | None:
    """Return whose credit is bought: a key's, where one came, else the payer's own."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    return await services.authenticator.authenticate(header, Role.BUYER)


PayeeDep = Annotated[KeyHolder | None, Depends(_get_payee)]


@router.post(
    "/v1/buyer/credit/topup",
    responses=errors_of(400, 401, 402, 404, 405, 408, 413, 415),
    openapi_extra=TOPUP,
)
async def top_up(request: Request, services: ServicesDep, payee: PayeeDep) -> JSONResponse:
    """Buy credit by x402: for the account of the key that comes along, else of the payer."""
    if services.paywall is None:
        raise not_found("payment method")
    body = parse_json(await read_body(request.scope, request.receive, services))
    unknown = sorted(body.keys() - {"amount_usd"})
    if unknown:
        raise bad_request("unknown_field", f"{unknown[0][:60]!r} is not a field here.")
    amount_usdc = _read_amount(body.get("amount_usd"), services.paywall.rules.topup_usdc_max)
    payment, credit_usdc, headers = await services.paywall.top_up(
        find_payment(request.scope),
        path=request.url.path,
        amount_usdc=amount_usdc,
        account_id=None if payee is None else payee.owner,
    )
    answer = {
        "account_id": payment.account_id,
        "payment": describe_payment(payment),
        "available_usdc": credit_usdc,
    }
    return JSONResponse(answer, headers={**headers, CREDIT_HEADER: str(credit_usdc)})


def _read_amount(value: Any, usdc_max: int) -> int:
    try:
        amount_usdc = parse_millionths(value, maximum=usdc_max)
    except ValueError as error:
        raise bad_request("invalid_amount", f"'amount_usd' {error}.", param="amount_usd") from None
    if not 0 < amount_usdc <= usdc_max:
        message = f"'amount_usd' must be from 0.000001 to {format_usdc(usdc_max)}."
        raise bad_request("invalid_amount", message, param="amount_usd")
    return amount_usdc


async def load_topups(services: Services, account_id: str) -> list[dict[str, object]]:
    """Return the newest payments to an account, as its holder is told of them."""

    def query(connection: Connection) -> list[dict[str, object]]:
        found = load_account_payments(connection, account_id, limit=PAYMENTS_SHOWN)
        return [describe_payment(record) for record in found]

    return await services.database.read(query)


@router.get("/v1/seller/account", responses=SIGNED)
async def get_seller_account(services: ServicesDep, seller: SellerDep) -> dict[str, Any]:
    """Return what was agreed with the seller, and when it is paid."""
    return await _describe_seller(services, seller.owner)


@router.patch("/v1/seller/account", responses=SIGNED, openapi_extra=SELLER_CHANGE)
async def patch_seller_account(
    request: Request, services: ServicesDep, seller: SellerDep
) -> dict[str, Any]:
    """Choose when to be paid: ``at_once``, or ``daily`` at 02:00 UTC."""
    body = parse_json(await read_body(request.scope, request.receive, services))
    unknown = sorted(body.keys() - {"payout_policy"})
    if unknown:
        raise bad_request("unknown_field", f"{unknown[0][:60]!r} is not a field here.")
    policy = body.get("payout_policy")
    if policy not in POLICIES:
        raise wrong_type("payout_policy", " or ".join(repr(one) for one in POLICIES))
    now_s = int(time.time())
    await services.database.write(
        lambda connection: set_seller_terms(
            connection, address=seller.owner, payout_policy=policy, now_s=now_s
        )
    )
    return await _describe_seller(services, seller.owner)


async def _describe_seller(services: Services, address: str) -> dict[str, Any]:
    row = await services.database.read(lambda connection: load_seller(connection, address))
    if row is None:
        raise not_found("seller")
    agreed = row["fee_bps"]
    fee_bps = services.book.fee_bps if agreed is None else int(agreed)
    return {
        "address": row["address"],
        "payout_policy": row["payout_policy"],
        "fee_bps": fee_bps,
        "fee_pct": show_millionths(fee_bps * 10_000),
        "is_trusted": bool(row["is_trusted"]),
        "created_at": row["created_at_s"],
    }
