"""Reviewers' routes, below /v1/review: for accounts with the role ``reviewer`` or ``operator``."""

import asyncio
import re
from typing import Annotated, Final
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import Connection

from ledger.suppliers.accounts import SupplierRecord, load_supplier
from ledger.suppliers.callers import SupplierCaller
from ledger.suppliers.filings import load_sealed_document
from ledger.suppliers.reviews import load_audit, load_queue, note_audit
from market.errors import not_found
from market.http.dependencies import Cursor, IdPath, ServicesDep
from market.http.supply.accounts.schemas import KybStatus
from market.http.supply.dependencies import SESSION, SIGNED, SessionDep, read_object
from market.http.supply.reviews.schemas import (
    AuditLine,
    AuditList,
    Decided,
    DecisionWish,
    QueueEntry,
    ReviewedApplication,
    ReviewQueue,
)
from market.suppliers.kyb_filing import document_context
from market.suppliers.kyb_shown import load_reviewed
from market.suppliers.reviewing import (
    OPERATORS_ONLY,
    check_not_own,
    decide,
    read_decision,
    role_missing,
)
from serving.http.document.writing import body_of, bytes_of
from serving.http.errors import RequestRejected, wrong_type
from serving.process.ids import new_id

router = APIRouter(tags=["reviews"])

PAGE_MAX: Final = 100
ID_PATTERN: Final = "^[0-9A-Za-z._-]*$"
"""No database takes every text: PostgreSQL has no NUL."""
_CURSOR: Final = re.compile(r"(\d{1,12})\.([0-9a-f-]{1,60})")
_SANDBOX: Final = "sandbox; default-src 'none'; frame-ancestors 'none'"
_DOCUMENT: Final = {
    **bytes_of("application/pdf"),
    **bytes_of("image/jpeg"),
    **bytes_of("image/png"),
}


async def _get_reviewer(caller: SessionDep) -> SupplierCaller:
    if caller.supplier.role not in ("reviewer", "operator"):
        raise role_missing("reviewer")
    return caller


ReviewerDep = Annotated[SupplierCaller, Depends(_get_reviewer)]
PageSize = Annotated[int, Query(ge=1, le=PAGE_MAX)]


@router.get("/v1/review/applications", responses=SIGNED, dependencies=SESSION, name="list_reviews")
async def list_queue(
    services: ServicesDep,
    reviewer: ReviewerDep,  # noqa: ARG001 - it checks who asks
    status: KybStatus = "under_review",
    cursor: Cursor = None,
    limit: PageSize = 50,
) -> ReviewQueue:
    """List the applications of a status, those first that wait for longest."""
    after = None
    if cursor:
        match = _CURSOR.fullmatch(cursor)
        if match is None:
            raise wrong_type("cursor", "the next_cursor of a page")
        after = (int(match[1]), match[2])
    rows = await services.database.read(
        lambda connection: load_queue(connection, status, after=after, limit=limit + 1)
    )
    last = rows[limit - 1] if len(rows) > limit else None
    return ReviewQueue(
        applications=[
            QueueEntry(
                supplier_id=row["supplier_id"],
                email=row["email"],
                kyb_status=row["kyb_status"],
                version=row["kyb_version"],
                since_at=row["kyb_changed_at_s"],
            )
            for row in rows[:limit]
        ],
        next_cursor=None if last is None else f"{last['kyb_changed_at_s']}.{last['supplier_id']}",
    )


@router.get(
    "/v1/review/applications/{supplier_id}",
    responses=SIGNED,
    dependencies=SESSION,
    name="get_review",
)
async def get_application(
    services: ServicesDep, reviewer: ReviewerDep, supplier_id: IdPath
) -> ReviewedApplication:
    """Return one application with its versions side by side, never one's own: it says what is for
    reviewers only. The look is written down."""
    now_s = services.database.now_s()

    def look(connection: Connection) -> ReviewedApplication:
        supplier = load_supplier(connection, supplier_id)
        if supplier is None or supplier.kyb_version == 0:
            raise not_found("application")
        check_not_own(connection, supplier, reviewer.supplier_id)
        note_audit(
            connection,
            entry_id=new_id(),
            actor=reviewer.supplier_id,
            action="look",
            subject=f"version {supplier.kyb_version}",
            supplier_id=supplier_id,
            now_s=now_s,
        )
        return ReviewedApplication.model_validate(load_reviewed(connection, supplier))

    return await services.suppliers.callers.write_as(reviewer, look)


