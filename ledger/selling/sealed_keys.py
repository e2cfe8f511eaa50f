"""Keys of others at rest: put in place, replaced, and erased for good.

A row of a key hangs on what the key is for: an offer, or a buyer's own provider. On SQLite the
bytes of a key that goes are overwritten with zeros; ``scrub`` of the market empties the log of
writes.
"""

from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, Connection, Table, delete, insert, update

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

    def _is_of(self, owner_id: str) -> ColumnElement[bool]:
        return self._table.c[self._owner] == owner_id


def overwrite_what_goes(connection: Connection) -> None:
    """Have SQLite put zeros where rows are deleted or changed, from here on in the connection."""
    if not is_postgres(connection):
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
