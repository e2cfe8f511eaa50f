"""What suppliers offer, what that sold by day, and how they are paid.

Amounts are in 1e-6 USD: of USDC or USDT, by the payout's network.
"""

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from ledger.tables.predicates import (
    SUPPLIER_PAYOUT_OPEN,
    SUPPLY_DAY_OPEN,
    SUPPLY_OFFER_LIVE,
    SUPPLY_PROBE_DUE,
    unqualified,
)


class SupplyOffer(SQLModel, table=True):
    """What a supplier offers: several models at one bid, with ceilings for all together. Market.

    Each model has a row of ``market_offer``, which names this one; routing reads those, a
    reservation counts here. It serves while ``status`` is ``active`` and its supplier is approved.
    """

    __tablename__ = "supply_offer"
    __table_args__ = (
        CheckConstraint(
            "status IN ('pending_probe','active','paused','probe_failed','exhausted','deleted')",
            name="status_known",
        ),
        CheckConstraint("used_tokens >= 0 AND reserved_tokens >= 0", name="not_negative"),
        CheckConstraint(
            "quota_tokens IS NULL OR status = 'deleted'"
            " OR used_tokens + reserved_tokens <= quota_tokens",
            name="within_quota",
        ),
        Index(
            "supply_offer_once",
            "supplier_id",
            "provider_type",
            "models_digest",
            "bid_usdc_per_mtok",
            unique=True,
            sqlite_where=text(unqualified(SUPPLY_OFFER_LIVE)),
            postgresql_where=text(unqualified(SUPPLY_OFFER_LIVE)),
        ),
        Index("supply_offer_supplier", "supplier_id", "supply_offer_id"),
        Index(
            "supply_offer_probe",
            "probe_due_s",
            sqlite_where=text(unqualified(SUPPLY_PROBE_DUE)),
            postgresql_where=text(unqualified(SUPPLY_PROBE_DUE)),
        ),
    )

    supply_offer_id: str = Field(primary_key=True)
    supplier_id: str
    provider_type: str
    model_list: str = Field(sa_type=Text)
    """JSON, as the supplier ordered it."""
    models_digest: str
    """SHA-256 of the models in alphabetical order."""
    bid_usdc_per_mtok: int = Field(sa_type=BigInteger)
    base_url: str = Field(sa_type=Text)
    rate_limit_rpm: int | None = None
    quota_tokens: int | None = Field(default=None, sa_type=BigInteger)
    legal_basis: str | None = Field(default=None, sa_type=Text)
    status: str
    version: int = Field(sa_type=BigInteger)
    """Counts the changes of everything above: a probe of an older version decides nothing."""
    key_version: int = Field(default=0, sa_type=BigInteger)
    """Counts the changes of key and address: what a probe is of."""
    recent: str = Field(default="", sa_type=Text)
    """How many requests were reserved in which second, see ``ledger.selling.windows``."""
    used_tokens: int = Field(default=0, sa_type=BigInteger)
    reserved_tokens: int = Field(default=0, sa_type=BigInteger)
    probe_due_s: int | None = Field(default=None, sa_type=BigInteger)
    """When a probe is to be made; while a process makes it: when others may."""
    probe_ok: bool | None = None
    """What the last probe found; None: there was none."""
    probe_report: str | None = Field(default=None, sa_type=Text)
    """Result, latency and cause for each model, JSON."""
    probed_at_s: int | None = Field(default=None, sa_type=BigInteger)
    created_at_s: int = Field(sa_type=BigInteger)
    changed_at_s: int = Field(sa_type=BigInteger)


class SupplyDay(SQLModel, table=True):
    """What an offer sold in one UTC day at one bid, summed as sales are posted. Market.

    Once ``payout_id`` is set nothing is added: what is posted later counts for the next day.
    """

    __tablename__ = "supply_day"
    __table_args__ = (
        Index("supply_day_supplier", "supplier_id", "day"),
        Index(
            "supply_day_open",
            "day",
            "supplier_id",
            sqlite_where=text(unqualified(SUPPLY_DAY_OPEN)),
            postgresql_where=text(unqualified(SUPPLY_DAY_OPEN)),
        ),
    )

    supply_offer_id: str = Field(primary_key=True)
    day: int = Field(primary_key=True, sa_type=BigInteger)
    bid_usdc_per_mtok: int = Field(primary_key=True, sa_type=BigInteger)
    supplier_id: str
    requests: int = Field(sa_type=BigInteger)
    input_tokens: int = Field(sa_type=BigInteger)
    output_tokens: int = Field(sa_type=BigInteger)
    paid_tokens: int = Field(sa_type=BigInteger)
    """Never more than were reserved."""
    payout_id: str | None = None
    """The settlement that it is part of."""


