"""What probes may still cost is booked before anything is asked."""

import sqlalchemy as sa
from alembic import op

revision = "0068"
down_revision = "0067"
branch_labels = None
depends_on = None
# Older code spends what newer code has booked: it counts only what is written down as evidence.
oldest_revision = "0068"

_NAMES = ("booked_usdc", "booked_at_s", "disputed_usdc", "disputed_day")


def upgrade() -> None:
    for name in _NAMES:
        column = sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")
        op.add_column("market_probe_turn", column)


def downgrade() -> None:
    for name in reversed(_NAMES):
        op.drop_column("market_probe_turn", name)
