"""The least that a payment by x402 must move to be worth sending."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "payment_floor",
        sa.Column("floor_id", sa.Integer(), nullable=False),
        sa.Column("floor_usdc", sa.BigInteger(), nullable=False),
        sa.Column("before_usdc", sa.BigInteger(), nullable=False),
        sa.Column("changed_at_s", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("floor_id = 1", name=op.f("only_one")),
        sa.CheckConstraint("floor_usdc >= 0 AND before_usdc >= 0", name=op.f("not_negative")),
        sa.PrimaryKeyConstraint("floor_id"),
    )


def downgrade() -> None:
    op.drop_table("payment_floor")
