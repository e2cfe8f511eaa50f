"""Which older versions' code works on the schema: the migrator writes it, see ``oldest_revision``.

A migration that takes anything away from older code (a column or table dropped, renamed or made
narrower) says ``oldest_revision``: the first revision whose code lives without it. Every other
migration only adds, and processes of the version before go on beside it, restarts included.
"""

import sqlalchemy as sa
from alembic import op

revision = "0056"
down_revision = "0055"
branch_labels = None
depends_on = None

oldest_revision = "0056"
"""Code before this one does not read the promise."""


def upgrade() -> None:
    op.create_table(
        "schema_promise",
        sa.Column("promise_id", sa.Integer(), nullable=False),
        sa.Column("oldest_revision", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("promise_id"),
    )


def downgrade() -> None:
    op.drop_table("schema_promise")
