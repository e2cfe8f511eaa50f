"""What the keeper decides from, by what rules, and what it may decide. Plain values, pure.

Amounts are 1e-6 USDC, times Unix seconds. ``now_s`` of a snapshot is the chain's clock or ours,
whichever is ahead: a hold must not be thought alive because one of them lags.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from ledger.chain.positions import PositionState

ITEMS_MAX: Final = 200
"""The most items that ``hold`` and ``settle`` take in one transaction."""

HARVEST_MIN_USDC: Final = 10_000
"""Below a cent of yield the adapter harvests nothing."""


class Kind(StrEnum):
    """What a transaction of the keeper does. The order is the order of execution.

    Settlement comes first: what was spent must be booked before a hold is replaced.
    """

    SETTLE = "settle"
    HOLD = "hold"
    X402 = "x402"
    HARVEST = "harvest"
    SWEEP = "sweep"
    PAYOUT = "payout"


@dataclass(frozen=True, slots=True)
class PositionFacts:
    """One position that has demand, usage that is not settled, or a release to answer."""

    state: PositionState
    drawn_usdc: int
    """Everything promised against the hold and not settled yet."""
    drawn_current_usdc: int = 0
    """The part of it that was authorised under the current key epoch."""
    posted_usdc: int = 0
    """The part of it that can be settled now."""
    posted_since_s: int | None = None
    required_usdc: int = 0
    """The largest reservation that found no room lately."""
    wanted_at_s: int | None = None
    """When a key was last issued or used, or None."""
    released_at_s: int | None = None
    """When the owner last asked for the hold to be freed, answered or not, or None."""

    @property
    def token_id(self) -> int:
        return self.state.token_id


@dataclass(frozen=True, slots=True)
class HarvestQuote:
    """What harvesting a due position would credit, tried at the snapshot's block."""

    token_id: int
    due_at_s: int
    credited_usdc: int
    """0 also where the trial failed."""
    last_harvest_at_s: int = 0
    failures: int = 0
    """How often in a row it failed, tried or sent."""
    is_suspect: bool = False
    """It was sent since its last success: it fails in its block although it does not when tried."""


@dataclass(frozen=True, slots=True)
class HarvestRest:
    """When a due position is looked at again, and what is remembered until then."""

    token_id: int
    look_at_s: int
    failures: int


@dataclass(frozen=True, slots=True)
class PayoutFacts:
    """One payout that the market has made payable and no batch pays yet."""

    payout_id: str
    payee: str
    amount_usdc: int
    payable_at_s: int


@dataclass(frozen=True, slots=True)
class PaymentFacts:
    """A payment that a buyer has signed and that is in no transaction of ours."""

    payment_id: str
    value_usdc: int
    valid_before_s: int
    created_at_s: int
    failures: int = 0
    """How often in a row it failed, tried or sent."""
    refusal: str | None = None
    """Why it failed when it was tried just now."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a round decides from, as of one block."""

    block_number: int
    block_hash: str
    now_s: int
    mirrored_at_s: int = 0
    """The block's own time."""
    positions: tuple[PositionFacts, ...] = ()
    harvests: tuple[HarvestQuote, ...] = ()
    harvests_refused: tuple[HarvestQuote, ...] = ()
    """Due positions whose harvest failed when it was tried."""
    harvest_gas_usdc: int = 0
    """What harvesting one position costs at today's gas price."""
    owed_usdc: int = 0
    """Settled and not swept yet."""
    owed_since_s: int | None = None
    payouts: tuple[PayoutFacts, ...] = ()
    payments: tuple[PaymentFacts, ...] = ()
    """What buyers have signed and is to be sent to USDC."""
    treasury_usdc: int = 0
    """What the payouts contract has to pay from."""
    in_flight: frozenset[tuple[Kind, int]] = frozenset()
    """(kind, token id) of transactions whose effect is not mirrored yet."""
    kinds_in_flight: frozenset[Kind] = frozenset()
    """Kinds of which any transaction's effect is not mirrored yet."""
    resting: frozenset[tuple[Kind, int | str]] = frozenset()
    """(kind, token or payout id) refused lately: they would fail their whole batch."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When to act. The settings say what each is for."""

    hold_target_usdc: int = 5_000_000
    hold_lifetime_s: int = 7_200
    hold_renew_before_s: int = 2_700
    hold_shrink_before_s: int = 600
    hold_step_min_usdc: int = 10_000
    active_window_s: int = 3_600
    release_grace_s: int = 300
    settle_amount_usdc: int = 500_000
    settle_max_age_s: int = 600
    settle_before_expiry_s: int = 3_000
    settle_landing_s: int = 60
    harvest_min_usdc: int = HARVEST_MIN_USDC
    harvest_margin_bps: int = 30_000
    harvest_max_age_s: int = 86_400
    harvest_recheck_s: int = 300
    sweep_amount_usdc: int = 10_000_000
    sweep_max_age_s: int = 86_400
    payout_amount_usdc: int = 100_000_000
    payout_max_age_s: int = 30
    payment_landing_s: int = 15
    payment_items_max: int = 40
    items_max: int = ITEMS_MAX
    harvest_items_max: int = 30
    """Harvests in one transaction."""
    harvest_transactions_max: int = 4
    """Such transactions in one round."""

    @property
    def harvests_max(self) -> int:
        return self.harvest_items_max * self.harvest_transactions_max


