"""Disputes: a buyer doubts a request, a seller asks for a re-test; the lab's evidence answers."""

from fastapi import APIRouter, Request
from sqlalchemy import Connection

from ledger.selling.disputes import (
    DisputeRecord,
    DisputeRefused,
    ask_retest,
    file_dispute,
    load_disputes,
)
from market.errors import not_found
from market.evidence.verdicts import Method
from market.http.dependencies import (
    BUYER_KEY,
    SELLER_KEY,
    SIGNED,
    BuyerDep,
    IdPath,
    SellerDep,
    ServicesDep,
    read_string,
)
from market.http.disputes.schemas import (
    Dispute,
    DisputeEvidence,
    DisputeList,
    DisputeWish,
    RetestWish,
)
from market.records.store import KeyHolder, load_seller_offer
from market.services import Services
from serving.http.document.writing import body_of
from serving.http.errors import RequestRejected
from serving.http.strict_json import check_fields, parse_exact_json
from serving.process.ids import new_id

router = APIRouter(tags=["evidence"])


def _reject(refused: DisputeRefused) -> RequestRejected:
    if refused.code == "not_found":
        return not_found("paid request")
    if refused.code == "not_disputable":
        return RequestRejected(409, "not_disputable", str(refused))
    return RequestRejected(409, "too_many_disputes", str(refused))


@router.post(
    "/v1/disputes",
    status_code=201,
    responses=SIGNED,
    dependencies=BUYER_KEY,
    openapi_extra=body_of(DisputeWish),
)
async def post_dispute(request: Request, services: ServicesDep, buyer: BuyerDep) -> Dispute:
    """Doubt that a request was served by the model that was paid for.

    Its offer is probed before others. At most 5 in 24 hours, of requests of the last 7 days; the
    same request again is the same dispute.
    """
    body = parse_exact_json(await services.read_body(request, buyer))
    check_fields(body, DisputeWish.model_fields)
    request_id = read_string(body, "request_id", length_max=64)
    reason = read_string(body, "reason", length_max=1_000)
    now_s = services.database.now_s()

    def write(connection: Connection) -> str:
        return file_dispute(
            connection,
            dispute_id=new_id(),
            account_id=buyer.owner,
            request_id=request_id,
            reason=reason,
            now_s=now_s,
        )

    try:
        dispute_id = await services.write_as(buyer, write)
    except DisputeRefused as refused:
        raise _reject(refused) from None
    return await _load(services, buyer, dispute_id)


@router.get("/v1/disputes", responses=SIGNED, dependencies=BUYER_KEY)
async def get_disputes(services: ServicesDep, buyer: BuyerDep) -> DisputeList:
    """Return the account's newest disputes, newest first."""
    found = await services.database.read(
        lambda connection: load_disputes(connection, asked_by=buyer.owner)
    )
    return DisputeList(disputes=[_describe(one) for one in found])


@router.get("/v1/disputes/{dispute_id}", responses=SIGNED, dependencies=BUYER_KEY)
async def get_dispute(services: ServicesDep, buyer: BuyerDep, dispute_id: IdPath) -> Dispute:
    """Return a dispute, and what the lab has found since it was filed."""
    return await _load(services, buyer, dispute_id)


@router.post(
    "/v1/seller/offers/{offer_id}/retest",
    status_code=201,
    responses=SIGNED,
    dependencies=SELLER_KEY,
    openapi_extra=body_of(RetestWish),
)
async def post_retest(
    request: Request, services: ServicesDep, seller: SellerDep, offer_id: IdPath
) -> Dispute:
    """Ask that an offer is probed before others, once in 30 days.

    One that is suspended is probed once the operator lets it back.
    """
    body = parse_exact_json(await services.read_body(request, seller))
    check_fields(body, RetestWish.model_fields)
    reason = read_string(body, "reason", length_max=1_000, default="")
    now_s = services.database.now_s()

    def write(connection: Connection) -> str | None:
        offer = load_seller_offer(connection, offer_id=offer_id, seller=seller.owner)
        if offer is None:
            return None
        return ask_retest(
            connection,
            dispute_id=new_id(),
            offer_id=offer_id,
            model=offer["model"],
            seller=seller.owner,
            reason=reason,
            now_s=now_s,
        )

    try:
        dispute_id = await services.write_as(seller, write)
    except DisputeRefused as refused:
        raise _reject(refused) from None
    if dispute_id is None:
        raise not_found("offer")
    return await _load(services, seller, dispute_id)


async def _load(services: Services, holder: KeyHolder, dispute_id: str) -> Dispute:
    found = await services.database.read(
        lambda connection: load_disputes(
            connection, asked_by=holder.owner, dispute_id=dispute_id, limit=1
        )
    )
    if not found:
        raise not_found("dispute")
    return _describe(found[0])


def _describe(record: DisputeRecord) -> Dispute:
    return Dispute(
        dispute_id=record.dispute_id,
        request_id=record.request_id,
        offer_id=record.offer_id,
        model=record.model,
        filed_at=record.filed_at_s,
        state="answered" if record.is_answered else "open",
        evidence=[
            DisputeEvidence(
                evidence_id=evidence_id, method=Method(method), transcript_hash=hash_, made_at=at_s
            )
            for evidence_id, method, hash_, at_s in record.evidence
        ],
        refunded_usdc=record.refunded_usdc,
    )
