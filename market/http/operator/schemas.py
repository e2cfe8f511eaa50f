"""What an operator sees of the deployment, as answers state it. Amounts in 1e-6 USDC."""

from pydantic import BaseModel, Field

from market.standing_alarms import AlarmName


class ChainStanding(BaseModel):
    """How far the mirror of the chain is."""

    mirrored_block: int | None = Field(description="null: nothing is mirrored yet")
    age_s: int | None = Field(description="since it last was at the head, seconds")
    lag_blocks: int | None
    head_block: int | None = Field(
        description="the newest block of the market's own node; null: it does not answer"
    )
    head_age_s: int | None = Field(description="since that block's own time, seconds")


class PositionSums(BaseModel):
    """All positions together."""

    count: int = Field(description="how many positions there are")
    principal_usdc: int
    credited_usdc: int
    spent_usdc: int
    withdrawn_usdc: int
    drawn_usdc: int
    with_hold: int = Field(description="positions with a live hold")
    held_usdc: int


class UsageStanding(BaseModel):
    """What positions asked for."""

    in_flight: int = Field(description="how many requests are under way")
    by_state: dict[str, int]
    posted_usdc: int = Field(description="charged, and not settled yet")
    posted_oldest_s: int | None = Field(description="for how long the oldest of it waits")
    day_requests: int = Field(description="of the last 24 hours")
    day_usdc: int = Field(description="of the last 24 hours")


class OpenIntent(BaseModel):
    """A transaction that the keeper has begun and not ended."""

    intent_id: str
    kind: str
    state: str
    nonce: int | None = Field(description="the transaction's; null: not signed yet")
    tx_hash: str | None
    age_s: int


class KeeperAccount(BaseModel):
    """A key that the keeper has sent transactions with."""

    address: str
    ether_wei: str | None = Field(
        pattern="^[0-9]+$", description="what it can pay fees with; null: the node does not answer"
    )


class KeeperStanding(BaseModel):
    """What the keeper does."""

    accounts: list[KeeperAccount] = Field(description="the keys that it has sent with, 10 at most")

    intents: list[OpenIntent]
    gas_day_usdc: dict[str, int] = Field(
        description="1e-6 USDC; what today's transactions cost, by kind"
    )
    stopped_kinds: list[str] = Field(description="sent no more for now, after failures")
    items_at_rest: int = Field(description="how many the keeper leaves alone for a while")


class PrepaidSums(BaseModel):
    """All prepaid accounts together."""

    credited: int = Field(description="1e-6 USDC")
    spent: int = Field(description="1e-6 USDC")
    reserved: int = Field(description="1e-6 USDC")


class MarketStanding(BaseModel):
    """The market of the last 24 hours, and what it owes."""

    offers: dict[str, int]
    connections: dict[str, int]
    day_sales: dict[str, int]
    day_cost_usdc: int
    day_earning_usdc: int
    failing_sellers: dict[str, int] = Field(description="failures of the five that fail most")
    prepaid_usdc: PrepaidSums = Field(description="1e-6 USDC; the credit of all buyers")
    payouts_waiting: int = Field(description="how many are not paid yet")
    payouts_waiting_usdc: int
    payouts_oldest_s: int | None
    supplier_payouts: dict[str, int]
    payments: dict[str, int] = Field(description="x402 payments, by state")


class ProcessStanding(BaseModel):
    """A server that holds leases in the ledger."""

    role: str
    up_s: int
    silent_s: int | None = Field(description="null: on SQLite its lock tells, and no time")


class WaitingStanding(BaseModel):
    """What waits for people."""

    reviews: int = Field(description="applications that wait for a reviewer")
    review_oldest_s: int | None
    mails: int = Field(description="mails that wait to be sent")
    mail_oldest_s: int | None
    mails_failed: int = Field(description="mails that were given up")


class AlarmView(BaseModel):
    """One thing that a person must look at."""

    name: AlarmName
    detail: str = Field(description="its figures")


class OperatorOverview(BaseModel):
    """How the deployment stands, as its ledger has it."""

    at: int = Field(description="Unix seconds")
    chain_id: int
    alarms: list[AlarmView]
    chain: ChainStanding
    positions: PositionSums
    usage: UsageStanding
    keeper: KeeperStanding
    market: MarketStanding
    waiting: WaitingStanding
    processes: list[ProcessStanding]


class ViolationView(BaseModel):
    """What breaks an invariant of the ledger."""

    invariant: str
    subject: str
    detail: str


class AuditView(BaseModel):
    """What an audit of the ledger found just now."""

    violations: list[ViolationView] = Field(description="the first 100")
    count: int = Field(description="how many there are; 0: the books are right")
    ran_at: int
