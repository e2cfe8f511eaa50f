"""Whom a request is for, in the buyer's own words: for sums of its usage."""

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("usage") as usage:
        usage.add_column(sa.Column("end_user", sa.String(), nullable=True))
        usage.add_column(sa.Column("labels", sa.String(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("usage") as usage:
        usage.drop_column("labels")
        usage.drop_column("end_user")
