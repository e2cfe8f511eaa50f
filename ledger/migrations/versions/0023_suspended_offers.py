"""Offers that are suspended, with the evidence."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("market_offer", sa.Column("suspended_for", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("market_offer", "suspended_for")