class SupplyAccount(SQLModel, table=True):
    """What settlement remembers of a supplier. Market."""

    __tablename__ = "supply_account"
    __table_args__ = (
        CheckConstraint("carried_usdc >= 0", name="not_negative"),
        Index("supply_account_settled", "settled_day"),
        Index(
            "supply_account_carries",
            "supplier_id",
            sqlite_where=text("carried_usdc > 0"),
            postgresql_where=text("carried_usdc > 0"),
        ),
    )

    supplier_id: str = Field(primary_key=True)
    network: str | None = None
    """Which network payouts go by; None: no address was saved."""
    carried_usdc: int = Field(default=0, sa_type=BigInteger)
    """What is owed of days that are settled, and in no payout."""
    settled_day: int = Field(default=-1, sa_type=BigInteger)
    """The last day that was settled; -1: none."""


class SupplyAddress(SQLModel, table=True):
    """An address for payouts, for ever; the newest of a network that counts is used. Market.

    One that is saved cancels those of its network that do not count yet.
    """

    __tablename__ = "supply_address"
    __table_args__ = (Index("supply_address_of", "supplier_id", "network", "counts_from_s"),)

    address_id: str = Field(primary_key=True)
    supplier_id: str
    network: str
    address: str
    saved_at_s: int = Field(sa_type=BigInteger)
    counts_from_s: int = Field(sa_type=BigInteger)
    cancelled_at_s: int | None = Field(default=None, sa_type=BigInteger)
    """When it was taken back before it counted: it never does."""


class SupplierPayout(SQLModel, table=True):
    """A supplier's settled day: what is paid for it, or carried over. Market.

    ``carried``: nothing is sent. All else has a net amount that is sent once: from ``pending`` to
    ``sent``, with ``failed`` where it is certain that nothing was or will be sent, and
    ``needs_operator`` where that is not certain.
    """

    __tablename__ = "supplier_payouts"
    __table_args__ = (
        UniqueConstraint("supplier_id", "day", name="supplier_payouts_once"),
        CheckConstraint(
            "status IN ('carried','pending','address_pending_whitelist','submitted','sending',"
            "'sent','failed','needs_operator')",
            name="status_known",
        ),
        CheckConstraint(
            "gross_usdc - fee_usdc + carried_in_usdc = net_usdc + carried_out_usdc"
            " AND (net_usdc = 0 OR carried_out_usdc = 0)"
            " AND gross_usdc >= 0 AND fee_usdc >= 0 AND net_usdc >= 0 AND carried_out_usdc >= 0",
            name="adds_up",
        ),
        CheckConstraint("(status = 'carried') = (net_usdc = 0)", name="carried_pays_nothing"),
        Index("supplier_payouts_of", "supplier_id", "payout_id"),
        Index(
            "supplier_payouts_underway",
            "next_try_at_s",
            sqlite_where=text(unqualified(SUPPLIER_PAYOUT_OPEN)),
            postgresql_where=text(unqualified(SUPPLIER_PAYOUT_OPEN)),
        ),
        Index("supplier_payouts_external", "external_id"),
    )

    payout_id: str = Field(primary_key=True)
    """The day and the supplier: whoever settles a day makes the same."""
    supplier_id: str
    day: int = Field(sa_type=BigInteger)
    first_day: int = Field(sa_type=BigInteger)
    """The first day that it holds sales of; before ``day`` where some were posted late."""
    status: str
    reason: str | None = Field(default=None, sa_type=Text)
    """Why it is carried over, failed or needs somebody."""
    rail: str
    network: str
    asset: str
    address: str | None = None
    gross_usdc: int = Field(sa_type=BigInteger)
    fee_bps: int
    fee_usdc: int = Field(sa_type=BigInteger)
    network_fee_usdc: int = Field(default=0, sa_type=BigInteger)
    """What the supplier pays of it: nothing, as long as the market bears it."""
    carried_in_usdc: int = Field(sa_type=BigInteger)
    net_usdc: int = Field(sa_type=BigInteger)
    carried_out_usdc: int = Field(sa_type=BigInteger)
    usd_rate: str
    usd_rate_source: str
    usd_rate_at_s: int = Field(sa_type=BigInteger)
    requests: int = Field(sa_type=BigInteger)
    input_tokens: int = Field(sa_type=BigInteger)
    output_tokens: int = Field(sa_type=BigInteger)
    external_id: str | None = None
    """The rail's own id of it."""
    external_batch: str | None = None
    external_state: str | None = None
    is_verified: bool = False
    """Whether the batch was confirmed by a one-time code."""
    tries: int = 0
    """How often a rail was asked for it."""
    retries: int = 0
    """How often an operator said that it failed and is to be asked for again: each time under
    another name, so that what a rail has of an earlier one is never taken for it."""
    code_tries: int = 0
    """One-time codes that the rail refused for its batch."""
    tx_hash: str | None = None
    next_try_at_s: int = Field(sa_type=BigInteger)
    """When it is looked at next; while a process does so: when others may."""
    created_at_s: int = Field(sa_type=BigInteger)
    submitted_at_s: int | None = Field(default=None, sa_type=BigInteger)
    sent_at_s: int | None = Field(default=None, sa_type=BigInteger)
    changed_at_s: int = Field(sa_type=BigInteger)
