"""Browsers in which a wallet is signed in."""

import sqlalchemy as sa
from alembic import op

revision = "0046"
down_revision = "0043"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "wallet_session",
        sa.Column("session_hash", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("user_agent", sa.Text(), nullable=False),
        sa.Column("created_at_s", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("session_hash"),
        sa.UniqueConstraint("session_id"),
    )
    op.create_index("wallet_session_of", "wallet_session", ["address"])
    op.create_index("ix_wallet_session_expires_at_s", "wallet_session", ["expires_at_s"])


def downgrade() -> None:
    op.drop_table("wallet_session")
