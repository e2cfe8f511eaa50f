"""Which older versions may go on with the schema."""

from sqlmodel import Field, SQLModel


class SchemaPromise(SQLModel, table=True):
    """One row: the oldest revision whose code works on this schema. Whoever migrates writes it."""

    __tablename__ = "schema_promise"

    promise_id: int = Field(primary_key=True)
    """Always 1."""
    oldest_revision: str
