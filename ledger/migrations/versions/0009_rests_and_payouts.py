"""What the keeper leaves alone for a while, and which payouts wait for a batch; their indexes."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

WAITS = sa.text("batch_id IS NULL")
OPEN = {
    "batch": "state = 'planned'",
    "payout_batch": "state IN ('planned', 'sent')",
    "intent": "state IN ('planned', 'simulated', 'sent', 'mined')",
}
"""What is looked for in every round, among what is over."""
FULL = {"batch": "batch_state", "payout_batch": "payout_batch_state", "intent": "intent_open"}


def upgrade() -> None:
    op.create_table(
        "keeper_rest",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("until_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "subject"),
        sa.CheckConstraint("failures > 0", name="failed"),
    )
    op.add_column("market_payout", sa.Column("batch_id", sa.String(), nullable=True))
    op.execute(
        "UPDATE market_payout SET batch_id = (SELECT batch_id FROM payout_item"
        " WHERE payout_item.payout_id = market_payout.payout_id AND state != 'freed')"
    )
    op.create_index(
        "market_payout_waits",
        "market_payout",
        ["planned_at_s", "payout_id"],
        sqlite_where=WAITS,
        postgresql_where=WAITS,
    )
    op.create_index("payout_batch_paid", "payout_batch", ["paid_block"])
    for table, index in FULL.items():
        op.drop_index(index, table)
    for table, predicate in OPEN.items():
        is_open = sa.text(predicate)
        op.create_index(
            f"{table}_open",
            table,
            ["intent_id" if table == "intent" else "batch_id"],
            sqlite_where=is_open,
            postgresql_where=is_open,
        )


def downgrade() -> None:
    for table in OPEN:
        op.drop_index(f"{table}_open", table)
    for table, index in FULL.items():
        op.create_index(index, table, ["state"])
    op.drop_index("payout_batch_paid", "payout_batch")
    op.drop_index("market_payout_waits", "market_payout")
    op.drop_column("market_payout", "batch_id")
    op.drop_table("keeper_rest")
