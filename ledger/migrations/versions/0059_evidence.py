"""The lab's evidence on offers, and which offers are doubted."""

import sqlalchemy as sa
from alembic import op

revision = "0059"
down_revision = "0058"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("market_offer", sa.Column("doubted_at_s", sa.BigInteger()))
    op.add_column("market_offer", sa.Column("tested_from_s", sa.BigInteger()))
    op.create_table(
        "market_evidence",
        sa.Column("evidence_id", sa.String(), nullable=False),
        sa.Column("offer_id", sa.String(), nullable=False),
        sa.Column("offer_version", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("made_at_s", sa.BigInteger(), nullable=False),
        sa.Column("observed", sa.Text(), nullable=False),
        sa.Column("transcript", sa.Text(), nullable=False),
        sa.Column("transcript_hash", sa.String(), nullable=False),
        sa.Column("cost_usdc", sa.BigInteger(), nullable=False),
        sa.Column("looks", sa.BigInteger(), nullable=False),
        sa.Column("peak_milli", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("evidence_id"),
        sa.ForeignKeyConstraint(["offer_id"], ["market_offer.offer_id"]),
        sa.CheckConstraint(
            "method IN ('first_token','border','prompt_tokens','tool_calls')", name="method_known"
        ),
        sa.CheckConstraint(
            "looks > 0 AND peak_milli >= 1000 AND cost_usdc >= 0", name="wealth_makes_sense"
        ),
    )
    op.create_index("market_evidence_offer", "market_evidence", ["offer_id", "made_at_s"])
    op.create_index("market_evidence_model", "market_evidence", ["model", "made_at_s"])
    op.create_index("market_evidence_day", "market_evidence", ["day"])


def downgrade() -> None:
    op.drop_table("market_evidence")
    op.drop_column("market_offer", "tested_from_s")
    op.drop_column("market_offer", "doubted_at_s")
