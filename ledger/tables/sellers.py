"""The market's sellers, their offers; and keys of sellers and buyers."""

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from ledger.tables.predicates import OFFER_DELETED, unqualified


class MarketSeller(SQLModel, table=True):
    """A wallet that sells, or a supplier, by its id. Market."""

    __tablename__ = "market_seller"
    __table_args__ = (
        CheckConstraint("payout_policy IN ('at_once','daily')", name="policy_known"),
        CheckConstraint("fee_bps IS NULL OR fee_bps BETWEEN 0 AND 10000", name="fee_in_range"),
        Index("market_seller_created", "created_at_s"),
    )

    address: str = Field(primary_key=True)
    """Lower case."""
    fee_bps: int | None = None
    """The fee that was agreed with this seller; None for the market's usual fee."""
    payout_policy: str = "at_once"
    is_trusted: bool = False
    """Whether the operator has approved the wallet."""
    decided_at_s: int | None = Field(default=None, sa_type=BigInteger)
    """When the operator approved or refused it last; None: it waits for that."""
    note: str | None = Field(default=None, sa_type=Text)
    """What the operator has written down of it, for operators only."""
    created_at_s: int = Field(sa_type=BigInteger)


class MarketKey(SQLModel, table=True):
    """A seller's or a buyer's API key, as the hash of its 256 random bits. Market."""

    __tablename__ = "market_key"
    __table_args__ = (
        CheckConstraint("kind IN ('seller','buyer')", name="kind_known"),
        Index("market_key_owner", "kind", "owner"),
        Index(
            "market_key_revoked",
            "revoked_at_s",
            sqlite_where=text("revoked_at_s IS NOT NULL"),
            postgresql_where=text("revoked_at_s IS NOT NULL"),
        ),
        Index(
            "market_key_expiry",
            "expires_at_s",
            sqlite_where=text("expires_at_s IS NOT NULL"),
            postgresql_where=text("expires_at_s IS NOT NULL"),
        ),
    )

    key_id: str = Field(primary_key=True)
    key_hash: str = Field(unique=True)
    kind: str
    owner: str
    """A seller's address or a buyer's account id."""
    label: str
    trusted_only: bool | None = None
    """Whether a buyer's requests go to approved sellers only; None: as the market has it."""
    created_at_s: int = Field(sa_type=BigInteger)
    expires_at_s: int | None = Field(default=None, sa_type=BigInteger)
    revoked_at_s: int | None = Field(default=None, sa_type=BigInteger)


class MarketNonce(SQLModel, table=True):
    """A sign-in that was used, until it would have expired anyway. Market."""

    __tablename__ = "market_nonce"

    nonce: str = Field(primary_key=True)
    expires_at_s: int = Field(index=True, sa_type=BigInteger)


