"""What the keeper remembers: rests of harvests, payout batches, usage of batches that it gave up;
indexes on its way."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

DUE_AT_S = "last_harvest_at_s + harvest_interval_s"
LOOK_AT_S = sa.text(
    f"(CASE WHEN harvest_look_at_s > {DUE_AT_S} THEN harvest_look_at_s ELSE {DUE_AT_S} END)"
)
# On SQLite, 78 digits of text. A position without shares is due for ever, and never harvested.
SHARES_ON_SQLITE = sa.text("shares > '" + "0" * 78 + "'")
SHARES_ON_POSTGRES = sa.text("shares > 0")
AT_CONTRACT = sa.text("token_id IS NULL")
LIVE = sa.text("state != 'freed'")


def upgrade() -> None:
    for name, type_ in (
        ("harvest_look_at_s", sa.BigInteger()),
        ("harvest_failures", sa.Integer()),
        ("harvest_sent_at_s", sa.BigInteger()),
    ):
        op.add_column("position", sa.Column(name, type_, nullable=False, server_default="0"))
    op.drop_index("position_harvest_due", "position")
    op.create_index(
        "position_harvest_look",
        "position",
        [LOOK_AT_S, "token_id"],
        sqlite_where=SHARES_ON_SQLITE,
        postgresql_where=SHARES_ON_POSTGRES,
    )
    op.create_index(
        "event_contract",
        "event",
        ["name", "block_number"],
        sqlite_where=AT_CONTRACT,
        postgresql_where=AT_CONTRACT,
    )
    op.create_table(
        "payout_batch",
        sa.Column("batch_id", sa.String(), primary_key=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("total_usdc", sa.BigInteger(), nullable=False),
        sa.Column("planned_at_s", sa.BigInteger(), nullable=False),
        sa.Column("paid_block", sa.BigInteger(), nullable=True),
        sa.Column("paid_tx_hash", sa.String(), nullable=True),
        sa.CheckConstraint("state IN ('planned','sent','paid','abandoned')", name="state_known"),
    )
    op.create_index("payout_batch_state", "payout_batch", ["state"])
    op.create_table(
        "payout_item",
        sa.Column("batch_id", sa.String(), sa.ForeignKey("payout_batch.batch_id"), nullable=False),
        sa.Column("payout_id", sa.String(), nullable=False),
        sa.Column("payee", sa.String(), nullable=False),
        sa.Column("amount_usdc", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "payout_id"),
        sa.CheckConstraint(
            "state IN ('planned','sent','paid','credited','freed')", name="state_known"
        ),
        sa.CheckConstraint("amount_usdc > 0", name="amount_positive"),
    )
    op.create_index(
        "payout_item_live",
        "payout_item",
        ["payout_id"],
        unique=True,
        sqlite_where=LIVE,
        postgresql_where=LIVE,
    )
    op.add_column(
        "batch", sa.Column("given_up", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.create_index("batch_state", "batch", ["state"])
    op.add_column(
        "batch_item",
        sa.Column("offset_usdc", sa.BigInteger(), nullable=False, server_default="0"),
    )
    op.create_table(
        "batch_stray",
        sa.Column("request_id", sa.String(), sa.ForeignKey("usage.request_id"), nullable=False),
        sa.Column("batch_id", sa.String(), sa.ForeignKey("batch.batch_id"), nullable=False),
        sa.PrimaryKeyConstraint("request_id", "batch_id"),
    )
    op.create_index("ix_batch_stray_batch_id", "batch_stray", ["batch_id"])


def downgrade() -> None:
    op.drop_table("batch_stray")
    op.drop_column("batch_item", "offset_usdc")
    op.drop_index("batch_state", "batch")
    op.drop_column("batch", "given_up")
    op.drop_table("payout_item")
    op.drop_table("payout_batch")
    op.drop_index("event_contract", "event")
    op.drop_index("position_harvest_look", "position")
    op.create_index("position_harvest_due", "position", [sa.text(f"({DUE_AT_S})"), "token_id"])
    for name in ("harvest_sent_at_s", "harvest_failures", "harvest_look_at_s"):
        op.drop_column("position", name)
