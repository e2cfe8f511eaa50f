"""What was filed, as answers state it."""

from collections.abc import Mapping
from typing import Any

from ledger.suppliers.filings import StoredDocument, StoredOwner
from market.http.supply.kyb.schemas import (
    DocumentView,
    EntityContent,
    EntitySection,
    KybView,
    OwnersSection,
    OwnerView,
    RequirementList,
    RequirementView,
    SourceContent,
    SourceSection,
)
from market.suppliers.kyb_filing import Filing
from market.suppliers.kyb_form import ENTITY, OWNERS, SOURCE
from market.suppliers.kyb_requirements import Requirements
from market.suppliers.kyb_shown import show_document, show_owner


def describe_filing(filing: Filing) -> KybView:
    """Return all sections; those that were not saved as the application has them."""
    said = filing.prefill
    entity: Mapping[str, Any] = filing.content_of(ENTITY) or {
        "legal_name": said.get("legal_name"),
        "jurisdiction": said.get("country"),
    }
    source: Mapping[str, Any] = filing.content_of(SOURCE) or {
        "source_of_compute": said.get("source_of_compute"),
        "providers": said.get("providers", []),
        "contract_holder": said.get("legal_name"),
        "expected_monthly_tokens": said.get("expected_monthly_tokens"),
    }
    return KybView.model_validate(
        {
            "kyb_status": filing.supplier.kyb_status,
            "version": filing.supplier.kyb_version,
            "can_change": filing.can_change,
            "entity": EntitySection(
                **_stand_of(filing, ENTITY), content=EntityContent.model_validate(dict(entity))
            ),
            "owners": OwnersSection(
                **_stand_of(filing, OWNERS),
                content=[describe_owner(owner) for owner in filing.owners],
            ),
            "source": SourceSection(
                **_stand_of(filing, SOURCE), content=SourceContent.model_validate(dict(source))
            ),
            "documents": [describe_document(document) for document in filing.documents],
            "requirements": describe_requirements(filing.requirements()),
        }
    )


def _stand_of(filing: Filing, section: str) -> dict[str, Any]:
    stored = filing.sections.get(section)
    if stored is None:
        return {"version": 0, "saved_at": None}
    return {"version": stored.version, "saved_at": stored.saved_at_s}


def describe_owner(owner: StoredOwner) -> OwnerView:
    """Return an owner without what its number is compared by."""
    return OwnerView.model_validate(show_owner(owner))


def describe_document(document: StoredDocument) -> DocumentView:
    """Return a document without its bytes."""
    return DocumentView.model_validate(show_document(document))


def describe_requirements(found: Requirements) -> RequirementList:
    """Return what is to be done."""
    return RequirementList(
        currently_due=list(found.currently_due),
        pending_review=list(found.pending_review),
        errors=[
            RequirementView(requirement=one.requirement, code=one.code, reason=one.reason)
            for one in found.errors
        ],
    )
