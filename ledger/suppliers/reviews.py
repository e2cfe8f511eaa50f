"""Reviews: the queue, decisions, and the log of who looked at what and decided what.

Every function takes the connection of the caller's transaction. Times are Unix seconds.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, and_, exists, func, insert, or_, select, update

from ledger.tables import AuditEntry, KybDecision, Supplier, table_of

_decision = table_of(KybDecision)
_entry = table_of(AuditEntry)
_supplier = table_of(Supplier)

_HAS_ANSWERED: Final = (
    (_supplier.c.kyb_status == "suspended")
    & (_supplier.c.kyb_version > 0)
    & ~exists().where(
        _decision.c.supplier_id == _supplier.c.supplier_id,
        _decision.c.version == _supplier.c.kyb_version,
        _decision.c.is_final.is_(True),
    )
)
"""Suspended, and nothing was decided on what it has submitted since."""
_WAITS: Final = (_supplier.c.kyb_status == "under_review") | _HAS_ANSWERED


@dataclass(frozen=True, slots=True)
class QueueState:
    """How much waits for a reviewer."""

    waiting: int
    oldest_at_s: int | None
    """Since when the oldest waits; None: nothing waits."""


def load_queue(
    connection: Connection, status: str, *, after: tuple[int, str] | None, limit: int
) -> list[RowMapping]:
    """Return the suppliers of a status, those first that have had it for longest.

    A suspended one that has filed what it was asked for is among those that are ``under_review``.
    ``after``: since when the last one of the page before has had it, and its id.
    """
    query = select(
        _supplier.c.supplier_id,
        _supplier.c.email,
        _supplier.c.kyb_status,
        _supplier.c.kyb_version,
        _supplier.c.kyb_changed_at_s,
    ).where(_WAITS if status == "under_review" else _supplier.c.kyb_status == status)
    if after is not None:
        since_s, supplier_id = after
        later = and_(_supplier.c.kyb_changed_at_s == since_s, _supplier.c.supplier_id > supplier_id)
        query = query.where(or_(_supplier.c.kyb_changed_at_s > since_s, later))
    query = query.order_by(_supplier.c.kyb_changed_at_s, _supplier.c.supplier_id).limit(limit)
    return list(connection.execute(query).mappings())


def load_queue_state(connection: Connection) -> QueueState:
    """Return how many suppliers wait for a reviewer, and since when."""
    waiting, oldest = connection.execute(
        select(func.count(), func.min(_supplier.c.kyb_changed_at_s)).where(_WAITS)
    ).one()
    return QueueState(int(waiting), None if oldest is None else int(oldest))


def save_decision(
    connection: Connection,
    *,
    decision_id: str,
    supplier_id: str,
    version: int,
    reviewer: str,
    decision: str,
    is_final: bool,
    items: Sequence[Mapping[str, str]],
    note: str,
    now_s: int,
) -> None:
    """Store a decision for ever."""
    connection.execute(
        insert(_decision).values(
            decision_id=decision_id,
            supplier_id=supplier_id,
            version=version,
            reviewer=reviewer,
            decision=decision,
            is_final=is_final,
            items=json.dumps([dict(item) for item in items], ensure_ascii=False),
            note=note,
            decided_at_s=now_s,
        )
    )


def load_decisions(
    connection: Connection, supplier_id: str, *, version: int | None = None
) -> list[RowMapping]:
    """Return the decisions on a supplier, or on one version of it, the newest first."""
    query = select(_decision).where(_decision.c.supplier_id == supplier_id)
    if version is not None:
        query = query.where(_decision.c.version == version)
    return list(connection.execute(query.order_by(_decision.c.decision_id.desc())).mappings())


def set_approved_names(
    connection: Connection,
    supplier_id: str,
    *,
    legal_name: str | None,
    registration_number: str | None,
) -> None:
    """Note what the approved version calls the company."""
    connection.execute(
        update(_supplier)
        .where(_supplier.c.supplier_id == supplier_id)
        .values(legal_name=legal_name, registration_number=registration_number)
    )


def note_audit(
    connection: Connection,
    *,
    entry_id: str,
    actor: str,
    action: str,
    subject: str,
    supplier_id: str | None = None,
    now_s: int,
) -> None:
    """Write down who did what. It cannot be changed or taken back."""
    connection.execute(
        insert(_entry).values(
            entry_id=entry_id,
            actor=actor,
            action=action,
            supplier_id=supplier_id,
            subject=subject,
            at_s=now_s,
        )
    )


def load_audit(
    connection: Connection, *, supplier_id: str | None, after: str, limit: int
) -> list[RowMapping]:
    """Return what was written down, of one supplier or of all, the oldest first, after an id."""
    query: Any = select(_entry).where(_entry.c.entry_id > after)
    if supplier_id is not None:
        query = query.where(_entry.c.supplier_id == supplier_id)
    return list(connection.execute(query.order_by(_entry.c.entry_id).limit(limit)).mappings())
