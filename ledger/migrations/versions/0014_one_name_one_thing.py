"""Tables named by what they hold: buyers' own providers, and payments by x402.

A provider is whoever serves a model; a payment to a seller is a payout.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

PROVIDERS = ("market_provider", "market_own_provider")
PAYMENTS = ("market_payment", "x402_payment")
OPEN = sa.text("state IN ('verified','sent')")
YOUNG = sa.text("state = 'settled' AND is_final = false")


def upgrade() -> None:
    _rename_providers(*PROVIDERS)
    _rename_payments(*PAYMENTS)


def downgrade() -> None:
    _rename_payments(*reversed(PAYMENTS))
    _rename_providers(*reversed(PROVIDERS))


def _rename_providers(old: str, new: str) -> None:
    op.drop_index(f"{old}_account", old)
    op.drop_index(f"{old}_changed", old)
    op.drop_index(f"ix_{old}_key_kms_key_id", f"{old}_key")
    op.rename_table(old, new)
    op.rename_table(f"{old}_key", f"{new}_key")
    op.create_index(f"{new}_account", new, ["account_id"])
    op.create_index(f"{new}_changed", new, ["changed_at_s"])
    op.create_index(f"ix_{new}_key_kms_key_id", f"{new}_key", ["kms_key_id"])


def _rename_payments(old: str, new: str) -> None:
    for name in ("account", "open", "young"):
        op.drop_index(f"{old}_{name}", old)
    if op.get_bind().dialect.name == "sqlite":
        _copy_under_another_name(old, new)
    else:
        op.rename_table(old, new)
        op.execute(f"ALTER TABLE {new} RENAME CONSTRAINT {old}_once TO {new}_once")
    op.create_index(f"{new}_account", new, ["account_id", "payment_id"])
    for name, column, rows in (("open", "look_at_s", OPEN), ("young", "settled_block", YOUNG)):
        op.create_index(f"{new}_{name}", new, [column], sqlite_where=rows, postgresql_where=rows)


def _copy_under_another_name(old: str, new: str) -> None:
    """Copy a table of SQLite, which renames a table but none of its constraints."""
    bind = op.get_bind()
    query = sa.text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :old")
    declaration: str = bind.execute(query, {"old": old}).scalar_one()
    bind.exec_driver_sql(declaration.replace(old, new))
    bind.exec_driver_sql(f"INSERT INTO {new} SELECT * FROM {old}")
    op.drop_table(old)
