"""Two more methods of evidence, which live traffic feeds."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0076"
down_revision = "0075"
branch_labels = None
depends_on = None
# Older code cannot read a method that it does not know.
oldest_revision = "0076"

_OLD = "method IN ('first_token','border','prompt_tokens','tool_calls')"
_NEW = (
    "method IN ('first_token','border','prompt_tokens','tool_calls','completion_tokens','logprobs')"
)
_LOOKS = "looks > 0 AND peak_milli >= 1000 AND cost_usdc >= 0"
_NAMES = (
    *("evidence_id", "offer_id", "offer_version", "model", "method", "day", "made_at_s"),
    *("observed", "transcript", "transcript_hash", "cost_usdc", "looks", "peak_milli"),
)
_TEXTS = ("observed", "transcript")
_NUMBERS = ("offer_version", "day", "made_at_s", "cost_usdc", "looks", "peak_milli")
_INDEXES = {
    "market_evidence_offer": ["offer_id", "made_at_s"],
    "market_evidence_model": ["model", "made_at_s"],
    "market_evidence_day": ["day"],
}


def upgrade() -> None:
    _change(_NEW)


def downgrade() -> None:
    op.execute("DELETE FROM market_evidence WHERE method IN ('completion_tokens','logprobs')")
    _change(_OLD)


def _change(methods: str) -> None:
    """Let the table have other methods; SQLite has to copy it for that."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("method_known", "market_evidence", type_="check")
        op.create_check_constraint("method_known", "market_evidence", methods)
        return
    for index in _INDEXES:
        op.drop_index(index, "market_evidence")
    op.rename_table("market_evidence", "market_evidence_before")
    op.create_table(
        "market_evidence",
        *(sa.Column(name, _find_type(name), nullable=False) for name in _NAMES),
        sa.PrimaryKeyConstraint("evidence_id"),
        sa.ForeignKeyConstraint(["offer_id"], ["market_offer.offer_id"]),
        sa.CheckConstraint(methods, name="method_known"),
        sa.CheckConstraint(_LOOKS, name="wealth_makes_sense"),
    )
    listed = ", ".join(_NAMES)
    op.execute(
        f"INSERT INTO market_evidence ({listed}) SELECT {listed} FROM market_evidence_before"
    )
    op.drop_table("market_evidence_before")
    for index, columns in _INDEXES.items():
        op.create_index(index, "market_evidence", columns)


def _find_type(name: str) -> sa.types.TypeEngine[Any]:
    if name in _TEXTS:
        return sa.Text()
    return sa.BigInteger() if name in _NUMBERS else sa.String()
