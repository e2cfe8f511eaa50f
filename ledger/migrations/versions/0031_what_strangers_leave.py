"""Indexes by which what strangers left behind is found and purged."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

INDEXES = (
    ("market_key_revoked", "market_key", "revoked_at_s", "revoked_at_s IS NOT NULL"),
    ("market_key_expiry", "market_key", "expires_at_s", "expires_at_s IS NOT NULL"),
    ("market_offer_deleted", "market_offer", "changed_at_s", "status = 'deleted'"),
    ("market_own_provider_deleted", "market_own_provider", "changed_at_s", "status = 'deleted'"),
    ("x402_payment_dead", "x402_payment", "updated_at_s", "state IN ('failed','expired')"),
    (
        "market_account_empty",
        "market_account",
        "created_at_s",
        "credited_usdc = 0 AND kind = 'prepaid'",
    ),
)


def upgrade() -> None:
    for name, table, column, condition in INDEXES:
        where = sa.text(condition)
        op.create_index(name, table, [column], sqlite_where=where, postgresql_where=where)
    op.create_index("market_seller_created", "market_seller", ["created_at_s"])


def downgrade() -> None:
    op.drop_index("market_seller_created", "market_seller")
    for name, table, _, _ in reversed(INDEXES):
        op.drop_index(name, table)
