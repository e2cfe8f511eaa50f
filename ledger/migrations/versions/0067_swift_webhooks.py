"""How long each webhook took to answer."""

import sqlalchemy as sa
from alembic import op

revision = "0067"
down_revision = "0063"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("webhook", sa.Column("answer_ms", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("webhook", "answer_ms")
