"""The lab's evidence: of a model's offers, of a day, and with transcripts for the seller."""

from collections import defaultdict
from datetime import UTC, date, datetime
from typing import Annotated, Any

from eth_utils.crypto import keccak
from fastapi import APIRouter, Path, Query
from sqlalchemy import Connection

from contracts.units import utc_day
from ledger.selling.day_roots import get_batch_id, load_last_day, load_published
from ledger.selling.evidence import (
    EvidenceRow,
    MethodSum,
    build_day_root,
    load_day,
    load_hashes,
    load_of_offer,
    sum_by_method,
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
    PublishedRoot,
    SellersEvidence,
    SellersEvidenceList,
)
from market.listing.book_pages import parse_place, take_shelves
from market.records.store import load_seller_offer
from serving.http.errors import bad_request

router = APIRouter(tags=["evidence"])

_EPOCH = date(1970, 1, 1).toordinal()


@router.get("/v1/models/{model:path}/evidence", responses=OPEN)
async def get_evidence(
    services: ServicesDep,
    model: Annotated[str, Path(max_length=200)],
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> ModelEvidence:
    """Return what the lab has found out about a model's offers this year, a page at a time.

    The offers are in the order of the model's book: those of approved sellers first.
    """
    shelves = services.book.shelves.get(model)
    if shelves is None:
        raise model_not_found(model)
    after = None if cursor is None else parse_place(cursor)
    if cursor is not None and after is None:
        raise bad_request("invalid_cursor", "'cursor' is not one of this list.", param="cursor")
    trusted_only = services.serving.find_trust(None)
    page, last = take_shelves(shelves, after=after, limit=limit, trusted_only=trusted_only)
    year = datetime.fromtimestamp(services.database.now_s(), UTC).year
    since_s = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    ids = [offer.offer_id for offer in page]

    def load(connection: Connection) -> tuple[list[MethodSum], dict[tuple[str, str], list[str]]]:
        sums = sum_by_method(connection, model=model, offer_ids=ids, since_s=since_s)
        return sums, load_hashes(connection, model=model, offer_ids=ids, since_s=since_s)

    sums, hashes = await services.database.read(load)
    by_offer: dict[str, list[MethodEvidence]] = defaultdict(list)
    for one in sums:
        by_offer[one.offer_id].append(
            MethodEvidence(
                method=Method(one.method),
                probes=one.probes,
                looks=one.looks,
                wealth=one.peak_milli / 1_000,
                last_at=one.last_at_s,
                transcript_hashes=hashes.get((one.offer_id, one.method), []),
            )
        )
    return ModelEvidence(
        model=model,
        convicts_at=CONVICTS,
        offers=[
            OfferEvidence(
                offer_id=offer.offer_id,
                provider=offer.provider,
                grade=offer.grade,
                verdict=judge({found.method: found.wealth for found in by_offer[offer.offer_id]}),
                methods=by_offer[offer.offer_id],
            )
            for offer in page
        ],
        next_cursor=None if last is None else str(last),
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

    def load(
        connection: Connection,
    ) -> tuple[list[EvidenceRow], int | None, tuple[str, int, str] | None]:
        return (
            load_day(connection, number),
            load_last_day(connection),
            load_published(connection, number) if number >= 0 else None,
        )

    rows, last_day, found = await services.database.read(load)
    is_planned = last_day is not None and number <= last_day
    return EvidenceDay(
        date=asked.isoformat(),
        is_over=is_planned or number < utc_day(services.database.now_s()),
        root=build_day_root(rows),
        published=None
        if found is None
        else PublishedRoot(
            batch_id=get_batch_id(number),
            root=found[0],
            block_number=found[1],
            tx_hash=found[2],
        ),
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
