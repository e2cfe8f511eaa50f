"""Claims of a dead process are found among those that still stand, not among all that it had."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

IS_CLAIMED = sa.text("holder_id IS NOT NULL")


def upgrade() -> None:
    _replace(["holder_id", "claimed_until_s"])


def downgrade() -> None:
    _replace(["holder_id"])


def _replace(columns: list[str]) -> None:
    op.drop_index("x402_payment_holder", "x402_payment")
    op.create_index(
        "x402_payment_holder",
        "x402_payment",
        columns,
        sqlite_where=IS_CLAIMED,
        postgresql_where=IS_CLAIMED,
    )
