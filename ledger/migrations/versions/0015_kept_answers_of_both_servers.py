"""Kept answers belong to a position or to a buyer's account at the market."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

KEPT = "lookup_id, body_digest, request_id, state, sealed, sealed_bytes, expires_at_s"


def upgrade() -> None:
    _replace(
        sa.Column("owner", sa.String(), nullable=False),
        index="kept_answer_of_owner",
        old_index="kept_answer_of_position",
        value="'position ' || token_id",
    )


def downgrade() -> None:
    op.execute("DELETE FROM kept_answer WHERE owner NOT LIKE 'position %'")
    _replace(
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        index="kept_answer_of_position",
        old_index="kept_answer_of_owner",
        value="CAST(substr(owner, 10) AS BIGINT)",
    )


def _replace(column: sa.Column[object], *, index: str, old_index: str, value: str) -> None:
    """Give the table ``column`` in place of the one that ``value`` reads.

    Made anew: SQLite changes no column's type. The answers are kept for a day at most.
    """
    name = column.name
    op.execute(f"CREATE TABLE kept_before AS SELECT {KEPT}, {value} AS {name} FROM kept_answer")
    op.drop_index(old_index, "kept_answer")
    op.drop_index("ix_kept_answer_expires_at_s", "kept_answer")
    op.drop_table("kept_answer")
    op.create_table(
        "kept_answer",
        sa.Column("lookup_id", sa.String(), nullable=False),
        sa.Column("body_digest", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        column,
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_bytes", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_s", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('open','kept','dropped')", name="kept_state_known"),
        sa.CheckConstraint("(state = 'kept') = (sealed IS NOT NULL)", name="kept_when_sealed"),
        sa.PrimaryKeyConstraint("lookup_id"),
    )
    op.create_index("ix_kept_answer_expires_at_s", "kept_answer", ["expires_at_s"])
    op.create_index(index, "kept_answer", [name, "sealed_bytes"])
    op.execute(f"INSERT INTO kept_answer ({KEPT}, {name}) SELECT {KEPT}, {name} FROM kept_before")
    op.drop_table("kept_before")
