"""Subscriptions to APIs whose unused quota is sold by the call, and every such call."""

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_connection",
        sa.Column("connection_id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("payout_address", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("suspended_for", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at_s", sa.BigInteger(), nullable=False),
        sa.Column("changed_at_s", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("status IN ('enabled','disabled','deleted')", name="status_known"),
        sa.ForeignKeyConstraint(
            ["owner"],
            ["market_seller.address"],
        ),
        sa.PrimaryKeyConstraint("connection_id"),
    )
    op.create_index("api_connection_changed", "api_connection", ["changed_at_s"], unique=False)
    op.create_index(
        "api_connection_name",
        "api_connection",
        ["owner", "name"],
        unique=True,
        sqlite_where=sa.text("status != 'deleted'"),
        postgresql_where=sa.text("status != 'deleted'"),
    )
    op.create_index("api_connection_owner", "api_connection", ["owner"], unique=False)
    op.create_table(
        "api_connection_key",
        sa.Column("connection_id", sa.String(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("kms_key_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["api_connection.connection_id"],
        ),
        sa.PrimaryKeyConstraint("connection_id"),
    )
    op.create_index(
        op.f("ix_api_connection_key_kms_key_id"), "api_connection_key", ["kms_key_id"], unique=False
    )
    op.create_table(
        "api_name",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("approved_at_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", "owner"),
    )
    op.create_table(
        "api_period",
        sa.Column("connection_id", sa.String(), nullable=False),
        sa.Column("starts_at_s", sa.BigInteger(), nullable=False),
        sa.Column("ends_at_s", sa.BigInteger(), nullable=False),
        sa.Column("for_sale_units", sa.BigInteger(), nullable=False),
        sa.Column("sold_units", sa.BigInteger(), nullable=False),
        sa.Column("reserved_units", sa.BigInteger(), nullable=False),
        sa.Column("own_units", sa.BigInteger(), nullable=False),
        sa.Column("lost_units", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("sold_units + reserved_units <= for_sale_units", name="fits"),
        sa.CheckConstraint("sold_units >= 0 AND reserved_units >= 0", name="not_negative"),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["api_connection.connection_id"],
        ),
        sa.PrimaryKeyConstraint("connection_id", "starts_at_s"),
    )
    op.create_table(
        "api_call",
        sa.Column("call_id", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("connection_id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("payout_address", sa.String(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("period_starts_at_s", sa.BigInteger(), nullable=False),
        sa.Column("units_max", sa.BigInteger(), nullable=False),
        sa.Column("price_usdc", sa.BigInteger(), nullable=False),
        sa.Column("is_flat", sa.Boolean(), nullable=False),
        sa.Column("transaction_fee_usdc", sa.BigInteger(), nullable=False),
        sa.Column("ceiling_usdc", sa.BigInteger(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=True),
        sa.Column("cost_usdc", sa.BigInteger(), nullable=True),
        sa.Column("earning_usdc", sa.BigInteger(), nullable=True),
        sa.Column("fee_usdc", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("void_reason", sa.String(), nullable=True),
        sa.Column("is_api_failure", sa.Boolean(), nullable=False),
        sa.Column("api_ms", sa.BigInteger(), nullable=True),
        sa.Column("whole_ms", sa.BigInteger(), nullable=True),
        sa.Column("reserved_at_s", sa.BigInteger(), nullable=False),
        sa.Column("lease_expires_at_s", sa.BigInteger(), nullable=False),
        sa.Column("holder_id", sa.String(), nullable=True),
        sa.Column("resolved_at_s", sa.BigInteger(), nullable=True),
        sa.Column("payout_id", sa.String(), nullable=True),
        sa.CheckConstraint("(state = 'posted') = (cost_usdc IS NOT NULL)", name="cost_when_posted"),
        sa.CheckConstraint("state IN ('reserved','posted','voided')", name="state_known"),
        sa.CheckConstraint(
            "cost_usdc = earning_usdc + fee_usdc AND earning_usdc >= 0 AND fee_usdc >= 0",
            name="split_adds_up",
        ),
        sa.CheckConstraint("cost_usdc >= 0 AND cost_usdc <= ceiling_usdc", name="cost_fits"),
        sa.CheckConstraint("units >= 0 AND units <= units_max", name="units_fit"),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["market_account.account_id"],
        ),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["api_connection.connection_id"],
        ),
        sa.PrimaryKeyConstraint("call_id"),
        sa.UniqueConstraint("request_id", "attempt", name="api_call_attempt"),
    )
    op.create_index("api_call_account", "api_call", ["account_id", "call_id"], unique=False)
    op.create_index("api_call_connection", "api_call", ["connection_id", "call_id"], unique=False)
    op.create_index(
        "api_call_open",
        "api_call",
        ["lease_expires_at_s"],
        unique=False,
        sqlite_where=sa.text("state = 'reserved'"),
        postgresql_where=sa.text("state = 'reserved'"),
    )
    op.create_index("api_call_owner", "api_call", ["owner", "call_id"], unique=False)
    op.create_index(
        "api_call_unpaid",
        "api_call",
        ["payout_address"],
        unique=False,
        sqlite_where=sa.text("state = 'posted' AND payout_id IS NULL"),
        postgresql_where=sa.text("state = 'posted' AND payout_id IS NULL"),
    )
    op.create_index(op.f("ix_api_call_payout_id"), "api_call", ["payout_id"], unique=False)
    op.create_table(
        "api_flag",
        sa.Column("connection_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("flagged_at_s", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["api_connection.connection_id"],
        ),
        sa.PrimaryKeyConstraint("connection_id", "account_id", "reason"),
    )


def downgrade() -> None:
    for table in ("api_flag", "api_call", "api_period", "api_name", "api_connection_key"):
        op.drop_table(table)
    op.drop_table("api_connection")
