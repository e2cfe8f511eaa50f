"""Suppliers' accounts: opened, found, and moved from one status to the next.

Every function takes the connection of the caller's transaction; what is written is written with
all else in it. Times are Unix seconds.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, insert, select, update

from ledger.database.engine import is_postgres
from ledger.selling.sealed_keys import SealedKey
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


@dataclass(frozen=True, slots=True)
class Credentials:
    """What signs an account in."""

    supplier_id: str
    password_hash: str | None
    totp: SealedKey | None
    """The secret of one-time codes, sealed; None: none was begun."""
    has_totp: bool

    def __repr__(self) -> str:
        return f"Credentials({self.supplier_id})"


def load_credentials(
    connection: Connection, *, email: str | None = None, supplier_id: str | None = None
) -> Credentials | None:
    """Return what signs an account in, by its address or its id; None without such an account."""
    is_it = (
        _supplier.c.email == email
        if supplier_id is None
        else _supplier.c.supplier_id == supplier_id
    )
    row = connection.execute(
        select(
            _supplier.c.supplier_id,
            _supplier.c.password_hash,
            _supplier.c.totp_ciphertext,
            _supplier.c.totp_wrapped_key,
            _supplier.c.totp_kms_key_id,
            _supplier.c.totp_confirmed_at_s,
        ).where(is_it)
    ).one_or_none()
    if row is None:
        return None
    totp = None
    if row.totp_ciphertext is not None:
        totp = SealedKey(
            bytes(row.totp_ciphertext), bytes(row.totp_wrapped_key), row.totp_kms_key_id
        )
    return Credentials(
        row.supplier_id, row.password_hash, totp, row.totp_confirmed_at_s is not None
    )


def set_password(connection: Connection, supplier_id: str, password_hash: str | None) -> None:
    """Put another password in place; None: there is none, and nobody can sign in."""
    connection.execute(
        update(_supplier)
        .where(_supplier.c.supplier_id == supplier_id)
        .values(password_hash=password_hash)
    )


def set_totp(connection: Connection, supplier_id: str, sealed: SealedKey | None) -> None:
    """Put another secret of one-time codes in place, which no code was shown for yet; None: codes
    are asked for no more."""
    connection.execute(
        update(_supplier)
        .where(_supplier.c.supplier_id == supplier_id)
        .values(
            totp_ciphertext=None if sealed is None else sealed.ciphertext,
            totp_wrapped_key=None if sealed is None else sealed.wrapped_key,
            totp_kms_key_id=None if sealed is None else sealed.kms_key_id,
            totp_confirmed_at_s=None,
        )
    )


def confirm_totp(connection: Connection, supplier_id: str, *, now_s: int) -> None:
    """Ask for one-time codes from now on."""
    connection.execute(
        update(_supplier)
        .where(_supplier.c.supplier_id == supplier_id, _supplier.c.totp_ciphertext.is_not(None))
        .values(totp_confirmed_at_s=now_s)
    )


def drop_begun_codes(connection: Connection, supplier_id: str) -> None:
    """Forget a secret of one-time codes that no code was shown for yet; codes that are asked for
    stay."""
    is_begun = _supplier.c.totp_confirmed_at_s.is_(None)
    if connection.execute(
        select(_supplier.c.supplier_id).where(_supplier.c.supplier_id == supplier_id, is_begun)
    ).first():
        set_totp(connection, supplier_id, None)


def use_totp_step(connection: Connection, supplier_id: str, step: int) -> bool:
    """Use up the codes of an interval, and of all before; tell whether they were unused."""
    changed = connection.execute(
        update(_supplier)
        .where(_supplier.c.supplier_id == supplier_id, _supplier.c.totp_last_step < step)
        .values(totp_last_step=step)
    )
    return changed.rowcount == 1


def set_role(connection: Connection, supplier_id: str, role: str, *, now_s: int) -> None:
    """Say what an account may do beside supplying: ``supplier`` (nothing), ``reviewer`` or
    ``operator``."""
    connection.execute(
        update(_supplier)
        .where(_supplier.c.supplier_id == supplier_id)
        .values(role=role, changed_at_s=now_s)
    )


def set_fee(connection: Connection, supplier_id: str, fee_bps: int, *, now_s: int) -> bool:
    """Agree a fee with a supplier, 0 to 10,000 bps, for days that are not settled yet; tell whether
    there is such an account."""
    changed = connection.execute(
        update(_supplier)
        .where(_supplier.c.supplier_id == supplier_id)
        .values(fee_bps=fee_bps, changed_at_s=now_s)
    )
    return changed.rowcount == 1
