"""Alembic's entry point; run by ``ledger.database.schema.migrate`` inside its transaction."""

from alembic import context
from sqlmodel import SQLModel

from ledger import tables as tables

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=SQLModel.metadata,
    # SQLite alters a table only by copying it.
    render_as_batch=connection.dialect.name == "sqlite",
)
context.run_migrations()
