"""Approval of sellers, what is written down of them, and keys that take unapproved ones."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("market_seller", sa.Column("decided_at_s", sa.BigInteger(), nullable=True))
    op.add_column("market_seller", sa.Column("note", sa.Text(), nullable=True))
    op.add_column("market_key", sa.Column("trusted_only", sa.Boolean(), nullable=True))
    op.add_column("market_sale", sa.Column("is_cut", sa.Boolean(), nullable=True))


def downgrade() -> None:
    op.drop_column("market_sale", "is_cut")
    op.drop_column("market_key", "trusted_only")
    op.drop_column("market_seller", "note")
    op.drop_column("market_seller", "decided_at_s")
