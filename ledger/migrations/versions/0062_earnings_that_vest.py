"""Earnings that vest, and what buyers got back of them when an offer was convicted."""

import sqlalchemy as sa
from alembic import op

revision = "0062"
down_revision = "0061"
branch_labels = None
depends_on = None
# Older code pays out what is not vested yet.
oldest_revision = "0062"


def upgrade() -> None:
    vesting = sa.Column("vesting_s", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("market_sale", vesting)
    op.create_table(
        "market_conviction",
        sa.Column("conviction_id", sa.String(), nullable=False),
        sa.Column("offer_id", sa.String(), nullable=False),
        sa.Column("seller", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("counts_from_s", sa.BigInteger(), nullable=False),
        sa.Column("refunds_from_s", sa.BigInteger(), nullable=False),
        sa.Column("convicted_at_s", sa.BigInteger(), nullable=False),
        sa.Column("ended_at_s", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("conviction_id"),
        sa.ForeignKeyConstraint(["offer_id"], ["market_offer.offer_id"]),
        sa.UniqueConstraint("offer_id", "counts_from_s", name="market_conviction_once"),
        sa.CheckConstraint("state IN ('open','refunded','overturned')", name="state_known"),
    )
    op.create_index("market_conviction_seller", "market_conviction", ["seller"])
    op.create_table(
        "market_refund",
        sa.Column("sale_id", sa.String(), nullable=False),
        sa.Column("conviction_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("credit_id", sa.String(), nullable=False),
        sa.Column("amount_usdc", sa.BigInteger(), nullable=False),
        sa.Column("earning_usdc", sa.BigInteger(), nullable=False),
        sa.Column("is_borne", sa.Boolean(), nullable=False),
        sa.Column("refunded_at_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sale_id"),
        sa.ForeignKeyConstraint(["sale_id"], ["market_sale.sale_id"]),
        sa.ForeignKeyConstraint(["conviction_id"], ["market_conviction.conviction_id"]),
        sa.ForeignKeyConstraint(["credit_id"], ["market_credit.credit_id"]),
        sa.CheckConstraint("amount_usdc > 0 AND earning_usdc >= 0", name="something_is_refunded"),
    )
    op.create_index("market_refund_conviction", "market_refund", ["conviction_id"])
    op.create_index("market_refund_credit", "market_refund", ["credit_id"])


def downgrade() -> None:
    op.drop_table("market_refund")
    op.drop_table("market_conviction")
    op.drop_column("market_sale", "vesting_s")
