"""Media sold by units, jobs that outlive their requests, and buyers' own providers."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

OPEN = sa.text("state IN ('submitting','queued','in_progress')")
TABLES = ("market_provider_key", "market_provider", "market_artifact", "market_job")


def upgrade() -> None:
    op.add_column("market_offer", sa.Column("unit", sa.String(), nullable=True))
    op.add_column("market_sale", sa.Column("unit", sa.String(), nullable=True))
    op.create_table(
        "market_job",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=True),
        sa.Column("request_digest", sa.String(), nullable=True),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("sale_id", sa.String(), nullable=False),
        sa.Column("offer_id", sa.String(), nullable=False),
        sa.Column("upstream_id", sa.Text(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("error_code", sa.String(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("flat_fee_usdc", sa.BigInteger(), nullable=False),
        sa.Column("polls_failed", sa.Integer(), nullable=False),
        sa.Column("created_at_s", sa.BigInteger(), nullable=False),
        sa.Column("deadline_s", sa.BigInteger(), nullable=False),
        sa.Column("next_poll_at_s", sa.BigInteger(), nullable=False),
        sa.Column("resolved_at_s", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('submitting','queued','in_progress',"
            "'completed','failed','cancelled','expired')",
            name="state_known",
        ),
        sa.ForeignKeyConstraint(["account_id"], ["market_account.account_id"]),
        sa.PrimaryKeyConstraint("job_id"),
        sa.UniqueConstraint(
            "account_id", "endpoint", "scope", "idempotency_key", name="market_job_once"
        ),
    )
    op.create_index(
        "market_job_due",
        "market_job",
        ["next_poll_at_s"],
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.create_table(
        "market_artifact",
        sa.Column("artifact_id", sa.String(), nullable=False),
        sa.Column("sale_id", sa.String(), nullable=False),
        sa.Column("offer_id", sa.String(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("expires_at_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("artifact_id"),
    )
    op.create_index(
        "ix_market_artifact_expires_at_s", "market_artifact", ["expires_at_s"], unique=False
    )
    op.create_table(
        "market_provider",
        sa.Column("provider_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("models", sa.Text(), nullable=False),
        sa.Column("position", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at_s", sa.BigInteger(), nullable=False),
        sa.Column("changed_at_s", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("position IN ('priority','fallback')", name="position_known"),
        sa.CheckConstraint("status IN ('active','paused','deleted')", name="status_known"),
        sa.ForeignKeyConstraint(["account_id"], ["market_account.account_id"]),
        sa.PrimaryKeyConstraint("provider_id"),
    )
    op.create_index("market_provider_account", "market_provider", ["account_id"])
    op.create_index("market_provider_changed", "market_provider", ["changed_at_s"])
    op.create_table(
        "market_provider_key",
        sa.Column("provider_id", sa.String(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("kms_key_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["provider_id"], ["market_provider.provider_id"]),
        sa.PrimaryKeyConstraint("provider_id"),
    )
    op.create_index(
        "ix_market_provider_key_kms_key_id", "market_provider_key", ["kms_key_id"], unique=False
    )


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    op.drop_column("market_sale", "unit")
    op.drop_column("market_offer", "unit")
