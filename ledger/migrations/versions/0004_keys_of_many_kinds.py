"""The keys that a buyer divides, and what else the proxy keeps."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

USAGE_COLUMNS = ("cached_input_usdc_per_mtok", "cached_tokens")


def upgrade() -> None:
    for name in USAGE_COLUMNS:
        op.add_column("usage", sa.Column(name, sa.BigInteger(), nullable=True))
    op.create_table(
        "child_key",
        sa.Column("key_id", sa.String(), primary_key=True),
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column("key_epoch", sa.BigInteger(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("models", sa.Text(), nullable=True),
        sa.Column("request_usdc_max", sa.BigInteger(), nullable=True),
        sa.Column("day_usdc_max", sa.BigInteger(), nullable=True),
        sa.Column("month_usdc_max", sa.BigInteger(), nullable=True),
        sa.Column("lifetime_usdc_max", sa.BigInteger(), nullable=True),
        sa.Column("requests_per_minute_max", sa.Integer(), nullable=True),
        sa.Column("concurrency_max", sa.Integer(), nullable=True),
        sa.Column("expires_at_s", sa.BigInteger(), nullable=True),
        sa.Column("created_at_s", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at_s", sa.BigInteger(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("grace_until_s", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("day_used_usdc", sa.BigInteger(), nullable=False),
        sa.Column("month_used_usdc", sa.BigInteger(), nullable=False),
        sa.Column("used_usdc", sa.BigInteger(), nullable=False),
        sa.Column("minute", sa.BigInteger(), nullable=False),
        sa.Column("minute_requests", sa.Integer(), nullable=False),
        sa.Column("open_requests", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "day_used_usdc >= 0 AND month_used_usdc >= 0 AND used_usdc >= 0", name="used_positive"
        ),
        sa.CheckConstraint("open_requests >= 0", name="open_positive"),
    )
    op.create_index("child_key_token", "child_key", ["token_id", "key_epoch"])
    op.create_table(
        "used_nonce",
        sa.Column("nonce", sa.String(), primary_key=True),
        sa.Column("expires_at_s", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_used_nonce_expires_at_s", "used_nonce", ["expires_at_s"])


def downgrade() -> None:
    op.drop_table("used_nonce")
    op.drop_table("child_key")
    for name in USAGE_COLUMNS:
        op.drop_column("usage", name)
