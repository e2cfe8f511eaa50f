"""What reviewers see of a supplier, as answers state it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping

from ledger.suppliers.accounts import SupplierRecord
from ledger.suppliers.filings import StoredDocument, StoredOwner, load_submissions
from ledger.suppliers.identities import find_other_suppliers
from ledger.suppliers.reviews import load_decisions
from market.http.supply.kyb.describing import describe_document, describe_owner
from market.http.supply.reviews.schemas import (
    DecisionView,
    ReviewedApplication,
    ReviewedOwner,
    ReviewedVersion,
)
from market.suppliers.kyb_form import ENTITY, OWNERS, SOURCE, find_changed


def load_reviewed(connection: Connection, supplier: SupplierRecord) -> ReviewedApplication:
    """Return a supplier with all its versions side by side."""
    submissions = load_submissions(connection, supplier.supplier_id)
    contents = [json.loads(row["content"]) for row in submissions]
    decisions: dict[int, list[RowMapping]] = {}
    for row in load_decisions(connection, supplier.supplier_id):
        decisions.setdefault(int(row["version"]), []).append(row)
    identities = sorted({one["identity_id"] for content in contents for one in content[OWNERS]})
    others = find_other_suppliers(connection, identities, but=supplier.supplier_id)
    return ReviewedApplication.model_validate(
        {
            "supplier_id": supplier.supplier_id,
            "email": supplier.email,
            "kyb_status": supplier.kyb_status,
            "version": supplier.kyb_version,
            "versions": [
                describe_version(
                    row,
                    content,
                    before=contents[index + 1] if index + 1 < len(contents) else None,
                    decisions=decisions.get(int(row["version"]), []),
                    others=others,
                )
                for index, (row, content) in enumerate(zip(submissions, contents, strict=True))
            ],
        }
    )


def describe_version(
    row: RowMapping,
    content: Mapping[str, Any],
    *,
    before: Mapping[str, Any] | None,
    decisions: Sequence[RowMapping],
    others: Mapping[str, Sequence[str]],
) -> ReviewedVersion:
    """Return a submission with what was decided of it."""
    return ReviewedVersion.model_validate(
        {
            "version": row["version"],
            "submitted_at": row["submitted_at_s"],
            "entity": content[ENTITY],
            "owners": [
                ReviewedOwner(
                    **describe_owner(StoredOwner(**owner)).model_dump(),
                    identity_id=owner["identity_id"],
                    also_at=list(others.get(owner["identity_id"], ())),
                )
                for owner in content[OWNERS]
            ],
            "source": content[SOURCE],
            "documents": [
                describe_document(StoredDocument(**document)) for document in content["documents"]
            ],
            "changed": [] if before is None else list_changes(before, content),
            "decisions": [describe_decision(decision) for decision in decisions],
        }
    )


def list_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what two versions have otherwise, by the names of requirements."""
    changed = [
        f"{section}.{name}"
        for section in (ENTITY, SOURCE)
        for name in find_changed(before[section], after[section])
    ]
    if before[OWNERS] != after[OWNERS]:
        changed.append(OWNERS)
    one, other = (
        {document["kind"]: document["document_id"] for document in content["documents"]}
        for content in (before, after)
    )
    return changed + [f"documents.{kind}" for kind in find_changed(one, other)]


def describe_decision(row: RowMapping) -> DecisionView:
    """Return a decision with what is for reviewers only."""
    return DecisionView.model_validate(
        {
            "decision": row["decision"],
            "reviewer": row["reviewer"],
            "is_final": row["is_final"],
            "items": json.loads(row["items"]),
            "note": row["note"],
            "decided_at": row["decided_at_s"],
        }
    )
