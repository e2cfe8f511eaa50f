"""Offers whose quota expires: when, how their prices fall until then, and what lapsed."""

import sqlalchemy as sa
from alembic import op

revision = "0053"
down_revision = "0052"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("quota_resets_at_s", "falls_from_s"):
        op.add_column("market_offer", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column("market_offer", sa.Column("floor_pct", sa.Integer(), nullable=True))
    op.create_index(
        "market_offer_expires",
        "market_offer",
        ["quota_resets_at_s"],
        unique=False,
        sqlite_where=sa.text("quota_resets_at_s IS NOT NULL"),
        postgresql_where=sa.text("quota_resets_at_s IS NOT NULL"),
    )
    op.create_table(
        "market_lapse",
        sa.Column("offer_id", sa.String(), nullable=False),
        sa.Column("resets_at_s", sa.BigInteger(), nullable=False),
        sa.Column("seller", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("starts_at_s", sa.BigInteger(), nullable=False),
        sa.Column("quota_usdc", sa.BigInteger(), nullable=False),
        sa.Column("sold_usdc", sa.BigInteger(), nullable=False),
        sa.Column("lapsed_usdc", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("quota_usdc = sold_usdc + lapsed_usdc", name="adds_up"),
        sa.CheckConstraint("sold_usdc >= 0 AND lapsed_usdc >= 0", name="not_negative"),
        sa.ForeignKeyConstraint(
            ["offer_id"],
            ["market_offer.offer_id"],
        ),
        sa.PrimaryKeyConstraint("offer_id", "resets_at_s"),
    )
    op.create_index("market_lapse_seller", "market_lapse", ["seller", "resets_at_s"], unique=False)


def downgrade() -> None:
    op.drop_index("market_lapse_seller", table_name="market_lapse")
    op.drop_table("market_lapse")
    op.drop_index("market_offer_expires", table_name="market_offer")
    for name in ("floor_pct", "falls_from_s", "quota_resets_at_s"):
        op.drop_column("market_offer", name)
