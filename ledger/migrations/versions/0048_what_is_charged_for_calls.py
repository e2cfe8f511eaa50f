"""What of an API's period was sold under other terms, and by which rules a call is charged."""

import sqlalchemy as sa
from alembic import op

revision = "0048"
down_revision = "0046"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("carried_units", "read_at_s"):
        column = sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")
        op.add_column("api_period", column)
    op.add_column(
        "api_call", sa.Column("fee_bps", sa.BigInteger(), nullable=False, server_default="1000")
    )
    op.add_column(
        "api_call", sa.Column("count_on", sa.Text(), nullable=False, server_default="2xx")
    )


def downgrade() -> None:
    op.drop_column("api_call", "count_on")
    op.drop_column("api_call", "fee_bps")
    op.drop_column("api_period", "read_at_s")
    op.drop_column("api_period", "carried_units")
