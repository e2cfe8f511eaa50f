"""What a supplier files: sections, documents, and the submission of all of it."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection

from ledger.errors import ChangedMeanwhile
from ledger.suppliers.accounts import SupplierRecord, lock_supplier, set_kyb_status
from ledger.suppliers.applying import load_application
from ledger.suppliers.callers import SupplierCaller
from ledger.suppliers.filings import (
    StoredDocument,
    StoredOwner,
    StoredSection,
    drop_document,
    load_documents,
    load_owners,
    load_sections,
    replace_owners,
    save_document,
    save_section,
    save_submission,
)
from ledger.suppliers.identities import find_or_save_identity
from ledger.suppliers.reviews import load_decisions
from market.endpoints.sealing import Sealer
from market.errors import not_found
from market.records.database import Database
from market.suppliers.callers import SupplierCallers, not_signed_in
from market.suppliers.document_checks import CheckedDocument
from market.suppliers.identity_keys import IdentityKeys
from market.suppliers.kyb_form import (
    ENTITY,
    OWNERS,
    SOURCE,
    OwnerEntry,
    id_number_wrong,
    read_entity,
    read_owners,
    read_source,
)
from market.suppliers.kyb_requirements import Requirements, find_requirements
from serving.http.errors import RequestRejected, bad_request, unavailable
from serving.process.ids import new_id

OPEN_STATUSES: Final = frozenset({"draft", "pending", "revision_needed"})
"""In which a supplier may change what it has filed; a suspended one may until it has submitted."""
SUSPENDED: Final = "suspended"


@dataclass(frozen=True, slots=True)
class Filing:
    """Everything that a supplier has filed, as it stands."""

    supplier: SupplierRecord
    sections: Mapping[str, StoredSection]
    owners: list[StoredOwner]
    documents: list[StoredDocument]
    decided: list[dict[str, str]]
    """The items of the last decision, for the applicant; empty after another submission."""
    prefill: Mapping[str, Any]
    """What the application said, for sections that were not saved yet."""
    is_answered: bool
    """Whether it is suspended and has submitted again since: that waits for a decision."""

    @property
    def can_change(self) -> bool:
        """Whether sections and documents may be changed now."""
        return _is_open(self.supplier.kyb_status, is_answered=self.is_answered)

    def requirements(self) -> Requirements:
        """Return what is to be done."""
        return find_requirements(
            status=self.supplier.kyb_status,
            entity=self.content_of(ENTITY),
            owner_roles=[owner.role for owner in self.owners],
            source=self.content_of(SOURCE),
            documents={document.kind for document in self.documents},
            decided=self.decided,
            is_answered=self.is_answered,
        )

    def content_of(self, section: str) -> Mapping[str, Any]:
        """Return a section as it was saved, empty where it was not."""
        stored = self.sections.get(section)
        return {} if stored is None else stored.content


@dataclass(frozen=True, slots=True)
class Seen:
    """What a page showed before its button was pressed."""

    versions: Mapping[str, int]
    """Of the sections that it showed, 0 for one that was never saved."""
    documents: frozenset[str] | None = None
    """The documents' ids; None: it does not say."""

    def check(self, filing: Filing) -> None:
        """Raise 409 where another tab has changed that since."""
        for section, version in self.versions.items():
            stored = filing.sections.get(section)
            if version != (0 if stored is None else stored.version):
                raise section_changed()
        there = {document.document_id for document in filing.documents}
        if self.documents is not None and self.documents != there:
            raise documents_changed()


