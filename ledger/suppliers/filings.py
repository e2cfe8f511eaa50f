"""What suppliers file of themselves: sections, owners, documents, and numbered submissions.

Every function takes the connection of the caller's transaction, in which the supplier's row is
locked where something is written. Times are Unix seconds.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from ledger.errors import ChangedMeanwhile
from ledger.selling.sealed_keys import SealedKey, overwrite_what_goes
from ledger.tables import (
    KybDocument,
    KybOwner,
    KybSection,
    KybSubmission,
    Supplier,
    table_of,
)

_document = table_of(KybDocument)
_owner = table_of(KybOwner)
_section = table_of(KybSection)
_submission = table_of(KybSubmission)
_supplier = table_of(Supplier)


@dataclass(frozen=True, slots=True)
class StoredOwner:
    """An owner or representative, without a number: its identity says whose it is."""

    owner_id: str
    legal_name: str
    nationality: str
    id_type: str
    identity_id: str
    role: str
    share_bps: int


@dataclass(frozen=True, slots=True)
class StoredSection:
    """A section as it was saved last."""

    content: Mapping[str, Any]
    version: int
    saved_at_s: int


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """What is known of a document beside its bytes."""

    document_id: str
    kind: str
    name: str
    media_type: str
    size_bytes: int
    sha256: str
    uploaded_at_s: int


def save_section(
    connection: Connection,
    supplier_id: str,
    section: str,
    content: Mapping[str, Any],
    *,
    version: int,
    now_s: int,
) -> int:
    """Save a section over the version that was seen (0: none was); return the new version.

    Raises ``ChangedMeanwhile`` where another one is there: it was saved elsewhere meanwhile.
    """
    is_it = (_section.c.supplier_id == supplier_id) & (_section.c.section == section)
    stored = connection.execute(select(_section.c.version).where(is_it)).scalar_one_or_none()
    if (stored or 0) != version:
        raise ChangedMeanwhile(f"section {section} has version {stored or 0}")
    values = {
        "content": json.dumps(dict(content), ensure_ascii=False, sort_keys=True),
        "version": version + 1,
        "saved_at_s": now_s,
    }
    if stored is None:
        connection.execute(
            insert(_section).values(supplier_id=supplier_id, section=section, **values)
        )
    else:
        connection.execute(update(_section).where(is_it).values(values))
    return version + 1


def load_sections(connection: Connection, supplier_id: str) -> dict[str, StoredSection]:
    """Return a supplier's sections by their names."""
    rows = connection.execute(
        select(_section).where(_section.c.supplier_id == supplier_id)
    ).mappings()
    return {
        row["section"]: StoredSection(
            json.loads(row["content"]), int(row["version"]), int(row["saved_at_s"])
        )
        for row in rows
    }


def replace_owners(connection: Connection, supplier_id: str, owners: Sequence[StoredOwner]) -> None:
    """Put these owners in place of all that were saved before."""
    connection.execute(delete(_owner).where(_owner.c.supplier_id == supplier_id))
    if owners:
        connection.execute(
            insert(_owner),
            [
                {**asdict(owner), "supplier_id": supplier_id, "position": position}
                for position, owner in enumerate(owners)
            ],
        )


def load_owners(connection: Connection, supplier_id: str) -> list[StoredOwner]:
    """Return a supplier's owners and representatives, in their order."""
    columns = [_owner.c[name] for name in StoredOwner.__dataclass_fields__]
    query = select(*columns).where(_owner.c.supplier_id == supplier_id)
    return [
        StoredOwner(**row._asdict())
        for row in connection.execute(query.order_by(_owner.c.position))
    ]


# --------------------------------------------------------------------------------------- documents


def save_document(
    connection: Connection,
    supplier_id: str,
    document: StoredDocument,
    sealed: SealedKey,
    *,
    erase_at_s: int,
) -> None:
    """Store a document, which takes the place of the one of its kind.

    What it replaces is erased now, unless a submission has it.
    """
    is_alike = (_document.c.supplier_id == supplier_id) & (_document.c.kind == document.kind)
    replaced = connection.execute(
        select(_document.c.document_id).where(is_alike, _document.c.is_current.is_(True))
    ).scalar_one_or_none()
    if replaced is not None:
        drop_document(connection, supplier_id, replaced, now_s=document.uploaded_at_s)
    connection.execute(
        insert(_document).values(
            **asdict(document),
            **asdict(sealed),
            supplier_id=supplier_id,
            is_current=True,
            erase_at_s=erase_at_s,
        )
    )


def drop_document(
    connection: Connection, supplier_id: str, document_id: str, *, now_s: int
) -> bool:
    """Take a document out of the next submission; tell whether it was in it.

    Its bytes are erased now, unless a submission has it: that one is what reviewers decide on.
    """
    is_it = (
        (_document.c.document_id == document_id)
        & (_document.c.supplier_id == supplier_id)
        & _document.c.is_current.is_(True)
    )
    found = connection.execute(update(_document).where(is_it).values(is_current=False)).rowcount
    if found and not _is_submitted(connection, supplier_id, document_id):
        _erase(connection, [document_id], now_s=now_s)
    return found == 1


