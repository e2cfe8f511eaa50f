"""Withdrawing unused credit by a wallet's signature, with a key or without one."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from ledger.payments.withdrawals import WithdrawalRecord
from market.http.dependencies import (
    BUYER_KEY,
    OPEN,
    SIGNED,
    BuyerDep,
    ServicesDep,
    read_string,
)
from market.http.sign_in.schemas import ChallengeView
from market.http.withdrawals.schemas import (
    WithdrawalErrorBody,
    WithdrawalList,
    WithdrawalView,
    WithdrawalWish,
)
from market.identity.keys import is_address
from market.pricing.amounts import parse_millionths
from serving.http.document.schemas import errors_of
from serving.http.document.writing import body_of
from serving.http.errors import bad_request, wrong_type
from serving.http.strict_json import check_fields, parse_exact_json

router = APIRouter(tags=["buyers"])

USD_MAX = 1_000_000_000


@router.get("/v1/buyer/withdrawals/challenge", responses=OPEN)
async def challenge_withdrawal(
    request: Request,
    services: ServicesDep,
    address: Annotated[str, Query(max_length=64)],
    amount_usd: Annotated[str | None, Query(max_length=40, description="null: all of it")] = None,
) -> ChallengeView:
    """Return a message by EIP-4361 that withdraws credit once the wallet has signed it."""
    services.limits.take_nonce(request.scope)
    if not is_address(address):
        raise wrong_type("address", "an Ethereum address")
    amount_usdc = None if amount_usd is None else _read_amount(amount_usd)
    made = services.withdrawing.build_challenge(address, amount_usdc)
    return ChallengeView(message=made.message, nonce=made.nonce, expires_at=made.expires_at_s)


@router.post(
    "/v1/buyer/withdrawals",
    status_code=201,
    responses=errors_of(400, 401, 405, 408, 409, 413, 415, body=WithdrawalErrorBody),
    openapi_extra=body_of(WithdrawalWish),
)
async def withdraw_credit(request: Request, services: ServicesDep) -> WithdrawalView:
    """Pay unused credit to the wallet that signed the challenge. The same message is one
    withdrawal, however often it comes."""
    raw = await services.limits.read_sign_in(request.scope, request.receive, services)
    body = parse_exact_json(raw)
    check_fields(body, WithdrawalWish.model_fields)
    record = await services.withdrawing.withdraw(
        message=read_string(body, "message", length_max=10_000),
        signature=read_string(body, "signature", length_max=100_000),
    )
    return _view(record)


@router.get("/v1/buyer/withdrawals", responses=SIGNED, dependencies=BUYER_KEY)
async def list_withdrawals(services: ServicesDep, buyer: BuyerDep) -> WithdrawalList:
    """Return what the account may withdraw and has withdrawn."""
    found = await services.withdrawing.look(buyer.owner)
    return WithdrawalList(
        withdrawable_usdc=found.withdrawable.available_usdc,
        pending_usdc=found.withdrawable.young_usdc,
        minimum_usdc=found.minimum_usdc,
        fee_usdc=services.withdrawing.rules.fee_usdc,
        chain_id=services.chain_id,
        withdrawals=[_view(record) for record in found.withdrawals],
    )


def _read_amount(text: str) -> int:
    try:
        amount_usdc = parse_millionths(text, maximum=USD_MAX)
    except ValueError as error:
        raise bad_request("invalid_amount", f"'amount_usd' {error}.", param="amount_usd") from None
    if amount_usdc == 0:
        raise bad_request("invalid_amount", "'amount_usd' must be above 0.", param="amount_usd")
    return amount_usdc


def _view(record: WithdrawalRecord) -> WithdrawalView:
    return WithdrawalView.model_validate(
        {
            "withdrawal_id": record.withdrawal_id,
            "wallet": record.wallet,
            "amount_usdc": record.amount_usdc,
            "fee_usdc": record.fee_usdc,
            "state": record.state,
            "transaction": record.tx_hash,
            "requested_at": record.requested_at_s,
        }
    )
