"""Usage that is settled for good can be moved to an archive; its sums stay."""

import sqlalchemy as sa
from alembic import op

revision = "0075"
down_revision = "0068"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batch", sa.Column("archived_at_s", sa.BigInteger(), nullable=True))
    op.add_column("batch", sa.Column("archive_sha256", sa.String(), nullable=True))
    op.add_column(
        "batch_item",
        sa.Column("archived_usdc", sa.BigInteger(), nullable=False, server_default="0"),
    )
    op.create_table(
        "usage_day",
        sa.Column("sum_id", sa.String(), nullable=False),
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("end_user", sa.String(), nullable=True),
        sa.Column("labels", sa.Text(), nullable=True),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_usdc", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sum_id"),
    )
    op.create_index("usage_day_token", "usage_day", ["token_id", "day"])


def downgrade() -> None:
    op.drop_table("usage_day")
    op.drop_column("batch_item", "archived_usdc")
    op.drop_column("batch", "archive_sha256")
    op.drop_column("batch", "archived_at_s")
