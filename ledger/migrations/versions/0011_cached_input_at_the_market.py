"""A price of cached prompt tokens on offers and sales, and how many of a sale's were cached."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COLUMNS = (
    ("market_offer", "price_cached_input_usdc_per_mtok"),
    ("market_sale", "cached_input_usdc_per_mtok"),
    ("market_sale", "cached_tokens"),
)


def upgrade() -> None:
    for table, name in COLUMNS:
        op.add_column(table, sa.Column(name, sa.BigInteger(), nullable=True))


def downgrade() -> None:
    for table, name in reversed(COLUMNS):
        op.drop_column(table, name)
