"""Payments by signed authorization: x402."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

OPEN = sa.text("state IN ('verified','sent')")
YOUNG = sa.text("state = 'settled' AND is_final = false")


def upgrade() -> None:
    op.create_table(
        "market_payment",
        sa.Column("payment_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("payer", sa.String(), nullable=False),
        sa.Column("payee", sa.String(), nullable=False),
        sa.Column("value_usdc", sa.BigInteger(), nullable=False),
        sa.Column("valid_after_s", sa.BigInteger(), nullable=False),
        sa.Column("valid_before_s", sa.BigInteger(), nullable=False),
        sa.Column("nonce", sa.String(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("request_digest", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("look_at_s", sa.BigInteger(), nullable=False),
        sa.Column("from_block", sa.BigInteger(), nullable=False),
        sa.Column("intent_id", sa.String(), nullable=True),
        sa.Column("tx_hash", sa.String(), nullable=True),
        sa.Column("settled_block", sa.BigInteger(), nullable=True),
        sa.Column("settled_block_hash", sa.String(), nullable=True),
        sa.Column("is_final", sa.Boolean(), nullable=False),
        sa.Column("credited_usdc", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=True),
        sa.Column("claimed_until_s", sa.BigInteger(), nullable=True),
        sa.Column("created_at_s", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_s", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('verified','sent','settled','failed','expired')", name="state_known"
        ),
        sa.CheckConstraint("purpose IN ('request','topup')", name="purpose_known"),
        sa.CheckConstraint("value_usdc > 0", name="value_positive"),
        sa.CheckConstraint("credited_usdc BETWEEN 0 AND value_usdc", name="credit_fits"),
        sa.ForeignKeyConstraint(["account_id"], ["market_account.account_id"]),
        sa.PrimaryKeyConstraint("payment_id"),
        sa.UniqueConstraint("payer", "nonce", name="market_payment_once"),
    )
    op.create_index("market_payment_account", "market_payment", ["account_id", "payment_id"])
    op.create_index(
        "market_payment_open",
        "market_payment",
        ["look_at_s"],
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.create_index(
        "market_payment_young",
        "market_payment",
        ["settled_block"],
        sqlite_where=YOUNG,
        postgresql_where=YOUNG,
    )


def downgrade() -> None:
    op.drop_table("market_payment")
