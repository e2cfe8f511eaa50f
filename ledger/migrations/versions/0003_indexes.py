"""Indexes for what the keeper asks every round; one intent to a nonce."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NONCE_TAKEN = sa.text("state IN ('planned', 'simulated', 'sent', 'mined', 'confirmed')")
RELEASE_REQUESTED = sa.text("release_requested_at_s IS NOT NULL")


def upgrade() -> None:
    op.create_index("intent_nonce", "intent", ["sender", "nonce"])
    op.create_index(
        "intent_nonce_taken",
        "intent",
        ["sender", "nonce"],
        unique=True,
        sqlite_where=NONCE_TAKEN,
        postgresql_where=NONCE_TAKEN,
    )
    op.create_index(
        "position_harvest_due",
        "position",
        [sa.text("(last_harvest_at_s + harvest_interval_s)"), "token_id"],
    )
    op.create_index(
        "position_release",
        "position",
        ["token_id"],
        sqlite_where=RELEASE_REQUESTED,
        postgresql_where=RELEASE_REQUESTED,
    )
    op.create_index("demand_wanted", "demand", ["wanted_at_s"])


def downgrade() -> None:
    op.drop_index("demand_wanted", "demand")
    op.drop_index("position_release", "position")
    op.drop_index("position_harvest_due", "position")
    op.drop_index("intent_nonce_taken", "intent")
    op.drop_index("intent_nonce", "intent")
