"""A seller's own account."""

from typing import get_args

from fastapi import APIRouter, Request

from ledger.selling.accounts import set_seller_terms
from market.errors import not_found
from market.http.dependencies import SELLER_KEY, SIGNED, SellerDep, ServicesDep
from market.http.sellers.schemas import PayoutPolicy, SellerAccount, SellerChange
from market.pricing.amounts import show_millionths
from market.records.store import load_seller
from market.services import Services
from serving.http.document.writing import body_of
from serving.http.errors import wrong_type
from serving.http.strict_json import check_fields, parse_exact_json

router = APIRouter(tags=["sellers"])


@router.get("/v1/seller/account", responses=SIGNED, dependencies=SELLER_KEY)
async def get_seller_account(services: ServicesDep, seller: SellerDep) -> SellerAccount:
    """Return what was agreed with the seller, and when it is paid."""
    return await _describe_seller(services, seller.owner)


@router.patch(
    "/v1/seller/account",
    responses=SIGNED,
    dependencies=SELLER_KEY,
    openapi_extra=body_of(SellerChange),
)
async def patch_seller_account(
    request: Request, services: ServicesDep, seller: SellerDep
) -> SellerAccount:
    """Choose when to be paid: ``at_once``, or ``daily`` at 02:00 UTC."""
    body = parse_exact_json(await services.read_body(request, seller))
    check_fields(body, SellerChange.model_fields)
    policy = body.get("payout_policy")
    policies = get_args(PayoutPolicy)
    if policy not in policies:
        raise wrong_type("payout_policy", " or ".join(repr(one) for one in policies))
    now_s = services.database.now_s()
    await services.write_as(
        seller,
        lambda connection: set_seller_terms(
            connection, address=seller.owner, payout_policy=policy, now_s=now_s
        ),
    )
    return await _describe_seller(services, seller.owner)


async def _describe_seller(services: Services, address: str) -> SellerAccount:
    row = await services.database.read(lambda connection: load_seller(connection, address))
    if row is None:
        raise not_found("seller")
    agreed = row["fee_bps"]
    fee_bps = services.book.fee_bps if agreed is None else int(agreed)
    return SellerAccount(
        address=row["address"],
        payout_policy=row["payout_policy"],
        fee_bps=fee_bps,
        fee_pct=show_millionths(fee_bps * 10_000),
        is_trusted=bool(row["is_trusted"]),
        created_at=row["created_at_s"],
    )
