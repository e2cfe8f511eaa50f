"""Keys of others at rest: put in place, replaced, and erased for good.

A row of a key hangs on what the key is for: an offer, or a buyer's own provider. On SQLite the
bytes of a key that goes are overwritten with zeros; ``scrub`` of the market empties the log of
writes.
"""

from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, delete, insert, select, update

from ledger.database.engine import is_postgres


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A provider key, encrypted under a data key that is itself wrapped by a KMS key."""

    ciphertext: bytes
    wrapped_key: bytes
    kms_key_id: str


class SealedKeys:
    """One table of sealed keys, a row for each owner in the column ``owner``."""

    def __init__(self, table: Table, owner: str) -> None:
        self._table = table
        self._owner = owner

    def load(self, connection: Connection, owner_id: str) -> SealedKey | None:
        """Return an owner's sealed key, or None where it was erased."""
        query = select(self._table).where(self._is_of(owner_id))
        row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _read(row)

    def load_stale(
        self, connection: Connection, *, kms_key_id: str, limit: int
    ) -> list[tuple[str, SealedKey]]:
        """Return sealed keys that another KMS key than ``kms_key_id`` has wrapped, by owner."""
        query = select(self._table).where(self._table.c.kms_key_id != kms_key_id).limit(limit)
        rows = connection.execute(query).mappings()
        return [(str(row[self._owner]), _read(row)) for row in rows]

    def save(self, connection: Connection, owner_id: str, sealed: SealedKey) -> None:
        """Store the first key of an owner."""
        values = {self._owner: owner_id, **asdict(sealed)}
        connection.execute(insert(self._table).values(values))

    def change(self, connection: Connection, owner_id: str, sealed: SealedKey) -> None:
        """Put another key in an owner's place; the old one is erased."""
        overwrite_what_goes(connection)
        of_owner = update(self._table).where(self._is_of(owner_id))
        connection.execute(of_owner.values(asdict(sealed)))

    def replace(
        self, connection: Connection, owner_id: str, *, before: SealedKey, after: SealedKey
    ) -> bool:
        """Put a rewrapped key in place of ``before``; tell whether ``before`` was still there."""
        overwrite_what_goes(connection)
        changed = connection.execute(
            update(self._table)
            .where(
                self._is_of(owner_id),
                self._table.c.wrapped_key == before.wrapped_key,
                self._table.c.ciphertext == before.ciphertext,
            )
            .values(asdict(after))
        )
        return changed.rowcount == 1

    def erase(self, connection: Connection, owner_id: str) -> None:
        """Erase an owner's key. Idempotent."""
        overwrite_what_goes(connection)
        connection.execute(delete(self._table).where(self._is_of(owner_id)))

    def take_down(
        self,
        connection: Connection,
        owners: Table,
        owner_id: str,
        is_theirs: ColumnElement[bool],
        *,
        now_s: int,
    ) -> bool:
        """Mark an owner's row in ``owners`` as deleted and erase its key; tell whether there is one
        for which ``is_theirs`` holds. Idempotent."""
        changed = connection.execute(
            update(owners)
            .where(owners.c[self._owner] == owner_id, is_theirs)
            .values(status="deleted", version=owners.c.version + 1, changed_at_s=now_s)
        )
        if changed.rowcount != 1:
            return False
        self.erase(connection, owner_id)
        return True

    def _is_of(self, owner_id: str) -> ColumnElement[bool]:
        return self._table.c[self._owner] == owner_id


def _read(row: RowMapping) -> SealedKey:
    return SealedKey(bytes(row["ciphertext"]), bytes(row["wrapped_key"]), str(row["kms_key_id"]))


def overwrite_what_goes(connection: Connection) -> None:
    """Have SQLite put zeros where rows are deleted or changed, from here on in the connection."""
    if not is_postgres(connection):
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
