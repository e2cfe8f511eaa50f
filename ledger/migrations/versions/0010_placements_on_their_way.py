"""Holds that are being placed: until they have ended, a smaller one counts already."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hold_placement",
        sa.Column("intent_id", sa.String(), nullable=False),
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column("amount_usdc", sa.BigInteger(), nullable=False),
        sa.Column("is_reduction", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("intent_id", "token_id"),
    )
    op.create_index("hold_placement_token", "hold_placement", ["token_id"])
    op.add_column("position", sa.Column("hold_placing_usdc", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("position", "hold_placing_usdc")
    op.drop_index("hold_placement_token", "hold_placement")
    op.drop_table("hold_placement")