class KybFiling:
    """Takes what suppliers file."""

    def __init__(
        self,
        database: Database,
        callers: SupplierCallers,
        sealer: Sealer,
        identity_keys: IdentityKeys | None,
        *,
        document_lives_s: int,
    ) -> None:
        self._database = database
        self._callers = callers
        self._sealer = sealer
        self._identity_keys = identity_keys
        self._document_lives_s = document_lives_s

    async def load(self, supplier: SupplierRecord) -> Filing:
        """Return what a supplier has filed."""
        return await self._database.read(lambda connection: load_filing(connection, supplier))

    async def save(
        self, caller: SupplierCaller, bodies: Mapping[str, Any], versions: Mapping[str, int]
    ) -> None:
        """Save sections, all or none, over the versions that were seen (0: none was).

        Raises 400, 409 ``section_changed`` and ``kyb_locked``, 503.
        """
        today = datetime.fromtimestamp(self._database.now_s(), UTC).date()
        contents: dict[str, Mapping[str, Any]] = {}
        owners: list[OwnerEntry] | None = None
        for section, body in bodies.items():
            if section == ENTITY:
                contents[section] = read_entity(body, today=today)
            elif section == SOURCE:
                contents[section] = read_source(body)
            else:
                owners = read_owners(body)
                contents[section] = {}
        digests = await self._digest(owners or [])
        now_s = self._database.now_s()

        def save(connection: Connection) -> None:
            supplier = self._lock_open(connection, caller.supplier_id)
            for section, content in contents.items():
                version = versions.get(section, 0)
                save_section(
                    connection,
                    supplier.supplier_id,
                    section,
                    content,
                    version=version,
                    now_s=now_s,
                )
            if owners is not None:
                self._save_owners(connection, supplier.supplier_id, owners, digests, now_s=now_s)
            if supplier.kyb_status == "draft":
                set_kyb_status(
                    connection, supplier.supplier_id, "pending", change_id=new_id(), now_s=now_s
                )

        try:
            await self._callers.write_as(caller, save)
        except ChangedMeanwhile:
            raise section_changed() from None

    async def _digest(self, owners: list[OwnerEntry]) -> list[dict[str, str]]:
        """Return the digests of each owner's number by each live key; none without a number."""
        keys = self._identity_keys
        if not any(owner.number is not None for owner in owners):
            return [{} for _ in owners]
        if keys is None:
            raise unavailable(
                "identity_keys_missing", "No owners can be saved: the operator has set no key."
            )

        def digest() -> list[dict[str, str]]:
            return [
                {}
                if owner.number is None
                else {one: keys.digest(owner.number.message(), one) for one in keys.key_ids}
                for owner in owners
            ]

        return await asyncio.to_thread(digest)

    def _save_owners(
        self,
        connection: Connection,
        supplier_id: str,
        owners: list[OwnerEntry],
        digests: list[dict[str, str]],
        *,
        now_s: int,
    ) -> None:
        before = {owner.owner_id: owner for owner in load_owners(connection, supplier_id)}
        stored = []
        for index, (owner, by_key) in enumerate(zip(owners, digests, strict=True)):
            known = None if owner.owner_id is None else before.get(owner.owner_id)
            if owner.owner_id is not None and known is None:
                raise bad_request(
                    "owner_unknown",
                    f"'{OWNERS}[{index}].owner_id' is none of the owners that were saved last.",
                    param=f"{OWNERS}[{index}].owner_id",
                )
            if by_key:
                assert self._identity_keys is not None
                identity_id = find_or_save_identity(
                    connection,
                    by_key,
                    newest_key_id=self._identity_keys.key_ids[0],
                    identity_id=new_id(),
                    now_s=now_s,
                )
            else:
                assert known is not None
                # A number is of one country and type: with another it must be said again.
                if (known.nationality, known.id_type) != (owner.nationality, owner.id_type):
                    raise id_number_wrong(f"{OWNERS}[{index}].id_number")
                identity_id = known.identity_id
            stored.append(
                StoredOwner(
                    owner_id=new_id() if known is None else known.owner_id,
                    legal_name=owner.legal_name,
                    nationality=owner.nationality,
                    id_type=owner.id_type,
                    identity_id=identity_id,
                    role=owner.role,
                    share_bps=owner.share_bps,
                )
            )
        identities = [owner.identity_id for owner in stored]
        if len(set(identities)) < len(identities):
            raise bad_request("owner_twice", "An identity number is there twice.", param=OWNERS)
        replace_owners(connection, supplier_id, stored)

    async def add_document(
        self, caller: SupplierCaller, kind: str, checked: CheckedDocument
    ) -> StoredDocument:
        """Keep a document, sealed. Raises 409 ``kyb_locked``, ``KmsUnavailable``."""
        now_s, document_id = self._database.now_s(), new_id()
        sealed = await asyncio.to_thread(
            self._sealer.seal_bytes, checked.data, context=document_context(document_id)
        )
        document = StoredDocument(
            document_id=document_id,
            kind=kind,
            name=checked.name,
            media_type=checked.media_type,
            size_bytes=checked.size_bytes,
            sha256=checked.sha256,
            uploaded_at_s=now_s,
        )

        def save(connection: Connection) -> None:
            supplier = self._lock_open(connection, caller.supplier_id)
            save_document(
                connection,
                supplier.supplier_id,
                document,
                sealed,
                erase_at_s=now_s + self._document_lives_s,
            )

        await self._callers.write_as(caller, save)
        await self._database.scrub()
        return document

    async def drop_document(self, caller: SupplierCaller, document_id: str) -> None:
        """Take a document out. Raises 404, 409 ``kyb_locked``."""
        now_s = self._database.now_s()

        def drop(connection: Connection) -> bool:
            supplier = self._lock_open(connection, caller.supplier_id)
            return drop_document(connection, supplier.supplier_id, document_id, now_s=now_s)

        if not await self._callers.write_as(caller, drop):
            raise not_found("document")
        await self._database.scrub()

    async def submit(self, caller: SupplierCaller, seen: Seen) -> int:
        """Ask for a review of everything as it stands; return the submission's number.

        Raises 409 ``section_changed`` and ``documents_changed`` where it is not what was seen,
        ``requirements_due`` and ``kyb_locked``.
        """
        now_s = self._database.now_s()

        def submit(connection: Connection) -> int:
            supplier = self._lock_open(connection, caller.supplier_id)
            filing = load_filing(connection, supplier)
            seen.check(filing)
            due = filing.requirements().currently_due
            if due:
                raise requirements_due(list(due))
            version = save_submission(
                connection, supplier.supplier_id, snapshot(filing), now_s=now_s
            )
            # Who is suspended stays so until an operator has decided on what it submitted.
            is_suspended = supplier.kyb_status == SUSPENDED
            set_kyb_status(
                connection,
                supplier.supplier_id,
                SUSPENDED if is_suspended else "under_review",
                change_id=new_id(),
                now_s=now_s,
            )
            return version

        return await self._callers.write_as(caller, submit)

    def _lock_open(self, connection: Connection, supplier_id: str) -> SupplierRecord:
        supplier = lock_supplier(connection, supplier_id)
        if supplier is None:
            raise not_signed_in()
        is_answered = _has_answered(connection, supplier)
        if not _is_open(supplier.kyb_status, is_answered=is_answered):
            raise kyb_locked("suspended, and under review" if is_answered else supplier.kyb_status)
        return supplier


