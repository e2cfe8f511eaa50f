"""Who served a request, and what: receipts have leaves of version 2 from here on."""

import sqlalchemy as sa
from alembic import op

revision = "0058"
down_revision = "0056"
branch_labels = None
depends_on = None
# Older code makes leaves of version 1 for usage that is read as version 2: unprovable receipts.
oldest_revision = "0058"


def upgrade() -> None:
    op.add_column("usage", sa.Column("served", sa.String()))


def downgrade() -> None:
    op.drop_column("usage", "served")
