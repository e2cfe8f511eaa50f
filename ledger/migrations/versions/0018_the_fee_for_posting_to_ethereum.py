"""What of a transaction's cost was the L1 data fee."""

import sqlalchemy as sa
from alembic import op

from ledger.tables.types import Uint256

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("intent", sa.Column("l1_fee_wei", Uint256(), nullable=True))


def downgrade() -> None:
    op.drop_column("intent", "l1_fee_wei")
