"""Processes that hold leases: who reserved or claimed, so that a dead one's leases can be freed."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

TABLES = ("usage", "market_sale", "x402_payment")


def upgrade() -> None:
    op.create_table(
        "lease_holder",
        sa.Column("holder_id", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("beats", sa.BigInteger(), nullable=False),
        sa.Column("started_at_s", sa.BigInteger(), nullable=False),
        sa.Column("beat_at_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("holder_id"),
    )
    for table in TABLES:
        op.add_column(table, sa.Column("holder_id", sa.String(), nullable=True))
    op.create_index(
        "x402_payment_holder",
        "x402_payment",
        ["holder_id"],
        sqlite_where=sa.text("holder_id IS NOT NULL"),
        postgresql_where=sa.text("holder_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("x402_payment_holder", "x402_payment")
    for table in reversed(TABLES):
        op.drop_column(table, "holder_id")
    op.drop_table("lease_holder")
