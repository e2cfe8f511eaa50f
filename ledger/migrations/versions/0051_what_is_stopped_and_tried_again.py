"""Payout addresses that were cancelled, changes that are undone by a mail, payouts tried again."""

import sqlalchemy as sa
from alembic import op

revision = "0051"
down_revision = "0048"
branch_labels = None
depends_on = None

PURPOSES = "'verify','sign_up','reset'"
OPEN = "'pending','address_pending_whitelist','submitted','sending','needs_operator'"


def upgrade() -> None:
    op.add_column("supply_address", sa.Column("cancelled_at_s", sa.BigInteger(), nullable=True))
    for name in ("code_tries", "retries"):
        column = sa.Column(name, sa.Integer(), nullable=False, server_default="0")
        op.add_column("supplier_payouts", column)
    _set_index(f"{OPEN},'failed'")
    _set_purposes(f"{PURPOSES},'undo'")


def downgrade() -> None:
    op.execute("DELETE FROM supplier_token WHERE purpose = 'undo'")
    _set_purposes(PURPOSES)
    _set_index(OPEN)
    op.drop_column("supplier_payouts", "retries")
    op.drop_column("supplier_payouts", "code_tries")
    op.drop_column("supply_address", "cancelled_at_s")


def _set_index(statuses: str) -> None:
    name, table = "supplier_payouts_underway", "supplier_payouts"
    rows = sa.text(f"status IN ({statuses})")
    op.drop_index(name, table)
    op.create_index(name, table, ["next_try_at_s"], sqlite_where=rows, postgresql_where=rows)


def _set_purposes(purposes: str) -> None:
    is_known = f"purpose IN ({purposes})"
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint("purpose_known", "supplier_token", type_="check")
        op.create_check_constraint("purpose_known", "supplier_token", is_known)
        return
    # SQLite changes no constraint of a table that is there.
    op.drop_index("supplier_token_email", "supplier_token")
    op.drop_index("ix_supplier_token_expires_at_s", "supplier_token")
    op.rename_table("supplier_token", "supplier_token_before")
    op.create_table(
        "supplier_token",
        sa.Column("token_hash", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("expires_at_s", sa.BigInteger(), nullable=False),
        sa.Column("created_at_s", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(is_known, name="purpose_known"),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    names = "token_hash, purpose, email, expires_at_s, created_at_s"
    op.execute(f"INSERT INTO supplier_token ({names}) SELECT {names} FROM supplier_token_before")
    op.drop_table("supplier_token_before")
    op.create_index("ix_supplier_token_expires_at_s", "supplier_token", ["expires_at_s"])
    op.create_index("supplier_token_email", "supplier_token", ["email", "purpose"])
