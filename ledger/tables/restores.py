"""Whether a ledger is being restored."""

from sqlalchemy import BigInteger, Text
from sqlmodel import Field, SQLModel


class LedgerRestore(SQLModel, table=True):
    """One row while a backup is brought back, none else: no process works with such a ledger."""

    __tablename__ = "ledger_restore"

    restore_id: int = Field(primary_key=True)
    """Always 1."""
    since_s: int = Field(sa_type=BigInteger)
    backup_sha256: str
    """Of the backup's data: only a restore of the same goes on."""
    ended_keys: str | None = Field(default=None, sa_type=Text)
    """How many keys of each kind were ended, as JSON; None before they were."""
