"""The lab's evidence: of a model's offers, of a day, and with transcripts for the seller."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any

from eth_utils.crypto import keccak
from fastapi import APIRouter, Path

from contracts.units import utc_day
from ledger.selling.evidence import (
    EvidenceRow,
    build_day_root,
    load_day,
    load_of_model,
    load_of_offer,
)
from market.errors import model_not_found, not_found
from market.evidence.verdicts import CONVICTS, Method, judge
from market.http.dependencies import OPEN, SELLER_KEY, SIGNED, IdPath, SellerDep, ServicesDep
from market.http.evidence.schemas import (
    EvidenceDay,
    EvidenceEntry,
    MethodEvidence,
    ModelEvidence,
    OfferEvidence,
    SellersEvidence,
    SellersEvidenceList,
)
from market.records.store import load_seller_offer
from market.routing.ranking import Offer
from serving.http.errors import bad_request

router = APIRouter(tags=["evidence"])

_EPOCH = date(1970, 1, 1).toordinal()


@router.get("/v1/models/{model:path}/evidence", responses=OPEN)
async def get_evidence(
    services: ServicesDep, model: Annotated[str, Path(max_length=200)]
) -> ModelEvidence:
    """Return what the lab has found out about each of a model's offers this year."""
    shelves = services.book.shelves.get(model)
    if shelves is None:
        raise model_not_found(model)
    year = datetime.fromtimestamp(services.database.now_s(), UTC).year
    since_s = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    rows = await services.database.read(
        lambda connection: load_of_model(connection, model=model, since_s=since_s)
    )
    by_offer: dict[str, list[EvidenceRow]] = defaultdict(list)
    for row in rows:
        by_offer[row.offer_id].append(row)
    offers = [offer for shelf in shelves.values() for offer in shelf]
    return ModelEvidence(
        model=model,
        convicts_at=CONVICTS,
        offers=[
            _describe_offer(offer, by_offer[offer.offer_id])
            for offer in sorted(offers, key=lambda one: (one.grade, one.offer_id))
        ],
    )


def _describe_offer(offer: Offer, rows: Sequence[EvidenceRow]) -> OfferEvidence:
    by_method: dict[Method, list[EvidenceRow]] = defaultdict(list)
    for row in rows:
        by_method[Method(row.method)].append(row)
    methods = [
        MethodEvidence(
            method=method,
            probes=len(found),
            looks=max(row.looks for row in found),
            wealth=max(row.peak_milli for row in found) / 1_000,
            last_at=found[0].made_at_s,
            transcript_hashes=[row.transcript_hash for row in found],
        )
        for method, found in sorted(by_method.items())
    ]
    return OfferEvidence(
        offer_id=offer.offer_id,
        provider=offer.provider,
        grade=offer.grade,
        verdict=judge({one.method: one.wealth for one in methods}),
        methods=methods,
    )


@router.get("/v1/evidence/{day}", responses=OPEN)
async def get_evidence_of_day(
    services: ServicesDep, day: Annotated[str, Path(max_length=10, description="YYYY-MM-DD, UTC")]
) -> EvidenceDay:
    """Return all evidence of a day with the root that commits to it."""
    try:
        asked = date.fromisoformat(day)
    except ValueError:
        raise bad_request("invalid_type", "'day' must be YYYY-MM-DD.", param="day") from None
    number = asked.toordinal() - _EPOCH
    rows = await services.database.read(lambda connection: load_day(connection, number))
    return EvidenceDay(
        date=asked.isoformat(),
        is_over=number < utc_day(services.database.now_s()),
        root=build_day_root(rows),
        entries=[EvidenceEntry(**_describe_row(row)) for row in rows],
    )


@router.get("/v1/seller/offers/{offer_id}/evidence", responses=SIGNED, dependencies=SELLER_KEY)
async def get_own_evidence(
    services: ServicesDep, seller: SellerDep, offer_id: IdPath
) -> SellersEvidenceList:
    """Return the evidence on one of the seller's offers, with the transcripts."""

    def load(connection: Any) -> list[EvidenceRow] | None:
        owned = load_seller_offer(connection, offer_id=offer_id, seller=seller.owner)
        return None if owned is None else load_of_offer(connection, offer_id=offer_id)

    rows = await services.database.read(load)
    if rows is None:
        raise not_found("offer")
    return SellersEvidenceList(
        evidence=[
            SellersEvidence(
                **_describe_row(row),
                observed=row.observed,
                transcript=row.transcript,
            )
            for row in rows
        ]
    )


def _describe_row(row: EvidenceRow) -> dict[str, Any]:
    return {
        "evidence_id": row.evidence_id,
        "offer_id": row.offer_id,
        "model": row.model,
        "method": Method(row.method),
        "made_at": row.made_at_s,
        "observed_hash": "0x" + keccak(text=row.observed).hex(),
        "transcript_hash": row.transcript_hash,
        "looks": row.looks,
        "peak_milli": row.peak_milli,
        "leaf": "0x" + row.leaf().hex(),
    }
