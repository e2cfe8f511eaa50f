"""Suppliers' accounts: opened, found, and moved from one status to the next.

Every function takes the connection of the caller's transaction; what is written is written with
all else in it. Times are Unix seconds.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, insert, select, update

from ledger.database.engine import is_postgres
from ledger.tables import Supplier, SupplierStatusChange, table_of

_supplier = table_of(Supplier)
_change = table_of(SupplierStatusChange)

APPROVED: Final = "approved"
DRAFT: Final = "draft"


@dataclass(frozen=True, slots=True)
class SupplierRecord:
    """An account, without what signs it in."""

    supplier_id: str
    email: str
    role: str
    """``supplier``, ``reviewer`` or ``operator``."""
    kyb_status: str
    """One of ``KYB_STATUSES``."""
    kyb_version: int
    """The number of the newest submission; 0: none yet."""
    kyb_changed_at_s: int
    legal_name: str | None
    """Of the version that was approved last; None: none was."""
    registration_number: str | None
    fee_bps: int | None
    """None: the usual fee of suppliers."""
    has_totp: bool
    """Whether one-time codes are asked for."""
    created_at_s: int

    @property
    def is_approved(self) -> bool:
        """Whether the supplier's offers may sell now."""
        return self.kyb_status == APPROVED


_COLUMNS: Final = (
    _supplier.c.supplier_id,
    _supplier.c.email,
    _supplier.c.role,
    _supplier.c.kyb_status,
    _supplier.c.kyb_version,
    _supplier.c.kyb_changed_at_s,
    _supplier.c.legal_name,
    _supplier.c.registration_number,
    _supplier.c.fee_bps,
    _supplier.c.totp_confirmed_at_s.is_not(None).label("has_totp"),
    _supplier.c.created_at_s,
)


def load_supplier(connection: Connection, supplier_id: str) -> SupplierRecord | None:
    """Return an account, or None."""
    return _load(connection, _supplier.c.supplier_id == supplier_id)


def lock_supplier(connection: Connection, supplier_id: str) -> SupplierRecord | None:
    """Return an account whose row nobody else changes before the transaction's end, or None."""
    return _load(connection, _supplier.c.supplier_id == supplier_id, is_locked=True)


def find_supplier(connection: Connection, email: str) -> SupplierRecord | None:
    """Return the account of a normalised address, or None."""
    return _load(connection, _supplier.c.email == email)


def _load(
    connection: Connection, is_it: ColumnElement[bool], *, is_locked: bool = False
) -> SupplierRecord | None:
    query = select(*_COLUMNS).where(is_it)
    if is_locked and is_postgres(connection):
        query = query.with_for_update(key_share=True)
    row = connection.execute(query).one_or_none()
    return None if row is None else SupplierRecord(**row._asdict())


def open_supplier(
    connection: Connection,
    *,
    supplier_id: str,
    change_id: str,
    email: str,
    password_hash: str | None,
    role: str = "supplier",
    now_s: int,
) -> None:
    """Open an account. Raises ``IntegrityError`` where the address has one."""
    connection.execute(
        insert(_supplier).values(
            supplier_id=supplier_id,
            email=email,
            password_hash=password_hash,
            role=role,
            kyb_status=DRAFT,
            kyb_version=0,
            kyb_changed_at_s=now_s,
            totp_last_step=0,
            created_at_s=now_s,
            changed_at_s=now_s,
        )
    )
    _note_status(connection, supplier_id, DRAFT, change_id=change_id, now_s=now_s)


def set_kyb_status(
    connection: Connection, supplier_id: str, status: str, *, change_id: str, now_s: int
) -> None:
    """Move an account to a status, and note it for the audit. The caller has locked the account."""
    connection.execute(
        update(_supplier)
        .where(_supplier.c.supplier_id == supplier_id)
        .values(kyb_status=status, kyb_changed_at_s=now_s, changed_at_s=now_s)
    )
    _note_status(connection, supplier_id, status, change_id=change_id, now_s=now_s)


def _note_status(
    connection: Connection, supplier_id: str, status: str, *, change_id: str, now_s: int
) -> None:
    connection.execute(
        insert(_change).values(
            change_id=change_id, supplier_id=supplier_id, kyb_status=status, at_s=now_s
        )
    )
