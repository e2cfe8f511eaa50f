"""The mark of a ledger that is being restored."""

import sqlalchemy as sa
from alembic import op

revision = "0060"
down_revision = "0059"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A restore sets its mark before it migrates a backup of an older schema. Ledgers that had 0061
    # before this one was there get the table when they are restored.
    op.create_table(
        "ledger_restore",
        sa.Column("restore_id", sa.Integer(), nullable=False),
        sa.Column("since_s", sa.BigInteger(), nullable=False),
        sa.Column("backup_sha256", sa.String(), nullable=False),
        sa.Column("ended_keys", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("restore_id"),
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_table("ledger_restore")