@dataclass(frozen=True, slots=True)
class SettleItem:
    """Settle a position's posted usage, up to ``limit_usdc``: what its live hold can pay."""

    token_id: int
    limit_usdc: int
    reason: str
    posted_usdc: int = field(default=0, compare=False)
    """How much of it there is now, at most the limit; more may be posted until it is planned."""


@dataclass(frozen=True, slots=True)
class HoldItem:
    """Make a position's hold ``amount_usdc`` until ``expires_at_s``; 0 frees it."""

    token_id: int
    amount_usdc: int
    expires_at_s: int
    key_epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class HarvestItem:
    """Harvest a position for about ``credited_usdc``."""

    token_id: int
    credited_usdc: int
    reason: str


@dataclass(frozen=True, slots=True)
class SweepItem:
    """Send what is owed to the treasury."""

    owed_usdc: int
    reason: str


@dataclass(frozen=True, slots=True)
class PayoutItem:
    """Pay one payout."""

    payout_id: str
    payee: str
    amount_usdc: int
    reason: str


@dataclass(frozen=True, slots=True)
class PaymentItem:
    """Send one payment that a buyer has signed."""

    payment_id: str
    value_usdc: int
    reason: str


Item = SettleItem | HoldItem | HarvestItem | SweepItem | PayoutItem | PaymentItem


@dataclass(frozen=True, slots=True)
class Action:
    """One transaction's worth of items of one kind, the most urgent first."""

    kind: Kind
    items: tuple[Item, ...]

    @property
    def reason(self) -> str:
        """Why, in one line: each reason with how often it occurs."""
        counts = Counter(item.reason for item in self.items)
        return ", ".join(f"{reason} x{count}" for reason, count in sorted(counts.items()))

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(
            item.token_id
            for item in self.items
            if not isinstance(item, SweepItem | PayoutItem | PaymentItem)
        )

    @property
    def amount_usdc(self) -> int:
        """What it moves or secures, as it was decided (1e-6 USDC)."""
        return sum(get_amount_usdc(item) for item in self.items)


def get_subject(item: Item) -> int | str:
    """Return what an item is about: a token id, a payout id, or nothing in particular."""
    match item:
        case SweepItem():
            return ""
        case PayoutItem():
            return item.payout_id
        case PaymentItem():
            return item.payment_id
        case SettleItem() | HoldItem() | HarvestItem():
            return item.token_id


def get_amount_usdc(item: Item) -> int:
    """Return what an item moves or secures (1e-6 USDC)."""
    match item:
        case SettleItem():
            return item.posted_usdc
        case HarvestItem():
            return item.credited_usdc
        case SweepItem():
            return item.owed_usdc
        case PaymentItem():
            return item.value_usdc
        case HoldItem() | PayoutItem():
            return item.amount_usdc