class MarketOffer(SQLModel, table=True):
    """What a seller offers, and how much of its limits is used. Market.

    Either both prices are set or the multiplier. ``day_used_usdc`` counts for ``day`` only; both
    counters hold what is reserved and what was sold, and never pass the limits beside them.
    """

    __tablename__ = "market_offer"
    __table_args__ = (
        CheckConstraint("status IN ('active','paused','deleted')", name="status_known"),
        CheckConstraint(
            "(cost_multiplier_ppm IS NULL) = (price_input_usdc_per_mtok IS NOT NULL"
            " AND price_output_usdc_per_mtok IS NOT NULL)",
            name="priced_one_way",
        ),
        CheckConstraint("day_used_usdc >= 0 AND total_used_usdc >= 0", name="not_negative"),
        UniqueConstraint("seller", "idempotency_key", name="market_offer_once"),
        Index("market_offer_seller", "seller"),
        Index("market_offer_changed", "changed_at_s"),
        Index(
            "market_offer_expires",
            "quota_resets_at_s",
            sqlite_where=text("quota_resets_at_s IS NOT NULL"),
            postgresql_where=text("quota_resets_at_s IS NOT NULL"),
        ),
        Index(
            "market_offer_supply",
            "supply_offer_id",
            sqlite_where=text("supply_offer_id IS NOT NULL"),
            postgresql_where=text("supply_offer_id IS NOT NULL"),
        ),
        Index(
            "market_offer_deleted",
            "changed_at_s",
            sqlite_where=text(unqualified(OFFER_DELETED)),
            postgresql_where=text(unqualified(OFFER_DELETED)),
        ),
    )

    offer_id: str = Field(primary_key=True)
    seller: str = Field(foreign_key="market_seller.address")
    model: str
    upstream_model: str
    """What the seller's endpoint calls it."""
    label: str
    """What the seller calls the endpoint, for people: it decides nothing."""
    seller_base_url: str = Field(sa_type=Text)
    price_input_usdc_per_mtok: int | None = Field(default=None, sa_type=BigInteger)
    price_output_usdc_per_mtok: int | None = Field(default=None, sa_type=BigInteger)
    price_cached_input_usdc_per_mtok: int | None = Field(default=None, sa_type=BigInteger)
    """Price of prompt tokens that the endpoint had cached; None: the input price."""
    price_per_request_usdc: int | None = Field(default=None, sa_type=BigInteger)
    """What each request costs beside its tokens; None: nothing."""
    price_tiers: str | None = Field(default=None, sa_type=Text)
    """What longer prompts cost, by ``market.pricing.offer_prices``; None: what short ones do."""
    cost_multiplier_ppm: int | None = Field(default=None, sa_type=BigInteger)
    cap_daily_usdc: int | None = Field(default=None, sa_type=BigInteger)
    quota_total_usdc: int | None = Field(default=None, sa_type=BigInteger)
    rate_limit_rpm: int | None = None
    declares: str | None = Field(default=None, sa_type=Text)
    """What the seller declares of how requests are served, as JSON
    (``serving.dialects.serving_facts``); None: nothing."""
    unit: str | None = None
    """What media are priced by; the input price is then for a million of it. None for tokens."""
    quota_resets_at_s: int | None = Field(default=None, sa_type=BigInteger)
    """When what of its quota is unsold expires, Unix seconds; None: never."""
    falls_from_s: int | None = Field(default=None, sa_type=BigInteger)
    """Since when its prices fall until then."""
    floor_pct: int | None = None
    """What of its prices is left in the end, per cent; None: they do not fall."""
    payout_address: str
    status: str
    suspended_for: str | None = Field(default=None, sa_type=Text)
    """Why the market has taken the offer out of the order, with the evidence; None: it has not.
    It counts beside ``status``, which is the seller's."""
    doubted_at_s: int | None = Field(default=None, sa_type=BigInteger)
    """Since when others are asked before it, as the lab doubts what it serves; None: it serves as
    any other."""
    tested_from_s: int | None = Field(default=None, sa_type=BigInteger)
    """When the operator let it back: evidence from before that counts no more."""
    version: int = Field(sa_type=BigInteger)
    """Counts the changes of everything above: a sale at an older version is refused."""
    day: int = Field(default=0, sa_type=BigInteger)
    day_used_usdc: int = Field(default=0, sa_type=BigInteger)
    total_used_usdc: int = Field(default=0, sa_type=BigInteger)
    supply_offer_id: str | None = None
    """The supplier's offer that it is one model of; None: a seller's own. Its seller is then the
    supplier, by its id."""
    idempotency_key: str | None = None
    request_digest: str | None = None
    """A keyed digest of the request that made it: the same key with another content is refused."""
    created_at_s: int = Field(sa_type=BigInteger)
    changed_at_s: int = Field(sa_type=BigInteger)


class MarketLapse(SQLModel, table=True):
    """What of an offer's quota had been sold when it expired, and what had not. Market."""

    __tablename__ = "market_lapse"
    __table_args__ = (
        CheckConstraint("quota_usdc = sold_usdc + lapsed_usdc", name="adds_up"),
        CheckConstraint("sold_usdc >= 0 AND lapsed_usdc >= 0", name="not_negative"),
        Index("market_lapse_seller", "seller", "resets_at_s"),
    )

    offer_id: str = Field(primary_key=True, foreign_key="market_offer.offer_id")
    resets_at_s: int = Field(primary_key=True, sa_type=BigInteger)
    seller: str
    model: str
    starts_at_s: int = Field(sa_type=BigInteger)
    quota_usdc: int = Field(sa_type=BigInteger)
    sold_usdc: int = Field(sa_type=BigInteger)
    lapsed_usdc: int = Field(sa_type=BigInteger)


class MarketOfferKey(SQLModel, table=True):
    """The provider key of an offer, sealed. Gone when the offer is deleted. Market."""

    __tablename__ = "market_offer_key"

    offer_id: str = Field(primary_key=True, foreign_key="market_offer.offer_id")
    ciphertext: bytes
    wrapped_key: bytes
    kms_key_id: str = Field(index=True)
