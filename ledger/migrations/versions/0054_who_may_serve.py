"""Who may serve the requests of a position or key, and what sellers declare of their serving."""

import sqlalchemy as sa
from alembic import op

revision = "0054"
down_revision = "0053"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "key_policy",
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=True),
        sa.Column("changed_at_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token_id", "key_id"),
    )
    op.create_index("ix_key_policy_changed_at_s", "key_policy", ["changed_at_s"])
    with op.batch_alter_table("market_offer") as offer:
        offer.add_column(sa.Column("declares", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("market_offer") as offer:
        offer.drop_column("declares")
    op.drop_table("key_policy")
