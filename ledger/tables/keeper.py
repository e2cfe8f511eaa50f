"""What the keeper means to send, what it paid out, and what it lets rest."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Text, text
from sqlmodel import Field, SQLModel

from ledger.tables.predicates import INTENT_OPEN, PAYOUT_BATCH_OPEN, unqualified
from ledger.tables.types import Uint256

_NONCE_TAKEN = "state IN ('planned', 'simulated', 'sent', 'mined', 'confirmed')"


class Intent(SQLModel, table=True):
    """A transaction meant, before it is sent. Keeper. States: see ``ledger.intents.lifecycle``."""

    __tablename__ = "intent"
    __table_args__ = (
        Index(
            "intent_open",
            "intent_id",
            sqlite_where=text(unqualified(INTENT_OPEN)),
            postgresql_where=text(unqualified(INTENT_OPEN)),
        ),
        Index("intent_nonce", "sender", "nonce"),
        # A signed transaction has its nonce to itself, whoever signs at the same time.
        Index(
            "intent_nonce_taken",
            "sender",
            "nonce",
            unique=True,
            sqlite_where=text(_NONCE_TAKEN),
            postgresql_where=text(_NONCE_TAKEN),
        ),
    )

    intent_id: str = Field(primary_key=True)
    kind: str
    state: str
    reason: str
    """Why the keeper decided so, for the log and the operator."""
    payload: str = Field(sa_type=Text)
    """What the action needs to be built again, as JSON."""
    sender: str | None = None
    nonce: int | None = Field(default=None, sa_type=BigInteger)
    tx_hash: str | None = None
    raw_tx: str | None = Field(default=None, sa_type=Text)
    """The signed transaction, stored before it is sent: sending it again cannot act twice."""
    mined_block: int | None = Field(default=None, sa_type=BigInteger)
    mined_block_hash: str | None = None
    gas_used: int | None = Field(default=None, sa_type=BigInteger)
    fee_wei: int | None = Field(default=None, sa_column=Column(Uint256(), nullable=True))
    """All that it cost: gas times price and, on a rollup, the L1 data fee."""
    l1_fee_wei: int | None = Field(default=None, sa_column=Column(Uint256(), nullable=True))
    """The L1 data fee in it; None for transactions of before it was written down."""
    error: str | None = Field(default=None, sa_type=Text)
    created_at_s: int = Field(sa_type=BigInteger)
    updated_at_s: int = Field(sa_type=BigInteger)


class HoldPlacement(SQLModel, table=True):
    """What one intent asks to hold of one position (1e-6 USDC; 0 frees the hold). Keeper."""

    __tablename__ = "hold_placement"
    __table_args__ = (Index("hold_placement_token", "token_id"),)

    intent_id: str = Field(primary_key=True)
    token_id: int = Field(primary_key=True, sa_type=BigInteger)
    amount_usdc: int = Field(sa_type=BigInteger)
    is_reduction: bool
    """Whether it asks for less than was held or being placed when it was written."""


class PayoutBatch(SQLModel, table=True):
    """Payouts that one ``pay`` of the payouts contract carries out. Keeper."""

    __tablename__ = "payout_batch"
    __table_args__ = (
        CheckConstraint("state IN ('planned','sent','paid','abandoned')", name="state_known"),
        Index(
            "payout_batch_open",
            "batch_id",
            sqlite_where=text(unqualified(PAYOUT_BATCH_OPEN)),
            postgresql_where=text(unqualified(PAYOUT_BATCH_OPEN)),
        ),
        Index("payout_batch_paid", "paid_block"),
    )

    batch_id: str = Field(primary_key=True)
    state: str
    total_usdc: int = Field(sa_type=BigInteger)
    planned_at_s: int = Field(sa_type=BigInteger)
    paid_block: int | None = Field(default=None, sa_type=BigInteger)
    paid_tx_hash: str | None = None


class PayoutItem(SQLModel, table=True):
    """One payout of the market in one batch. Keeper. States: see ``ledger.selling.payouts``."""

    __tablename__ = "payout_item"
    __table_args__ = (
        CheckConstraint(
            "state IN ('planned','sent','paid','credited','freed')", name="state_known"
        ),
        CheckConstraint("amount_usdc > 0", name="amount_positive"),
        # A payout is paid once: in one batch that is not freed.
        Index(
            "payout_item_live",
            "payout_id",
            unique=True,
            sqlite_where=text("state != 'freed'"),
            postgresql_where=text("state != 'freed'"),
        ),
    )

    batch_id: str = Field(primary_key=True, foreign_key="payout_batch.batch_id")
    payout_id: str = Field(primary_key=True)
    payee: str
    amount_usdc: int = Field(sa_type=BigInteger)
    state: str


class KeeperRest(SQLModel, table=True):
    """A failed item, and how long it rests. Keeper. The next success deletes the row."""

    __tablename__ = "keeper_rest"
    __table_args__ = (CheckConstraint("failures > 0", name="failed"),)

    kind: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    """A token or payout id; empty for the whole kind."""
    failures: int
    """How often in a row."""
    until_s: int = Field(sa_type=BigInteger)


class KeeperDay(SQLModel, table=True):
    """What the keeper spent on gas in a day, and what it left alone (1e-6 USDC). Keeper."""

    __tablename__ = "keeper_day"

    day: int = Field(primary_key=True)
    """Days since 1970, UTC."""
    kind: str = Field(primary_key=True)
    account: str = Field(primary_key=True)
    """A position's token id, a payer or a payee; empty for all of the kind. Others: see
    ``keeper.budgets``."""
    gas_usdc: int = Field(sa_type=BigInteger)
    """What its transactions cost, at the price of ether of then."""
    left_items: int = Field(sa_type=BigInteger)
    """Items that were left alone because they cost more than they bring."""
    left_usdc: int = Field(sa_type=BigInteger)
    """What those would have brought."""
