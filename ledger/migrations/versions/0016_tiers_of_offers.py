"""Prices of longer prompts, on offers."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("market_offer", sa.Column("price_tiers", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("market_offer", "price_tiers")
