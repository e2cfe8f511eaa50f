"""Payers who burnt gas: when a payment failed in a block by its payer's doing."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("x402_payment", sa.Column("failed_in_block_s", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("x402_payment", "failed_in_block_s")
