"""What was filed, submitted and decided, as answers and commands show it: plain values for JSON.
Identities' digests and documents' bytes are in none of it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping

from ledger.suppliers.accounts import SupplierRecord
from ledger.suppliers.filings import StoredDocument, StoredOwner, load_submissions
from ledger.suppliers.identities import find_other_suppliers
from ledger.suppliers.reviews import load_decisions
from market.suppliers.kyb_form import ENTITY, OWNERS, SOURCE, find_changed


def show_owner(owner: StoredOwner) -> dict[str, Any]:
    """Return an owner without what its number is compared by."""
    return {
        "owner_id": owner.owner_id,
        "legal_name": owner.legal_name,
        "nationality": owner.nationality,
        "id_type": owner.id_type,
        "role": owner.role,
        "share_pct": show_share(owner.share_bps),
    }


def show_share(bps: int) -> str:
    """Return a share in per cent: 3330 is 33.3."""
    text = f"{bps // 100}.{bps % 100:02d}"
    return text.rstrip("0").rstrip(".")


def show_document(document: StoredDocument) -> dict[str, Any]:
    """Return a document without its bytes."""
    return {
        "document_id": document.document_id,
        "kind": document.kind,
        "name": document.name,
        "media_type": document.media_type,
        "size_bytes": document.size_bytes,
        "sha256": document.sha256,
        "uploaded_at": document.uploaded_at_s,
    }


def load_reviewed(connection: Connection, supplier: SupplierRecord) -> dict[str, Any]:
    """Return a supplier with all its versions side by side, for reviewers."""
    submissions = load_submissions(connection, supplier.supplier_id)
    contents = [json.loads(row["content"]) for row in submissions]
    decisions: dict[int, list[RowMapping]] = {}
    for row in load_decisions(connection, supplier.supplier_id):
        decisions.setdefault(int(row["version"]), []).append(row)
    identities = sorted({one["identity_id"] for content in contents for one in content[OWNERS]})
    others = find_other_suppliers(connection, identities, but=supplier.supplier_id)
    return {
        "supplier_id": supplier.supplier_id,
        "email": supplier.email,
        "kyb_status": supplier.kyb_status,
        "version": supplier.kyb_version,
        "versions": [
            _show_version(
                row,
                content,
                before=contents[index + 1] if index + 1 < len(contents) else None,
                decisions=decisions.get(int(row["version"]), []),
                others=others,
            )
            for index, (row, content) in enumerate(zip(submissions, contents, strict=True))
        ],
    }


def _show_version(
    row: RowMapping,
    content: Mapping[str, Any],
    *,
    before: Mapping[str, Any] | None,
    decisions: Sequence[RowMapping],
    others: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Return a submission with what was decided of it."""
    return {
        "version": row["version"],
        "submitted_at": row["submitted_at_s"],
        "entity": content[ENTITY],
        "owners": [
            {
                **show_owner(StoredOwner(**owner)),
                "identity_id": owner["identity_id"],
                "also_at": list(others.get(owner["identity_id"], ())),
            }
            for owner in content[OWNERS]
        ],
        "source": content[SOURCE],
        "documents": [
            show_document(StoredDocument(**document)) for document in content["documents"]
        ],
        "changed": [] if before is None else list_changes(before, content),
        "decisions": [_show_decision(decision) for decision in decisions],
    }


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


def _show_decision(row: RowMapping) -> dict[str, Any]:
    """Return a decision with what is for reviewers only."""
    return {
        "decision": row["decision"],
        "reviewer": row["reviewer"],
        "is_final": row["is_final"],
        "items": json.loads(row["items"]),
        "note": row["note"],
        "decided_at": row["decided_at_s"],
    }
