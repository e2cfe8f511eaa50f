"""What a seller calls the endpoint of an offer is a label; the provider is found from its host."""

from alembic import op

revision = "0022"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE market_offer RENAME COLUMN provider TO label")


def downgrade() -> None:
    op.execute("ALTER TABLE market_offer RENAME COLUMN label TO provider")