def load_filing(connection: Connection, supplier: SupplierRecord) -> Filing:
    """Return what a supplier has filed."""
    application = load_application(connection, supplier.email)
    decided: list[dict[str, str]] = []
    is_answered = _has_answered(connection, supplier)
    if supplier.kyb_status in ("revision_needed", "rejected", SUSPENDED) and not is_answered:
        decisions = load_decisions(connection, supplier.supplier_id)
        decided = json.loads(decisions[0]["items"]) if decisions else []
    return Filing(
        supplier=supplier,
        sections=load_sections(connection, supplier.supplier_id),
        owners=load_owners(connection, supplier.supplier_id),
        documents=load_documents(connection, supplier.supplier_id),
        decided=decided,
        prefill={} if application is None else json.loads(application["content"]),
        is_answered=is_answered,
    )


def _is_open(status: str, *, is_answered: bool) -> bool:
    return status in OPEN_STATUSES or (status == SUSPENDED and not is_answered)


def _has_answered(connection: Connection, supplier: SupplierRecord) -> bool:
    """Tell whether a supplier is suspended and nothing was decided on its newest submission."""
    if supplier.kyb_status != SUSPENDED or supplier.kyb_version == 0:
        return False
    decisions = load_decisions(connection, supplier.supplier_id, version=supplier.kyb_version)
    return not any(row["is_final"] for row in decisions)


def snapshot(filing: Filing) -> dict[str, Any]:
    """Return what a submission keeps for ever: no number, and of documents no bytes."""
    return {
        "entity": dict(filing.content_of(ENTITY)),
        "owners": [asdict(owner) for owner in filing.owners],
        "source": dict(filing.content_of(SOURCE)),
        "documents": [asdict(document) for document in filing.documents],
    }


def document_context(document_id: str) -> str:
    """Return what a document is sealed for."""
    return f"document {document_id}"


def section_changed() -> RequestRejected:
    """409: the section was saved elsewhere since it was read."""
    message = "The section was saved elsewhere meanwhile: read it, and save it again."
    return RequestRejected(409, "section_changed", message, "version")


def documents_changed() -> RequestRejected:
    """409: a document was added, replaced or taken out since they were read."""
    message = "The documents were changed elsewhere meanwhile: read them, and submit again."
    return RequestRejected(409, "documents_changed", message, "documents")


def kyb_locked(status: str) -> RequestRejected:
    """409: nothing can be changed in this status."""
    message = f"The application is {status}: nothing can be changed in it now."
    return RequestRejected(409, "kyb_locked", message)


def requirements_due(due: list[str]) -> RequestRejected:
    """409: something is missing before a review."""
    message = f"Still to be done: {', '.join(due)}. GET /v1/supply/kyb/requirements lists it."
    return RequestRejected(409, "requirements_due", message)
