"""What the keeper spends on gas in a day, and what it leaves alone."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "keeper_day",
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("gas_usdc", sa.BigInteger(), nullable=False),
        sa.Column("left_items", sa.BigInteger(), nullable=False),
        sa.Column("left_usdc", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "kind", "account"),
    )


def downgrade() -> None:
    op.drop_table("keeper_day")
