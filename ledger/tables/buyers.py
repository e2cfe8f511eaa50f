"""The market's buyers: their credit, what they paid, and providers of their own."""

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from ledger.tables.predicates import (
    ACCOUNT_EMPTY,
    OWN_PROVIDER_DELETED,
    PAYMENT_DEAD,
    PAYMENT_OPEN,
    PAYMENT_YOUNG,
    unqualified,
)


class MarketAccount(SQLModel, table=True):
    """A buyer of the market: what it paid in, what it spent. Market. The hot row of a sale."""

    __tablename__ = "market_account"
    __table_args__ = (
        CheckConstraint("kind IN ('prepaid','operator')", name="kind_known"),
        CheckConstraint("spent_usdc >= 0 AND reserved_usdc >= 0", name="not_negative"),
        CheckConstraint("spent_usdc + reserved_usdc <= credited_usdc", name="covered"),
        Index(
            "market_account_empty",
            "created_at_s",
            sqlite_where=text(unqualified(ACCOUNT_EMPTY)),
            postgresql_where=text(unqualified(ACCOUNT_EMPTY)),
        ),
    )

    account_id: str = Field(primary_key=True)
    kind: str
    wallet: str | None = Field(default=None, unique=True)
    """The address that signs in for it, lower case; the operator's own account has none."""
    credited_usdc: int = Field(sa_type=BigInteger)
    spent_usdc: int = Field(sa_type=BigInteger)
    reserved_usdc: int = Field(sa_type=BigInteger)
    created_at_s: int = Field(sa_type=BigInteger)


class MarketCredit(SQLModel, table=True):
    """Money that came into an account, once for each id. Market."""

    __tablename__ = "market_credit"

    credit_id: str = Field(primary_key=True)
    account_id: str = Field(index=True, foreign_key="market_account.account_id")
    amount_usdc: int = Field(sa_type=BigInteger)
    source: str
    credited_at_s: int = Field(sa_type=BigInteger)


class MarketWithdrawal(SQLModel, table=True):
    """Unused credit that its account's wallet took back: one payout, by the same id. Market.

    Written once. What left the account is ``amount_usdc``, what is paid out is that less the fee.
    """

    __tablename__ = "market_withdrawal"
    __table_args__ = (
        CheckConstraint("fee_usdc >= 0 AND amount_usdc > fee_usdc", name="something_is_paid"),
        Index("market_withdrawal_account", "account_id", "withdrawal_id"),
    )

    withdrawal_id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="market_account.account_id")
    wallet: str
    """Who signed it and is paid, lower case."""
    amount_usdc: int = Field(sa_type=BigInteger)
    fee_usdc: int = Field(sa_type=BigInteger)
    """What the transaction costs, which is the platform's."""
    nonce: str = Field(unique=True)
    """Of the message that was signed: the same message is one withdrawal."""
    requested_at_s: int = Field(sa_type=BigInteger)


class PaymentFloor(SQLModel, table=True):
    """The least that a payment must move to be worth sending: one row. Keeper."""

    __tablename__ = "payment_floor"
    __table_args__ = (
        CheckConstraint("floor_id = 1", name="only_one"),
        CheckConstraint("floor_usdc >= 0 AND before_usdc >= 0", name="not_negative"),
    )

    floor_id: int = Field(primary_key=True)
    floor_usdc: int = Field(sa_type=BigInteger)
    before_usdc: int = Field(sa_type=BigInteger)
    """The floor before this one: payers may just have been asked for it."""
    changed_at_s: int = Field(sa_type=BigInteger)


