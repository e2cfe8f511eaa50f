"""The first schema."""

import sqlalchemy as sa
from alembic import op

from ledger.tables.types import Uint256

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column("key_epoch", sa.BigInteger(), nullable=False),
        sa.Column("issued_at_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
    )
    with op.batch_alter_table("api_key", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_api_key_token_id"), ["token_id"], unique=False)

    op.create_table(
        "batch",
        sa.Column("batch_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("receipts_root", sa.String(), nullable=False),
        sa.Column("total_usdc", sa.BigInteger(), nullable=False),
        sa.Column("planned_at_s", sa.BigInteger(), nullable=False),
        sa.Column("settled_block", sa.BigInteger(), nullable=True),
        sa.Column("settled_tx_hash", sa.String(), nullable=True),
        sa.CheckConstraint("state IN ('planned','settled','abandoned')", name="state_known"),
        sa.PrimaryKeyConstraint("batch_id"),
    )
    op.create_table(
        "block",
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", sa.String(), nullable=False),
        sa.Column("parent_hash", sa.String(), nullable=False),
        sa.Column("timestamp_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "demand",
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column("required_usdc", sa.BigInteger(), nullable=False),
        sa.Column("wanted_at_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token_id"),
    )
    op.create_table(
        "deployment",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.String(), nullable=False),
        sa.Column("adapter", sa.String(), nullable=False),
        sa.Column("payouts", sa.String(), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", sa.String(), nullable=False),
        sa.Column("batch_prefix", sa.String(), nullable=False),
        sa.Column("next_batch_number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id"),
    )
    op.create_table(
        "event",
        sa.Column("block_hash", sa.String(), nullable=False),
        sa.Column("log_index", sa.Integer(), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.Column("block_timestamp_s", sa.BigInteger(), nullable=False),
        sa.Column("tx_hash", sa.String(), nullable=False),
        sa.Column("contract", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("token_id", sa.BigInteger(), nullable=True),
        sa.Column("batch_id", sa.String(), nullable=True),
        sa.Column("args", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("block_hash", "log_index"),
    )
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.create_index(
            "event_token", ["token_id", "block_number", "log_index"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_event_batch_id"), ["batch_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_event_block_number"), ["block_number"], unique=False)

    op.create_table(
        "hold_raise",
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.Column("log_index", sa.Integer(), nullable=False),
        sa.Column("raised_usdc", sa.BigInteger(), nullable=False),
        sa.Column("expires_before_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token_id", "block_number", "log_index"),
    )
    op.create_table(
        "intent",
        sa.Column("intent_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("sender", sa.String(), nullable=True),
        sa.Column("nonce", sa.BigInteger(), nullable=True),
        sa.Column("tx_hash", sa.String(), nullable=True),
        sa.Column("raw_tx", sa.Text(), nullable=True),
        sa.Column("mined_block", sa.BigInteger(), nullable=True),
        sa.Column("mined_block_hash", sa.String(), nullable=True),
        sa.Column("gas_used", sa.BigInteger(), nullable=True),
        sa.Column("fee_wei", Uint256(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at_s", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("intent_id"),
    )
    with op.batch_alter_table("intent", schema=None) as batch_op:
        batch_op.create_index("intent_open", ["state"], unique=False)

    op.create_table(
        "mirror",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", sa.String(), nullable=False),
        sa.Column("block_timestamp_s", sa.BigInteger(), nullable=False),
        sa.Column("head_number", sa.BigInteger(), nullable=False),
        sa.Column("observed_at_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id"),
    )
    op.create_table(
        "position",
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("model_tier", sa.Integer(), nullable=False),
        sa.Column("daily_smoothing_bps", sa.Integer(), nullable=False),
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("principal_usdc", sa.BigInteger(), nullable=False),
        sa.Column("shares", Uint256(), nullable=False),
        sa.Column("harvest_interval_s", sa.Integer(), nullable=False),
        sa.Column("last_harvest_at_s", sa.BigInteger(), nullable=False),
        sa.Column("key_epoch", sa.BigInteger(), nullable=False),
        sa.Column("credited_usdc", sa.BigInteger(), nullable=False),
        sa.Column("spent_usdc", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn_usdc", sa.BigInteger(), nullable=False),
        sa.Column("hold_usdc", sa.BigInteger(), nullable=False),
        sa.Column("hold_expires_at_s", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("day_base_usdc", sa.BigInteger(), nullable=False),
        sa.Column("day_spent_usdc", sa.BigInteger(), nullable=False),
        sa.Column("release_requested_at_s", sa.BigInteger(), nullable=True),
        sa.Column("hold_unconfirmed_usdc", sa.BigInteger(), nullable=False),
        sa.Column("hold_confirmed_expires_at_s", sa.BigInteger(), nullable=False),
        sa.Column("drawn_usdc", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("drawn_usdc >= 0", name="drawn_not_negative"),
        sa.CheckConstraint("hold_usdc >= 0", name="hold_not_negative"),
        sa.CheckConstraint("spent_usdc + withdrawn_usdc <= credited_usdc", name="solvent"),
        sa.PrimaryKeyConstraint("token_id"),
    )
    op.create_table(
        "usage",
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column("key_epoch", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("ceiling_usdc", sa.BigInteger(), nullable=False),
        sa.Column("cost_usdc", sa.BigInteger(), nullable=True),
        sa.Column("input_usdc_per_mtok", sa.BigInteger(), nullable=False),
        sa.Column("output_usdc_per_mtok", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=True),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=True),
        sa.Column("reserved_at_s", sa.BigInteger(), nullable=False),
        sa.Column("lease_expires_at_s", sa.BigInteger(), nullable=False),
        sa.Column("resolved_at_s", sa.BigInteger(), nullable=True),
        sa.Column("batch_id", sa.String(), nullable=True),
        sa.Column("void_reason", sa.String(), nullable=True),
        sa.CheckConstraint(
            "(state IN ('reserved','voided')) = (cost_usdc IS NULL)", name="cost_when_posted"
        ),
        sa.CheckConstraint(
            "(state IN ('settling','settled')) = (batch_id IS NOT NULL)", name="batch_when_batched"
        ),
        sa.CheckConstraint(
            "state IN ('reserved','posted','settling','settled','voided','written_off')",
            name="state_known",
        ),
        sa.CheckConstraint("ceiling_usdc >= 0", name="ceiling_not_negative"),
        sa.CheckConstraint("cost_usdc >= 0 AND cost_usdc <= ceiling_usdc", name="cost_fits"),
        sa.PrimaryKeyConstraint("request_id"),
    )
    with op.batch_alter_table("usage", schema=None) as batch_op:
        batch_op.create_index("usage_batch", ["batch_id"], unique=False)
        batch_op.create_index("usage_open", ["state", "token_id"], unique=False)
        batch_op.create_index("usage_token", ["token_id", "reserved_at_s"], unique=False)

    op.create_table(
        "batch_item",
        sa.Column("batch_id", sa.String(), nullable=False),
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column("cost_usdc", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["batch.batch_id"],
        ),
        sa.PrimaryKeyConstraint("batch_id", "token_id"),
    )


def downgrade() -> None:
    op.drop_table("batch_item")
    with op.batch_alter_table("usage", schema=None) as batch_op:
        batch_op.drop_index("usage_token")
        batch_op.drop_index("usage_open")
        batch_op.drop_index("usage_batch")

    op.drop_table("usage")
    op.drop_table("position")
    op.drop_table("mirror")
    with op.batch_alter_table("intent", schema=None) as batch_op:
        batch_op.drop_index("intent_open")

    op.drop_table("intent")
    op.drop_table("hold_raise")
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_event_block_number"))
        batch_op.drop_index(batch_op.f("ix_event_batch_id"))
        batch_op.drop_index("event_token")

    op.drop_table("event")
    op.drop_table("deployment")
    op.drop_table("demand")
    op.drop_table("block")
    op.drop_table("batch")
    with op.batch_alter_table("api_key", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_api_key_token_id"))

    op.drop_table("api_key")
