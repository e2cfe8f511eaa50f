"""Settle: charge posted usage on chain, many positions in one batch, up to their live holds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from eth_abi.abi import encode
from pydantic import Field, model_validator
from sqlalchemy import Connection
from web3.contract import Contract

from contracts.bindings import Contracts
from contracts.units import USDC_MAX
from keeper.duties.calls import ChainCall, select
from keeper.duties.duty import NO_BATCH, BatchDuty, OfPosition, is_allowed
from keeper.duties.moment import Moment
from keeper.duties.positions import (
    SETTLE,
    Facts,
    PositionFacts,
    PositionRules,
    is_wanted,
    keep_free,
    rank,
)
from keeper.worth import Decision, decide_worthy
from ledger.intents.record import IntentRecord
from ledger.spending.batches import PlannedBatch, abandon_batch, plan_batch
from ledger.spending.strays import is_spoiled

_URGENCY: Final = ("release", "expiry", "amount", "age")
_TYPES: Final = ("bytes32", "bytes32", "(uint256,uint256)[]")
_SELECTOR: Final = select("settle", _TYPES)
_NO_ROOT: Final = "0x" + "00" * 32


class SettleRules(PositionRules):
    """When posted usage is settled."""

    settle_amount_usdc: int = Field(
        default=500_000, ge=1, le=USDC_MAX, description="a position's usage that is settled at once"
    )
    settle_max_age_s: int = Field(
        default=600, ge=0, description="oldest usage that may wait for more, seconds"
    )
    settle_before_expiry_s: int = Field(
        default=3_000, ge=1, description="usage on an idle hold is settled when less is left"
    )
    settle_landing_s: int = Field(
        default=60, ge=0, description="a hold must outlive now by this to be settled from, seconds"
    )

    @model_validator(mode="after")
    def _settle_times_fit(self) -> Self:
        if not self.settle_landing_s < self.settle_before_expiry_s < self.hold_lifetime_s:
            raise ValueError("settle_landing_s < settle_before_expiry_s < hold_lifetime_s")
        if self.settle_landing_s >= self.settle_in_use_before_s:
            raise ValueError("settle_landing_s < settle_in_use_before_s")
        return self


@dataclass(frozen=True, slots=True)
class SettleItem(OfPosition):
    """Settle a position's posted usage, up to ``limit_usdc``: what its live hold can pay."""

    token_id: int
    limit_usdc: int
    reason: str
    amount_usdc: int = field(default=0, compare=False)
    """Usage posted now, at most the limit; more may be posted until the batch is planned."""

    @property
    def brings_usdc(self) -> int:
        return self.amount_usdc


def decide_settle(facts: PositionFacts, rules: SettleRules, *, now_s: int) -> SettleItem | None:
    """Return the settlement that a position needs now, or None.

    Usage that cost nothing waits for some that did. The limit is the live hold, and only a hold
    that outlives the transaction's way into a block: an expired one would revert the whole batch.
    """
    if facts.posted_usdc == 0 or facts.posted_since_s is None:
        return None
    left_s = facts.state.hold_expires_at_s - now_s
    if left_s <= rules.settle_landing_s or facts.state.hold_usdc == 0:
        return None
    if facts.state.release_requested_at_s is not None:
        reason = "release"
    elif _is_expiring(facts, rules, left_s=left_s, now_s=now_s):
        reason = "expiry"
    elif facts.posted_usdc >= rules.settle_amount_usdc:
        reason = "amount"
    elif now_s - facts.posted_since_s >= rules.settle_max_age_s:
        reason = "age"
    else:
        return None
    limit_usdc = facts.state.hold_usdc
    return SettleItem(facts.token_id, limit_usdc, reason, min(facts.posted_usdc, limit_usdc))


def _is_expiring(facts: PositionFacts, rules: SettleRules, *, left_s: int, now_s: int) -> bool:
    """Tell whether the hold is about to end: a hold in use is renewed long before, if it can be."""
    if is_wanted(facts, rules, now_s=now_s):
        return left_s < rules.settle_in_use_before_s
    return left_s < rules.settle_before_expiry_s


def build_settle(contracts: Contracts, batch: PlannedBatch) -> ChainCall:
    """Build ``settle`` for a planned batch."""
    arguments = [
        bytes.fromhex(batch.batch_id[2:]),
        bytes.fromhex(batch.receipts_root[2:]),
        list(batch.items),
    ]
    data = "0x" + (_SELECTOR + encode(_TYPES, arguments)).hex()
    token_ids = tuple(token_id for token_id, _ in batch.items)
    return ChainCall(contracts.position.address, data, token_ids, batch_id=batch.batch_id)


class Settle(BatchDuty[Facts, SettleItem, SettleRules]):
    """Settlements. Usage is bound to its batch until the batch lands or never can."""

    kind = SETTLE

    @property
    def counter(self) -> tuple[Contract, str]:
        return self.tools.contracts.position, "batchSettled"

    def load(self, connection: Connection, moment: Moment) -> Facts:
        return self.tools.positions.load(connection, moment)

    def decide(self, facts: Facts, moment: Moment) -> Decision[SettleItem]:
        return decide_settles(facts, moment, self.rules)

    def build(
        self, connection: Connection, items: Sequence[SettleItem], *, now_s: int
    ) -> ChainCall | None:
        limits_usdc = {item.token_id: item.limit_usdc for item in items}
        batch = plan_batch(connection, limits_usdc=limits_usdc, now_s=now_s)
        return None if batch is None else build_settle(self.tools.contracts, batch)

    def build_trial(self, items: Sequence[SettleItem]) -> ChainCall:
        costs = tuple((item.token_id, item.amount_usdc) for item in items)
        return build_settle(self.tools.contracts, PlannedBatch(NO_BATCH, _NO_ROOT, costs))

    def is_disarmed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Tell whether the contract refuses the sender by now."""
        contract = self.tools.contracts.position
        return not is_allowed(self.tools, contract, "isSettler", intent, block_number=block_number)

    def must_not_land(self, connection: Connection, intent: IntentRecord) -> bool:
        """Tell whether the batch would charge for usage that another one has settled."""
        return is_spoiled(connection, str(intent.payload["batch_id"]))

    def bury(self, connection: Connection, intent: IntentRecord) -> None:
        """Free the usage of a batch that can never settle."""
        abandon_batch(connection, str(intent.payload["batch_id"]))


def decide_settles(positions: Facts, moment: Moment, rules: SettleRules) -> Decision[SettleItem]:
    """Return the settlements to send now, in one transaction at most.

    Usage that does not pay for its settlement waits for more, at the latest until its hold is about
    to lapse.
    """
    items = [
        decide_settle(facts, rules, now_s=moment.now_s)
        for facts in keep_free(positions, moment, kind=SETTLE)
    ]
    ranked = rank(items, _URGENCY)
    return decide_worthy(SETTLE, ranked, moment.gas_price, count_max=rules.items_max)
