"""Requests with an idempotency key, and their sealed answers."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "kept_answer",
        sa.Column("lookup_id", sa.String(), nullable=False),
        sa.Column("body_digest", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_bytes", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_s", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('open','kept','dropped')", name="kept_state_known"),
        sa.CheckConstraint("(state = 'kept') = (sealed IS NOT NULL)", name="kept_when_sealed"),
        sa.PrimaryKeyConstraint("lookup_id"),
    )
    op.create_index("ix_kept_answer_expires_at_s", "kept_answer", ["expires_at_s"])
    op.create_index("kept_answer_of_position", "kept_answer", ["token_id", "sealed_bytes"])


def downgrade() -> None:
    op.drop_index("kept_answer_of_position", "kept_answer")
    op.drop_index("ix_kept_answer_expires_at_s", "kept_answer")
    op.drop_table("kept_answer")
