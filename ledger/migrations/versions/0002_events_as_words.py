"""Events as the words of their logs, by block.

Everything that was read from the chain is emptied: the indexer mirrors it again from the deployment
block. What the ledger itself knows stays. Batches that the chain had settled are planned again,
their usage settling, until their events are read again; no position is there meanwhile, so nothing
is let through.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _forget_the_chain()
    op.drop_table("event")
    op.create_table(
        "event",
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.Column("log_index", sa.Integer(), nullable=False),
        sa.Column("block_hash", sa.LargeBinary(), nullable=False),
        sa.Column("block_timestamp_s", sa.BigInteger(), nullable=False),
        sa.Column("tx_hash", sa.LargeBinary(), nullable=False),
        sa.Column("contract", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("token_id", sa.BigInteger(), nullable=True),
        sa.Column("settled_batch_id", sa.String(), nullable=True),
        sa.Column("words", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("block_number", "log_index"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "event_token",
        "event",
        ["token_id", "block_number", "log_index"],
        sqlite_where=sa.text("token_id IS NOT NULL"),
        postgresql_where=sa.text("token_id IS NOT NULL"),
    )
    op.create_index(
        "event_batch",
        "event",
        ["settled_batch_id"],
        sqlite_where=sa.text("settled_batch_id IS NOT NULL"),
        postgresql_where=sa.text("settled_batch_id IS NOT NULL"),
    )


def downgrade() -> None:
    _forget_the_chain()
    op.drop_table("event")
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
    op.create_index("event_token", "event", ["token_id", "block_number", "log_index"])
    op.create_index("ix_event_batch_id", "event", ["batch_id"])
    op.create_index("ix_event_block_number", "event", ["block_number"])


def _forget_the_chain() -> None:
    """Do what ``indexer.fold.forget`` does, on the tables as they are at this revision."""
    op.execute(
        "UPDATE usage SET state = 'settling' WHERE state = 'settled' AND batch_id IN"
        " (SELECT batch_id FROM batch WHERE state = 'settled')"
    )
    op.execute(
        "UPDATE batch SET state = 'planned', settled_block = NULL, settled_tx_hash = NULL"
        " WHERE state = 'settled'"
    )
    for table in ("position", "hold_raise", "block", "mirror"):
        op.execute(f"DELETE FROM {table}")