@router.get(
    "/v1/review/applications/{supplier_id}/documents/{document_id}",
    response_class=Response,
    responses={**SIGNED, 200: {"content": _DOCUMENT}},
    dependencies=SESSION,
    name="get_reviewed_document",
)
async def get_document(
    services: ServicesDep, reviewer: ReviewerDep, supplier_id: IdPath, document_id: IdPath
) -> Response:
    """Return a document, as an attachment that no browser runs. The look is written down first."""
    now_s = services.database.now_s()

    def look(connection: Connection) -> None:
        supplier = load_supplier(connection, supplier_id)
        if supplier is None:
            raise not_found("document")
        check_not_own(connection, supplier, reviewer.supplier_id)
        note_audit(
            connection,
            entry_id=new_id(),
            actor=reviewer.supplier_id,
            action="document",
            subject=document_id,
            supplier_id=supplier_id,
            now_s=now_s,
        )

    found = await services.database.read(
        lambda connection: load_sealed_document(connection, supplier_id, document_id)
    )
    if found is None:
        raise not_found("document")
    document, sealed = found
    if sealed is None:
        raise RequestRejected(404, "document_erased", "The document was erased.")
    await services.suppliers.callers.write_as(reviewer, look)
    data = await asyncio.to_thread(
        services.sealer.open_bytes, sealed, context=document_context(document_id)
    )
    return Response(
        data,
        media_type=document.media_type,
        headers={
            "content-disposition": f"attachment; filename*=UTF-8''{quote(document.name, safe='')}",
            "x-content-type-options": "nosniff",
            "content-security-policy": _SANDBOX,
            "cross-origin-resource-policy": "same-origin",
            "cache-control": "no-store",
        },
    )


@router.post(
    "/v1/review/applications/{supplier_id}/decisions",
    status_code=201,
    responses=SIGNED,
    dependencies=SESSION,
    openapi_extra=body_of(DecisionWish),
    name="decide_review",
)
async def post_decision(
    request: Request, services: ServicesDep, reviewer: ReviewerDep, supplier_id: IdPath
) -> Decided:
    """Approve a version, ask for a revision, reject it; suspend or reinstate a supplier.

    The newest version only, and never one's own.
    """
    decision = read_decision(supplier_id, await read_object(request, services, reviewer))
    if decision.decision in OPERATORS_ONLY and reviewer.supplier.role != "operator":
        raise role_missing("operator")
    now_s, rules = services.database.now_s(), services.suppliers.review_rules

    def write(connection: Connection) -> SupplierRecord:
        asking = load_supplier(connection, reviewer.supplier_id)
        # A role that was taken away a moment ago decides nothing.
        if asking is None or asking.role != reviewer.supplier.role:
            raise role_missing("reviewer")
        return decide(connection, decision, reviewer=reviewer.supplier_id, rules=rules, now_s=now_s)

    stands = await services.suppliers.callers.write_as(reviewer, write)
    return Decided.model_validate(
        {
            "supplier_id": supplier_id,
            "kyb_status": stands.kyb_status,
            "version": decision.version,
        }
    )


@router.get("/v1/review/audit", responses=SIGNED, dependencies=SESSION, name="list_review_audit")
async def list_audit(
    services: ServicesDep,
    reviewer: ReviewerDep,
    supplier_id: Annotated[str | None, Query(max_length=64, pattern=ID_PATTERN)] = None,
    cursor: Cursor = None,
    limit: PageSize = 100,
) -> AuditList:
    """List who looked at what and decided what, for operators."""
    if reviewer.supplier.role != "operator":
        raise role_missing("operator")
    rows = await services.database.read(
        lambda connection: load_audit(
            connection, supplier_id=supplier_id, after=cursor or "", limit=limit + 1
        )
    )
    return AuditList(
        entries=[
            AuditLine(
                entry_id=row["entry_id"],
                actor=row["actor"],
                action=row["action"],
                supplier_id=row["supplier_id"],
                subject=row["subject"],
                at=row["at_s"],
            )
            for row in rows[:limit]
        ],
        next_cursor=rows[limit - 1]["entry_id"] if len(rows) > limit else None,
    )
