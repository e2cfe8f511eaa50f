"""Disputes of buyers and re-tests of sellers, and who probes an offer at the moment."""

import sqlalchemy as sa
from alembic import op

revision = "0063"
down_revision = "0062"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "market_dispute",
        sa.Column("dispute_id", sa.String(), nullable=False),
        sa.Column("offer_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("asked_by", sa.String(), nullable=False),
        sa.Column("sale_id", sa.String(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("filed_at_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("dispute_id"),
        sa.ForeignKeyConstraint(["offer_id"], ["market_offer.offer_id"]),
        sa.ForeignKeyConstraint(["sale_id"], ["market_sale.sale_id"]),
        sa.UniqueConstraint("sale_id", name="market_dispute_once"),
    )
    op.create_index("market_dispute_asked", "market_dispute", ["asked_by", "filed_at_s"])
    op.create_index("market_dispute_filed", "market_dispute", ["filed_at_s"])
    op.create_index("market_dispute_offer", "market_dispute", ["offer_id"])
    op.create_table(
        "market_probe_turn",
        sa.Column("offer_id", sa.String(), nullable=False),
        sa.Column("until_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("offer_id"),
        sa.ForeignKeyConstraint(["offer_id"], ["market_offer.offer_id"]),
    )


def downgrade() -> None:
    op.drop_table("market_probe_turn")
    op.drop_table("market_dispute")
