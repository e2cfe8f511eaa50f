"""What a supplier files: four sections, saved one by one, and the submission of all of them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from ledger.suppliers.accounts import load_supplier
from ledger.suppliers.callers import SupplierCaller
from market.http.dependencies import IdPath, ServicesDep
from market.http.supply.dependencies import (
    SESSION,
    SESSION_OR_KEY,
    SIGNED,
    KybReaderDep,
    SessionDep,
    read_object,
)
from market.http.supply.kyb.describing import (
    describe_document,
    describe_filing,
    describe_requirements,
)
from market.http.supply.kyb.schemas import (
    DocumentDropped,
    DocumentKind,
    DocumentView,
    EntityWish,
    KybView,
    KybWish,
    OwnersWish,
    RequirementList,
    SourceWish,
    Submitted,
    SubmitWish,
)
from market.services import Services
from market.suppliers.callers import not_signed_in
from market.suppliers.document_checks import BYTES_MAX, NAME_MAX
from market.suppliers.fields import Fields
from market.suppliers.kyb_filing import Seen
from market.suppliers.kyb_form import ENTITY, OWNERS, SECTIONS, SOURCE
from serving.http.document.writing import body_of, bytes_of
from serving.http.errors import bad_request

router = APIRouter(tags=["suppliers"])

_WISHES: dict[str, type[BaseModel]] = {
    ENTITY: EntityWish,
    OWNERS: OwnersWish,
    SOURCE: SourceWish,
}
_DOCUMENT = {
    "requestBody": {
        "required": True,
        "content": {
            **bytes_of("application/pdf"),
            **bytes_of("image/jpeg"),
            **bytes_of("image/png"),
        },
    }
}


@router.get("/v1/supply/kyb", responses=SIGNED, dependencies=SESSION_OR_KEY, name="get_kyb")
async def get_kyb(services: ServicesDep, caller: KybReaderDep) -> KybView:
    """Return everything that was filed, prefilled from the application where nothing was saved."""
    return describe_filing(await services.suppliers.kyb_filing.load(caller.supplier))


@router.get(
    "/v1/supply/kyb/requirements",
    responses=SIGNED,
    dependencies=SESSION_OR_KEY,
    name="get_kyb_requirements",
)
async def get_requirements(services: ServicesDep, caller: KybReaderDep) -> RequirementList:
    """List what is due, what is being looked at, and what is wrong."""
    filing = await services.suppliers.kyb_filing.load(caller.supplier)
    return describe_requirements(filing.requirements())


@router.put(
    "/v1/supply/kyb",
    responses=SIGNED,
    dependencies=SESSION,
    openapi_extra=body_of(KybWish),
    name="save_kyb",
)
async def save_all(request: Request, services: ServicesDep, caller: SessionDep) -> KybView:
    """Save several sections, all or none, each over the version that was read."""
    body = await read_object(request, services, caller)
    fields = Fields(body, SECTIONS)
    wishes = {name: fields.get(name) for name in SECTIONS if fields.has(name)}
    if not wishes:
        raise bad_request("field_missing", f"Name at least one of {', '.join(SECTIONS)}.")
    return await _save(services, caller, wishes)


def _add_section(section: str) -> None:
    @router.put(
        f"/v1/supply/kyb/{section}",
        responses=SIGNED,
        dependencies=SESSION,
        openapi_extra=body_of(_WISHES[section]),
        name=f"save_kyb_{section}",
        description=f"Save the section `{section}` over the version that was read."
        " The first section that is saved makes the application `pending`.",
    )
    async def save_section(request: Request, services: ServicesDep, caller: SessionDep) -> KybView:
        body = await read_object(request, services, caller)
        return await _save(services, caller, {section: body})


for _section in SECTIONS:
    _add_section(_section)


async def _save(services: Services, caller: SupplierCaller, wishes: dict[str, Any]) -> KybView:
    bodies, versions = {}, {}
    for section, wish in wishes.items():
        fields = Fields(wish, ("version", "content"))
        version = fields.integer("version", low=0, high=2**31 - 2, is_needed=False)
        versions[section] = version or 0
        if not fields.has("content"):
            raise bad_request("field_missing", "'content' is missing.", param="content")
        bodies[section] = fields.get("content")
    await services.suppliers.kyb_filing.save(caller, bodies, versions)
    return await _load(services, caller)


async def _load(services: Services, caller: SupplierCaller) -> KybView:
    supplier = await services.database.read(
        lambda connection: load_supplier(connection, caller.supplier_id)
    )
    if supplier is None:
        raise not_signed_in()
    return describe_filing(await services.suppliers.kyb_filing.load(supplier))


@router.post(
    "/v1/supply/kyb/documents",
    status_code=201,
    responses=SIGNED,
    dependencies=SESSION,
    openapi_extra=_DOCUMENT,
    name="add_kyb_document",
)
async def add_document(
    request: Request,
    services: ServicesDep,
    caller: SessionDep,
    kind: DocumentKind,
    name: Annotated[str, Query(max_length=NAME_MAX)],
) -> DocumentView:
    """Send a document: PDF, JPEG or PNG, at most 10 MB, as the body. It replaces the one of its
    kind. It is sealed, shown to reviewers only, and erased on a date."""
    data = await services.limits.read_body(
        request.scope,
        request.receive,
        services,
        caller.supplier_id,
        is_proven=caller.supplier.is_approved,
        bytes_max=BYTES_MAX,
    )
    declared = request.headers.get("content-type", "")
    checked = await services.suppliers.document_checks.check(data, declared=declared, name=name)
    stored = await services.suppliers.kyb_filing.add_document(caller, kind, checked)
    return describe_document(stored)


@router.delete(
    "/v1/supply/kyb/documents/{document_id}",
    responses=SIGNED,
    dependencies=SESSION,
    name="drop_kyb_document",
)
async def drop_document(
    services: ServicesDep, caller: SessionDep, document_id: IdPath
) -> DocumentDropped:
    """Take a document out of what is submitted next."""
    await services.suppliers.kyb_filing.drop_document(caller, document_id)
    return DocumentDropped(document_id=document_id)


@router.post(
    "/v1/supply/kyb/submit",
    status_code=201,
    responses=SIGNED,
    dependencies=SESSION,
    openapi_extra=body_of(SubmitWish, required=False),
    name="submit_kyb",
)
async def submit(request: Request, services: ServicesDep, caller: SessionDep) -> Submitted:
    """Submit everything for review, as a version that is never changed. A page says what it showed:
    what another tab has changed since is not submitted unseen."""
    seen = _read_seen(await read_object(request, services, caller, is_needed=False))
    return Submitted(version=await services.suppliers.kyb_filing.submit(caller, seen))


def _read_seen(body: dict[str, Any]) -> Seen:
    fields = Fields(body, ("versions", "documents"))
    said = Fields(fields.get("versions") or {}, SECTIONS, where="versions")
    versions = {}
    for section in SECTIONS:
        version = said.integer(section, low=0, high=2**31 - 2, is_needed=False)
        if version is not None:
            versions[section] = version
    if not fields.has("documents"):
        return Seen(versions)
    return Seen(versions, frozenset(fields.texts("documents", count_max=20, length_max=64)))
