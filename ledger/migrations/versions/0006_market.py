"""Sellers, offers, buyers without a position, and what they are owed."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

OPEN = sa.text("state = 'reserved'")
UNPAID = sa.text("state = 'posted' AND payout_id IS NULL")
TABLES = (
    "market_payout",
    "market_sale",
    "market_offer_key",
    "market_offer",
    "market_nonce",
    "market_key",
    "market_seller",
    "market_credit",
    "market_account",
)


def upgrade() -> None:
    op.create_table(
        "market_account",
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("wallet", sa.String(), nullable=True),
        sa.Column("credited_usdc", sa.BigInteger(), nullable=False),
        sa.Column("spent_usdc", sa.BigInteger(), nullable=False),
        sa.Column("reserved_usdc", sa.BigInteger(), nullable=False),
        sa.Column("created_at_s", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('prepaid','operator')", name="kind_known"),
        sa.CheckConstraint("spent_usdc + reserved_usdc <= credited_usdc", name="covered"),
        sa.CheckConstraint("spent_usdc >= 0 AND reserved_usdc >= 0", name="not_negative"),
        sa.PrimaryKeyConstraint("account_id"),
        sa.UniqueConstraint("wallet"),
    )
    op.create_table(
        "market_key",
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("key_hash", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("created_at_s", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_s", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at_s", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind IN ('seller','buyer')", name="kind_known"),
        sa.PrimaryKeyConstraint("key_id"),
        sa.UniqueConstraint("key_hash"),
    )
    op.create_index("market_key_owner", "market_key", ["kind", "owner"])
    op.create_table(
        "market_nonce",
        sa.Column("nonce", sa.String(), nullable=False),
        sa.Column("expires_at_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("nonce"),
    )
    op.create_index("ix_market_nonce_expires_at_s", "market_nonce", ["expires_at_s"])
    op.create_table(
        "market_payout",
        sa.Column("payout_id", sa.String(), nullable=False),
        sa.Column("seller", sa.String(), nullable=False),
        sa.Column("payee", sa.String(), nullable=False),
        sa.Column("amount_usdc", sa.BigInteger(), nullable=False),
        sa.Column("planned_at_s", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount_usdc > 0", name="amount_positive"),
        sa.PrimaryKeyConstraint("payout_id"),
    )
    op.create_index("ix_market_payout_seller", "market_payout", ["seller"])
    op.create_table(
        "market_seller",
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("fee_bps", sa.Integer(), nullable=True),
        sa.Column("payout_policy", sa.String(), nullable=False),
        sa.Column("is_trusted", sa.Boolean(), nullable=False),
        sa.Column("created_at_s", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("payout_policy IN ('at_once','daily')", name="policy_known"),
        sa.CheckConstraint("fee_bps IS NULL OR fee_bps BETWEEN 0 AND 10000", name="fee_in_range"),
        sa.PrimaryKeyConstraint("address"),
    )
    op.create_table(
        "market_credit",
        sa.Column("credit_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("amount_usdc", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("credited_at_s", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["market_account.account_id"],
        ),
        sa.PrimaryKeyConstraint("credit_id"),
    )
    op.create_index("ix_market_credit_account_id", "market_credit", ["account_id"])
    op.create_table(
        "market_offer",
        sa.Column("offer_id", sa.String(), nullable=False),
        sa.Column("seller", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("upstream_model", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("seller_base_url", sa.Text(), nullable=False),
        sa.Column("price_input_usdc_per_mtok", sa.BigInteger(), nullable=True),
        sa.Column("price_output_usdc_per_mtok", sa.BigInteger(), nullable=True),
        sa.Column("cost_multiplier_ppm", sa.BigInteger(), nullable=True),
        sa.Column("cap_daily_usdc", sa.BigInteger(), nullable=True),
        sa.Column("quota_total_usdc", sa.BigInteger(), nullable=True),
        sa.Column("rate_limit_rpm", sa.Integer(), nullable=True),
        sa.Column("payout_address", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("day_used_usdc", sa.BigInteger(), nullable=False),
        sa.Column("total_used_usdc", sa.BigInteger(), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=True),
        sa.Column("request_digest", sa.String(), nullable=True),
        sa.Column("created_at_s", sa.BigInteger(), nullable=False),
        sa.Column("changed_at_s", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("status IN ('active','paused','deleted')", name="status_known"),
        sa.CheckConstraint(
            "(cost_multiplier_ppm IS NULL) = (price_input_usdc_per_mtok IS NOT NULL"
            " AND price_output_usdc_per_mtok IS NOT NULL)",
            name="priced_one_way",
        ),
        sa.CheckConstraint("day_used_usdc >= 0 AND total_used_usdc >= 0", name="not_negative"),
        sa.ForeignKeyConstraint(
            ["seller"],
            ["market_seller.address"],
        ),
        sa.PrimaryKeyConstraint("offer_id"),
        sa.UniqueConstraint("seller", "idempotency_key", name="market_offer_once"),
    )
    op.create_index("market_offer_changed", "market_offer", ["changed_at_s"])
    op.create_index("market_offer_seller", "market_offer", ["seller"])
    op.create_table(
        "market_offer_key",
        sa.Column("offer_id", sa.String(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("kms_key_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["offer_id"],
            ["market_offer.offer_id"],
        ),
        sa.PrimaryKeyConstraint("offer_id"),
    )
    op.create_index("ix_market_offer_key_kms_key_id", "market_offer_key", ["kms_key_id"])
    op.create_table(
        "market_sale",
        sa.Column("sale_id", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("offer_id", sa.String(), nullable=False),
        sa.Column("seller", sa.String(), nullable=False),
        sa.Column("payout_address", sa.String(), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("input_usdc_per_mtok", sa.BigInteger(), nullable=False),
        sa.Column("output_usdc_per_mtok", sa.BigInteger(), nullable=False),
        sa.Column("fee_bps", sa.Integer(), nullable=False),
        sa.Column("ceiling_usdc", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=True),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cost_usdc", sa.BigInteger(), nullable=True),
        sa.Column("earning_usdc", sa.BigInteger(), nullable=True),
        sa.Column("fee_usdc", sa.BigInteger(), nullable=True),
        sa.Column("margin_usdc", sa.BigInteger(), nullable=True),
        sa.Column("void_reason", sa.String(), nullable=True),
        sa.Column("is_seller_failure", sa.Boolean(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("reserved_at_s", sa.BigInteger(), nullable=False),
        sa.Column("lease_expires_at_s", sa.BigInteger(), nullable=False),
        sa.Column("resolved_at_s", sa.BigInteger(), nullable=True),
        sa.Column("payout_id", sa.String(), nullable=True),
        sa.CheckConstraint("(state = 'posted') = (cost_usdc IS NOT NULL)", name="cost_when_posted"),
        sa.CheckConstraint("state IN ('reserved','posted','voided')", name="state_known"),
        sa.CheckConstraint(
            "cost_usdc = earning_usdc + fee_usdc + margin_usdc"
            " AND earning_usdc >= 0 AND fee_usdc >= 0 AND margin_usdc >= 0",
            name="split_adds_up",
        ),
        sa.CheckConstraint("cost_usdc >= 0 AND cost_usdc <= ceiling_usdc", name="cost_fits"),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["market_account.account_id"],
        ),
        sa.ForeignKeyConstraint(
            ["offer_id"],
            ["market_offer.offer_id"],
        ),
        sa.PrimaryKeyConstraint("sale_id"),
        sa.UniqueConstraint("request_id", "attempt", name="market_sale_attempt"),
    )
    op.create_index("ix_market_sale_offer_id", "market_sale", ["offer_id"])
    op.create_index("ix_market_sale_payout_id", "market_sale", ["payout_id"])
    op.create_index("market_sale_account", "market_sale", ["account_id", "reserved_at_s"])
    op.create_index(
        "market_sale_open",
        "market_sale",
        ["lease_expires_at_s"],
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.create_index("market_sale_seller", "market_sale", ["seller", "reserved_at_s"])
    op.create_index(
        "market_sale_unpaid",
        "market_sale",
        ["payout_address"],
        sqlite_where=UNPAID,
        postgresql_where=UNPAID,
    )


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
