"""A buyer's account, and top-ups of its prepaid credit by x402."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response

from contracts.units import format_usdc
from ledger.payments.claims import load_account_payments
from ledger.payments.records import PaymentRecord
from market.errors import not_found
from market.http.buyers.schemas import BuyerAccount, BuyerSale, PaymentView, ToppedUp, TopUpWish
from market.http.dependencies import BUYER_KEY, CALL, SIGNED, BuyerDep, IdPath, ServicesDep
from market.http.paying import find_payment
from market.identity.keys import Role
from market.payments.payment_terms import CREDIT_HEADER, describe_payment
from market.pricing.amounts import parse_millionths
from market.records.store import KeyHolder, load_account, load_buyer_sales
from market.services import Services
from serving.http.bodies import read_body
from serving.http.document.writing import body_of
from serving.http.errors import bad_request
from serving.http.strict_json import check_fields, parse_exact_json

router = APIRouter(tags=["buyers"])

PAYMENTS_SHOWN: Final = 100

_PRECEDENCE: Final = ("voided", "reserved", "posted")
"""The states of attempts; of a request, the last of these that one of its attempts is in."""


async def _get_payee(request: Request, services: ServicesDep) -> KeyHolder | None:
    """Return whose credit is bought: a key's, where one came, else the payer's own."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    return await services.identify(header, Role.BUYER)


PayeeDep = Annotated[KeyHolder | None, Depends(_get_payee)]


@router.get("/v1/buyer/account", responses=SIGNED, dependencies=BUYER_KEY)
async def get_account(services: ServicesDep, buyer: BuyerDep) -> BuyerAccount:
    """Return the buyer's credit, in 1e-6 USDC."""
    row = await services.database.read(lambda connection: load_account(connection, buyer.owner))
    if row is None:
        raise not_found("account")
    credited, spent, reserved = (
        int(row[name]) for name in ("credited_usdc", "spent_usdc", "reserved_usdc")
    )
    return BuyerAccount(
        account_id=row["account_id"],
        wallet=row["wallet"],
        credited_usdc=credited,
        spent_usdc=spent,
        reserved_usdc=reserved,
        available_usdc=credited - spent - reserved,
        payments=await _load_payments(services, buyer.owner),
    )


@router.get("/v1/buyer/sales/{request_id}", responses=SIGNED, dependencies=BUYER_KEY)
async def get_sale(services: ServicesDep, buyer: BuyerDep, request_id: IdPath) -> BuyerSale:
    """Return what one request of the account came to, in 1e-6 USDC.

    For whoever did not see the end of a stream. Requests that were served by a provider of one's
    own, or by nobody, have no record.
    """
    tried = await services.database.read(
        lambda connection: load_buyer_sales(connection, buyer.owner, request_id=request_id)
    )
    if not tried:
        raise not_found("sale")
    row = max(tried, key=lambda one: (_PRECEDENCE.index(one["state"]), one["attempt"]))
    is_voided = row["state"] == "voided"
    return BuyerSale(
        request_id=request_id,
        state=row["state"],
        model=row["model"],
        endpoint=row["endpoint"],
        offer_id=row["offer_id"],
        attempts=len(tried),
        cost_usdc=0 if is_voided else row["cost_usdc"],
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
    )


@router.post(
    "/v1/buyer/credit/topup",
    responses=CALL,
    dependencies=BUYER_KEY,
    openapi_extra=body_of(TopUpWish),
)
async def top_up(
    request: Request, response: Response, services: ServicesDep, payee: PayeeDep
) -> ToppedUp:
    """Buy credit by x402: for the account of the key that comes along, else of the payer."""
    if services.paywall is None:
        raise not_found("payment method")
    if payee is not None:
        raw = await services.read_body(request, payee)
    else:
        keep_open = services.limits.keep_open
        raw = await read_body(request.scope, request.receive, services, keep_open=keep_open)
    body = parse_exact_json(raw)
    check_fields(body, TopUpWish.model_fields)
    amount_usdc = _read_amount(body.get("amount_usd"), services.paywall.rules.topup_usdc_max)
    payment, credit_usdc, headers = await services.paywall.top_up(
        find_payment(request.scope),
        path=request.url.path,
        amount_usdc=amount_usdc,
        account_id=None if payee is None else payee.owner,
    )
    response.headers.update({**headers, CREDIT_HEADER: str(credit_usdc)})
    return ToppedUp(
        account_id=payment.account_id,
        payment=_view(payment),
        available_usdc=credit_usdc,
    )


def _read_amount(value: Any, usdc_max: int) -> int:
    try:
        amount_usdc = parse_millionths(value, maximum=usdc_max)
    except ValueError as error:
        raise bad_request("invalid_amount", f"'amount_usd' {error}.", param="amount_usd") from None
    if not 0 < amount_usdc <= usdc_max:
        message = f"'amount_usd' must be from 0.000001 to {format_usdc(usdc_max)}."
        raise bad_request("invalid_amount", message, param="amount_usd")
    return amount_usdc


async def _load_payments(services: Services, account_id: str) -> list[PaymentView]:
    """Return the newest payments to an account, as its holder is told of them."""
    records = await services.database.read(
        lambda connection: load_account_payments(connection, account_id, limit=PAYMENTS_SHOWN)
    )
    return [_view(record) for record in records]


def _view(record: PaymentRecord) -> PaymentView:
    return PaymentView.model_validate(describe_payment(record))
