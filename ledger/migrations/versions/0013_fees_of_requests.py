"""What a request costs beside its tokens: on offers, on sales, and where the proxy charges it."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

COLUMNS = (
    ("market_offer", "price_per_request_usdc"),
    ("market_sale", "per_request_usdc"),
    ("usage", "per_request_usdc"),
)


def upgrade() -> None:
    for table, name in COLUMNS:
        op.add_column(table, sa.Column(name, sa.BigInteger(), nullable=True))


def downgrade() -> None:
    for table, name in reversed(COLUMNS):
        op.drop_column(table, name)