def _is_submitted(connection: Connection, supplier_id: str, document_id: str) -> bool:
    contents = connection.execute(
        select(_submission.c.content).where(_submission.c.supplier_id == supplier_id)
    ).scalars()
    return any(
        one["document_id"] == document_id
        for content in contents
        for one in json.loads(content)["documents"]
    )


def load_documents(connection: Connection, supplier_id: str) -> list[StoredDocument]:
    """Return the documents of the next submission, the oldest first; not their bytes.

    One whose bytes were erased is not there any more: nobody could review it.
    """
    columns = [_document.c[name] for name in StoredDocument.__dataclass_fields__]
    query = select(*columns).where(
        _document.c.supplier_id == supplier_id,
        _document.c.is_current.is_(True),
        _document.c.ciphertext.is_not(None),
    )
    return [
        StoredDocument(**row._asdict())
        for row in connection.execute(query.order_by(_document.c.document_id))
    ]


def load_sealed_document(
    connection: Connection, supplier_id: str, document_id: str
) -> tuple[StoredDocument, SealedKey | None] | None:
    """Return a supplier's document with its sealed bytes (None: they were erased), or None."""
    row = (
        connection.execute(
            select(_document).where(
                _document.c.document_id == document_id, _document.c.supplier_id == supplier_id
            )
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        return None
    stored = StoredDocument(**{name: row[name] for name in StoredDocument.__dataclass_fields__})
    if row["ciphertext"] is None:
        return stored, None
    sealed = SealedKey(bytes(row["ciphertext"]), bytes(row["wrapped_key"]), row["kms_key_id"])
    return stored, sealed


def set_erase_date(connection: Connection, supplier_id: str, *, erase_at_s: int) -> None:
    """Say when the bytes of a supplier's documents are to be erased."""
    connection.execute(
        update(_document)
        .where(_document.c.supplier_id == supplier_id, _document.c.ciphertext.is_not(None))
        .values(erase_at_s=erase_at_s)
    )


def erase_documents(connection: Connection, *, now_s: int, limit: int) -> int:
    """Erase the bytes of documents whose date has come; return how many."""
    due = (
        select(_document.c.document_id)
        .where(_document.c.ciphertext.is_not(None), _document.c.erase_at_s <= now_s)
        .limit(limit)
    )
    ids = list(connection.execute(due).scalars())
    if ids:
        _erase(connection, ids, now_s=now_s)
    return len(ids)


def _erase(connection: Connection, document_ids: Sequence[str], *, now_s: int) -> None:
    overwrite_what_goes(connection)
    connection.execute(
        update(_document)
        .where(_document.c.document_id.in_(document_ids), _document.c.ciphertext.is_not(None))
        .values(ciphertext=None, wrapped_key=None, kms_key_id=None, erased_at_s=now_s)
    )


# ------------------------------------------------------------------------------------- submissions


def save_submission(
    connection: Connection, supplier_id: str, content: Mapping[str, Any], *, now_s: int
) -> int:
    """Store a submission for ever under the next number; return the number."""
    version = (
        connection.execute(
            select(func.coalesce(func.max(_submission.c.version), 0)).where(
                _submission.c.supplier_id == supplier_id
            )
        ).scalar_one()
        + 1
    )
    connection.execute(
        insert(_submission).values(
            supplier_id=supplier_id,
            version=version,
            content=json.dumps(dict(content), ensure_ascii=False, sort_keys=True),
            submitted_at_s=now_s,
        )
    )
    connection.execute(
        update(_supplier).where(_supplier.c.supplier_id == supplier_id).values(kyb_version=version)
    )
    return int(version)


def load_submissions(connection: Connection, supplier_id: str) -> list[RowMapping]:
    """Return a supplier's submissions, the newest first."""
    query = select(_submission).where(_submission.c.supplier_id == supplier_id)
    return list(connection.execute(query.order_by(_submission.c.version.desc())).mappings())


def load_stale_document(connection: Connection, *, kms_key_id: str) -> tuple[str, SealedKey] | None:
    """Return a sealed document that another KMS key than ``kms_key_id`` has wrapped, or None."""
    row = connection.execute(
        select(
            _document.c.document_id,
            _document.c.ciphertext,
            _document.c.wrapped_key,
            _document.c.kms_key_id,
        )
        .where(_document.c.ciphertext.is_not(None), _document.c.kms_key_id != kms_key_id)
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    sealed = SealedKey(bytes(row.ciphertext), bytes(row.wrapped_key), row.kms_key_id)
    return row.document_id, sealed


def replace_wrapping(
    connection: Connection, document_id: str, *, before: SealedKey, after: SealedKey
) -> None:
    """Put a rewrapped data key in place of ``before``'s, unless the document was erased."""
    overwrite_what_goes(connection)
    connection.execute(
        update(_document)
        .where(
            _document.c.document_id == document_id,
            _document.c.wrapped_key == before.wrapped_key,
        )
        .values(wrapped_key=after.wrapped_key, kms_key_id=after.kms_key_id)
    )
