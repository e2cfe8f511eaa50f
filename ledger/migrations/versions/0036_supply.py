"""Suppliers' offers with their ceilings, what they sold by day, addresses, payouts."""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0033"
branch_labels = None
depends_on = None


def _index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    predicate = sa.text(where)
    op.create_index(
        name, table, columns, unique=unique, sqlite_where=predicate, postgresql_where=predicate
    )


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _text(name: str, *, nullable: bool = False, long: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text() if long else sa.String(), nullable=nullable)


def upgrade() -> None:
    op.add_column("market_offer", _text("supply_offer_id", nullable=True))
    _index(
        "market_offer_supply", "market_offer", ["supply_offer_id"], "supply_offer_id IS NOT NULL"
    )
    op.add_column("market_sale", _text("supply_offer_id", nullable=True))
    op.add_column("market_sale", _number("bound_tokens", nullable=True))
    _create_offers()
    _create_settlement()
    _create_payouts()


def _create_offers() -> None:
    op.create_table(
        "supply_offer",
        _text("supply_offer_id"),
        _text("supplier_id"),
        _text("provider_type"),
        _text("model_list", long=True),
        _text("models_digest"),
        _number("bid_usdc_per_mtok"),
        _text("base_url", long=True),
        sa.Column("rate_limit_rpm", sa.Integer(), nullable=True),
        _number("quota_tokens", nullable=True),
        _text("legal_basis", nullable=True, long=True),
        _text("status"),
        _number("version"),
        _number("key_version"),
        _text("recent", long=True),
        _number("used_tokens"),
        _number("reserved_tokens"),
        _number("probe_due_s", nullable=True),
        sa.Column("probe_ok", sa.Boolean(), nullable=True),
        _text("probe_report", nullable=True, long=True),
        _number("probed_at_s", nullable=True),
        _number("created_at_s"),
        _number("changed_at_s"),
        sa.CheckConstraint(
            "status IN ('pending_probe','active','paused','probe_failed','exhausted','deleted')",
            name="status_known",
        ),
        sa.CheckConstraint("used_tokens >= 0 AND reserved_tokens >= 0", name="not_negative"),
        sa.CheckConstraint(
            "quota_tokens IS NULL OR status = 'deleted'"
            " OR used_tokens + reserved_tokens <= quota_tokens",
            name="within_quota",
        ),
        sa.PrimaryKeyConstraint("supply_offer_id"),
    )
    _index(
        "supply_offer_once",
        "supply_offer",
        ["supplier_id", "provider_type", "models_digest", "bid_usdc_per_mtok"],
        "status <> 'deleted'",
        unique=True,
    )
    op.create_index("supply_offer_supplier", "supply_offer", ["supplier_id", "supply_offer_id"])
    _index("supply_offer_probe", "supply_offer", ["probe_due_s"], "probe_due_s IS NOT NULL")


def _create_settlement() -> None:
    op.create_table(
        "supply_day",
        _text("supply_offer_id"),
        _number("day"),
        _number("bid_usdc_per_mtok"),
        _text("supplier_id"),
        _number("requests"),
        _number("input_tokens"),
        _number("output_tokens"),
        _number("paid_tokens"),
        _text("payout_id", nullable=True),
        sa.PrimaryKeyConstraint("supply_offer_id", "day", "bid_usdc_per_mtok"),
    )
    op.create_index("supply_day_supplier", "supply_day", ["supplier_id", "day"])
    _index("supply_day_open", "supply_day", ["day", "supplier_id"], "payout_id IS NULL")
    op.create_table(
        "supply_account",
        _text("supplier_id"),
        _text("network", nullable=True),
        _number("carried_usdc"),
        _number("settled_day"),
        sa.CheckConstraint("carried_usdc >= 0", name="not_negative"),
        sa.PrimaryKeyConstraint("supplier_id"),
    )
    op.create_index("supply_account_settled", "supply_account", ["settled_day"])
    _index("supply_account_carries", "supply_account", ["supplier_id"], "carried_usdc > 0")
    op.create_table(
        "supply_address",
        _text("address_id"),
        _text("supplier_id"),
        _text("network"),
        _text("address"),
        _number("saved_at_s"),
        _number("counts_from_s"),
        sa.PrimaryKeyConstraint("address_id"),
    )
    op.create_index(
        "supply_address_of", "supply_address", ["supplier_id", "network", "counts_from_s"]
    )


def _create_payouts() -> None:
    op.create_table(
        "supplier_payouts",
        _text("payout_id"),
        _text("supplier_id"),
        _number("day"),
        _number("first_day"),
        _text("status"),
        _text("reason", nullable=True, long=True),
        _text("rail"),
        _text("network"),
        _text("asset"),
        _text("address", nullable=True),
        _number("gross_usdc"),
        sa.Column("fee_bps", sa.Integer(), nullable=False),
        _number("fee_usdc"),
        _number("network_fee_usdc"),
        _number("carried_in_usdc"),
        _number("net_usdc"),
        _number("carried_out_usdc"),
        _text("usd_rate"),
        _text("usd_rate_source"),
        _number("usd_rate_at_s"),
        _number("requests"),
        _number("input_tokens"),
        _number("output_tokens"),
        _text("external_id", nullable=True),
        _text("external_batch", nullable=True),
        _text("external_state", nullable=True),
        sa.Column("is_verified", sa.Boolean(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        _text("tx_hash", nullable=True),
        _number("next_try_at_s"),
        _number("created_at_s"),
        _number("submitted_at_s", nullable=True),
        _number("sent_at_s", nullable=True),
        _number("changed_at_s"),
        sa.CheckConstraint(
            "status IN ('carried','pending','address_pending_whitelist','submitted','sending',"
            "'sent','failed','needs_operator')",
            name="status_known",
        ),
        sa.CheckConstraint(
            "gross_usdc - fee_usdc + carried_in_usdc = net_usdc + carried_out_usdc"
            " AND (net_usdc = 0 OR carried_out_usdc = 0)"
            " AND gross_usdc >= 0 AND fee_usdc >= 0 AND net_usdc >= 0 AND carried_out_usdc >= 0",
            name="adds_up",
        ),
        sa.CheckConstraint("(status = 'carried') = (net_usdc = 0)", name="carried_pays_nothing"),
        sa.PrimaryKeyConstraint("payout_id"),
        sa.UniqueConstraint("supplier_id", "day", name="supplier_payouts_once"),
    )
    op.create_index("supplier_payouts_of", "supplier_payouts", ["supplier_id", "payout_id"])
    op.create_index("supplier_payouts_external", "supplier_payouts", ["external_id"])
    _index(
        "supplier_payouts_underway",
        "supplier_payouts",
        ["next_try_at_s"],
        "status IN ('pending','address_pending_whitelist','submitted','sending','needs_operator')",
    )


def downgrade() -> None:
    for table in (
        "supplier_payouts",
        "supply_address",
        "supply_account",
        "supply_day",
        "supply_offer",
    ):
        op.drop_table(table)
    op.drop_column("market_sale", "bound_tokens")
    op.drop_column("market_sale", "supply_offer_id")
    op.drop_index("market_offer_supply", "market_offer")
    op.drop_column("market_offer", "supply_offer_id")
