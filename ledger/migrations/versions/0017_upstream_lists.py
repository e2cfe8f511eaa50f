"""The list last heard from an upstream."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "upstream_list",
        sa.Column("upstream_digest", sa.String(), nullable=False),
        sa.Column("models", sa.Text(), nullable=False),
        sa.Column("prices", sa.Text(), nullable=False),
        sa.Column("heard_at_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("upstream_digest"),
    )


def downgrade() -> None:
    op.drop_table("upstream_list")
