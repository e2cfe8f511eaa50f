"""Unused credit that wallets take back."""

import sqlalchemy as sa
from alembic import op

revision = "0052"
down_revision = "0051"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "market_withdrawal",
        sa.Column("withdrawal_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("wallet", sa.String(), nullable=False),
        sa.Column("amount_usdc", sa.BigInteger(), nullable=False),
        sa.Column("fee_usdc", sa.BigInteger(), nullable=False),
        sa.Column("nonce", sa.String(), nullable=False),
        sa.Column("requested_at_s", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("fee_usdc >= 0 AND amount_usdc > fee_usdc", name="something_is_paid"),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["market_account.account_id"],
        ),
        sa.PrimaryKeyConstraint("withdrawal_id"),
        sa.UniqueConstraint("nonce"),
    )
    op.create_index(
        "market_withdrawal_account",
        "market_withdrawal",
        ["account_id", "withdrawal_id"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_index("market_withdrawal_account", table_name="market_withdrawal")
    op.drop_table("market_withdrawal")