class X402Payment(SQLModel, table=True):
    """A transfer that a payer has signed (EIP-3009), and what became of it. Market and keeper.

    States: see ``ledger.payments.claims``. What it brings is credit of ``account_id``.
    """

    __tablename__ = "x402_payment"
    __table_args__ = (
        CheckConstraint(
            "state IN ('verified','sent','settled','failed','expired')", name="state_known"
        ),
        CheckConstraint("purpose IN ('request','topup')", name="purpose_known"),
        CheckConstraint("value_usdc > 0", name="value_positive"),
        CheckConstraint("credited_usdc BETWEEN 0 AND value_usdc", name="credit_fits"),
        UniqueConstraint("payer", "nonce", name="x402_payment_once"),
        Index("x402_payment_account", "account_id", "payment_id"),
        Index(
            "x402_payment_open",
            "look_at_s",
            sqlite_where=text(unqualified(PAYMENT_OPEN)),
            postgresql_where=text(unqualified(PAYMENT_OPEN)),
        ),
        Index(
            "x402_payment_young",
            "settled_block",
            sqlite_where=text(unqualified(PAYMENT_YOUNG)),
            postgresql_where=text(unqualified(PAYMENT_YOUNG)),
        ),
        Index(
            "x402_payment_dead",
            "updated_at_s",
            sqlite_where=text(unqualified(PAYMENT_DEAD)),
            postgresql_where=text(unqualified(PAYMENT_DEAD)),
        ),
        Index(
            "x402_payment_holder",
            "holder_id",
            "claimed_until_s",
            sqlite_where=text("holder_id IS NOT NULL"),
            postgresql_where=text("holder_id IS NOT NULL"),
        ),
    )

    payment_id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="market_account.account_id")
    payer: str
    payee: str
    value_usdc: int = Field(sa_type=BigInteger)
    valid_after_s: int = Field(sa_type=BigInteger)
    valid_before_s: int = Field(sa_type=BigInteger)
    nonce: str
    """32 bytes, 0x hex, lower case; of the payer's choice. USDC takes it once."""
    signature: str = Field(sa_type=Text)
    purpose: str
    request_digest: str
    """Hash of the request that the payment is for: the authorization pays for no other request."""
    state: str
    error: str | None = Field(default=None, sa_type=Text)
    """Why the payment failed when it was last tried, or why it ended."""
    failures: int = 0
    failed_in_block_s: int | None = Field(default=None, sa_type=BigInteger)
    """When it last failed in a block by its payer's doing: the operator paid for nothing."""
    look_at_s: int = Field(sa_type=BigInteger)
    """When the keeper looks at the payment again."""
    from_block: int = Field(sa_type=BigInteger)
    """The authorization was not used before this block."""
    intent_id: str | None = None
    """The keeper's newest transaction that carries it."""
    tx_hash: str | None = None
    settled_block: int | None = Field(default=None, sa_type=BigInteger)
    settled_block_hash: str | None = None
    is_final: bool = False
    """Its block is deeper than any reorg that is followed."""
    credited_usdc: int = Field(default=0, sa_type=BigInteger)
    """How much of the payment is credit of the account, spent or not."""
    request_id: str | None = None
    """The request that the payment pays for, or paid for."""
    claimed_until_s: int | None = Field(default=None, sa_type=BigInteger)
    holder_id: str | None = None
    """The process that serves the request, None while none does."""
    created_at_s: int = Field(sa_type=BigInteger)
    updated_at_s: int = Field(sa_type=BigInteger)


class MarketOwnProvider(SQLModel, table=True):
    """A provider of a buyer's own, asked before the market or after it. Market."""

    __tablename__ = "market_own_provider"
    __table_args__ = (
        CheckConstraint("position IN ('priority','fallback')", name="position_known"),
        CheckConstraint("status IN ('active','paused','deleted')", name="status_known"),
        Index("market_own_provider_account", "account_id"),
        Index("market_own_provider_changed", "changed_at_s"),
        Index(
            "market_own_provider_deleted",
            "changed_at_s",
            sqlite_where=text(unqualified(OWN_PROVIDER_DELETED)),
            postgresql_where=text(unqualified(OWN_PROVIDER_DELETED)),
        ),
    )

    provider_id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="market_account.account_id")
    label: str
    base_url: str = Field(sa_type=Text)
    models: str = Field(sa_type=Text)
    """JSON: the buyer's name of a model to the provider's."""
    position: str
    status: str
    version: int = Field(sa_type=BigInteger)
    created_at_s: int = Field(sa_type=BigInteger)
    changed_at_s: int = Field(sa_type=BigInteger)


class MarketOwnProviderKey(SQLModel, table=True):
    """The key of a buyer's provider, sealed. Gone when the provider is deleted. Market."""

    __tablename__ = "market_own_provider_key"

    provider_id: str = Field(primary_key=True, foreign_key="market_own_provider.provider_id")
    ciphertext: bytes
    wrapped_key: bytes
    kms_key_id: str = Field(index=True)
