"""Hold: promise part of a position's credit to requests, until an expiry, and free it again.

A hold's life, with the rules that act on it::

    placed ───────────── settle_before_expiry ── renew_before ── margin ── in_use_before ── expiry
          topped up      unwanted: its usage     in use: a hold  the proxy  in use, and not
          when half free is settled              that lives      reserves   renewed: its usage
                                                 longer          no more    is settled

The proxy reserves against the mirrored hold at any moment, so a live hold is never replaced by a
smaller one. The contract keeps that promise too: whatever a day or a revocation allows, it grants
the live hold again. Only the owner's request, which stops admission first, frees a hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from eth_abi.abi import decode, encode
from pydantic import Field, model_validator
from sqlalchemy import Connection

from contracts.bindings import Contracts
from contracts.units import USDC_MAX
from keeper.duties.calls import ChainCall, select
from keeper.duties.duty import OfPosition, PlainDuty, is_allowed
from keeper.duties.moment import Moment
from keeper.duties.positions import (
    HOLD,
    Facts,
    PositionFacts,
    PositionRules,
    is_wanted,
    keep_free,
    rank,
)
from keeper.worth import Decision, decide_worthy
from ledger.chain.placing import note_placements
from ledger.chain.positions import Allowance, get_allowance
from ledger.intents.record import IntentRecord
from ledger.spending.demand import answer_demand

_URGENCY: Final = ("cover", "renew", "open", "release", "top_up")
_TYPES: Final = ("(uint256,uint256,uint256,uint256)[]",)
_SELECTOR: Final = select("hold", _TYPES)


class HoldRules(PositionRules):
    """How much is held, and when a hold is replaced."""

    hold_target_usdc: int = Field(
        default=5_000_000, ge=1, le=USDC_MAX, description="hold of a position in use"
    )
    hold_renew_before_s: int = Field(
        default=2_700, ge=1, description="renewed when less of its life is left, seconds"
    )
    hold_step_min_usdc: int = Field(
        default=10_000, ge=1, le=USDC_MAX, description="smallest gain worth a top-up"
    )

    @model_validator(mode="after")
    def _hold_times_fit(self) -> Self:
        if not self.settle_in_use_before_s < self.hold_renew_before_s < self.hold_lifetime_s:
            raise ValueError("settle_in_use_before_s < hold_renew_before_s < hold_lifetime_s")
        return self


@dataclass(frozen=True, slots=True)
class HoldItem(OfPosition):
    """Make a position's hold ``amount_usdc`` until ``expires_at_s``; 0 frees it."""

    token_id: int
    amount_usdc: int
    expires_at_s: int
    key_epoch: int
    reason: str
    brings_usdc: int = field(default=0, compare=False)
    """What it secures beyond the live hold."""


def decide_holds(positions: Facts, moment: Moment, rules: HoldRules) -> Decision[HoldItem]:
    """Return the holds to place now, in one transaction at most.

    A hold that secures less than it and its settlement cost is not placed.

    A position may be settled in the same round: a hold that covers what is drawn now also covers
    what is left of it once the settlement before it has landed.
    """
    items = [
        decide_hold(facts, rules, now_s=moment.now_s)
        for facts in keep_free(positions, moment, kind=HOLD)
    ]
    ranked = rank(items, _URGENCY)
    return decide_worthy(HOLD, ranked, moment.gas_price, count_max=rules.items_max)


def decide_hold(facts: PositionFacts, rules: HoldRules, *, now_s: int) -> HoldItem | None:
    """Return the hold that a position needs now, or None.

    ======== ==================================================================================
    release  the owner asked, and nothing is drawn: free it; also without a hold, as the answer
    cover    something is drawn that the live hold does not pay
    open     wanted, and there is no hold
    renew    in use, and near its expiry
    top_up   wanted, and less than half of the target, or than was asked for, is free
    ======== ==================================================================================
    """
    allowance = get_allowance(facts.state, now_s=now_s)
    if facts.state.release_requested_at_s is not None:
        if facts.drawn_usdc == 0:
            return _place(facts, rules, 0, "release", now_s=now_s)
        return _decide_promised(facts, rules, allowance, now_s=now_s)
    if not is_wanted(facts, rules, now_s=now_s):
        return _decide_promised(facts, rules, allowance, now_s=now_s)
    return _decide_wanted(facts, rules, allowance, now_s=now_s)


def _decide_promised(
    facts: PositionFacts, rules: HoldRules, allowance: Allowance, *, now_s: int
) -> HoldItem | None:
    """Hold no more than what is drawn already: no key of the position is in use."""
    held_usdc = allowance.held_usdc
    if held_usdc == 0:
        # What a revoked key drew opens no new spending: the contract refuses it, rightly.
        amount_usdc = min(facts.drawn_current_usdc, allowance.grantable_usdc)
        reason = "cover"
    elif facts.drawn_usdc > held_usdc:
        amount_usdc = min(facts.drawn_usdc, allowance.grantable_usdc)
        reason = "cover"
    elif facts.drawn_usdc > 0 and _is_near_expiry(facts, rules, now_s=now_s):
        amount_usdc = min(max(facts.drawn_usdc, held_usdc), allowance.grantable_usdc)
        reason = "renew"
    else:
        return None
    return _replace(facts, rules, held_usdc, amount_usdc, reason, now_s=now_s)


def _decide_wanted(
    facts: PositionFacts, rules: HoldRules, allowance: Allowance, *, now_s: int
) -> HoldItem | None:
    """Hold the target; more where much is drawn, so that half the target or what was asked for is
    free on top of it."""
    held_usdc, grantable_usdc = allowance.held_usdc, allowance.grantable_usdc
    drawn_usdc = facts.drawn_usdc if held_usdc > 0 else facts.drawn_current_usdc
    least_free_usdc = max(facts.required_usdc, rules.hold_target_usdc // 2)
    target_usdc = max(rules.hold_target_usdc, drawn_usdc + least_free_usdc, held_usdc)
    amount_usdc = min(target_usdc, grantable_usdc)
    free_usdc = held_usdc - facts.drawn_usdc
    if held_usdc == 0:
        reason = "cover" if drawn_usdc > 0 else "open"
    elif free_usdc < 0:
        reason = "cover"
    elif _is_near_expiry(facts, rules, now_s=now_s):
        reason = "renew"
    elif free_usdc < least_free_usdc and _is_gain_worth(
        facts, rules, free_usdc=free_usdc, gain_usdc=amount_usdc - held_usdc
    ):
        reason = "top_up"
    else:
        return None
    return _replace(facts, rules, held_usdc, amount_usdc, reason, now_s=now_s)


def _is_gain_worth(
    facts: PositionFacts, rules: HoldRules, *, free_usdc: int, gain_usdc: int
) -> bool:
    """Tell whether a top-up is worth a transaction: it gains enough, or lets a request through."""
    if gain_usdc >= rules.hold_step_min_usdc:
        return True
    return free_usdc < facts.required_usdc <= free_usdc + gain_usdc


def _replace(
    facts: PositionFacts,
    rules: HoldRules,
    held_usdc: int,
    amount_usdc: int,
    reason: str,
    *,
    now_s: int,
) -> HoldItem | None:
    """Place ``amount_usdc`` unless that would change nothing. It is never below the live hold.

    Without a live hold even a part of what is drawn is worth securing.
    """
    assert amount_usdc >= held_usdc
    if amount_usdc == 0 or (reason == "cover" and amount_usdc == held_usdc):
        return None
    return _place(facts, rules, amount_usdc, reason, now_s=now_s)


def _place(
    facts: PositionFacts, rules: HoldRules, amount_usdc: int, reason: str, *, now_s: int
) -> HoldItem:
    held_usdc = get_allowance(facts.state, now_s=now_s).held_usdc
    return HoldItem(
        token_id=facts.token_id,
        amount_usdc=amount_usdc,
        expires_at_s=now_s + rules.hold_lifetime_s if amount_usdc > 0 else 0,
        key_epoch=facts.state.key_epoch,
        reason=reason,
        # All of a hold that is renewed would lapse; of another one the live part stays anyway.
        brings_usdc=amount_usdc - (0 if reason == "renew" else min(held_usdc, amount_usdc)),
    )


def _is_near_expiry(facts: PositionFacts, rules: HoldRules, *, now_s: int) -> bool:
    return facts.state.hold_expires_at_s - now_s < rules.hold_renew_before_s


def build_hold(contracts: Contracts, items: Sequence[HoldItem]) -> ChainCall:
    """Build ``hold``: absolute amounts, so that repeating it is harmless."""
    holds = [(i.token_id, i.amount_usdc, i.expires_at_s, i.key_epoch) for i in items]
    data = "0x" + (_SELECTOR + encode(_TYPES, [holds])).hex()
    return ChainCall(contracts.position.address, data, tuple(item.token_id for item in items))


def is_release(data: str) -> bool:
    """Tell whether calldata (0x hex) of ``hold`` frees at least one position."""
    (holds,) = decode(_TYPES, bytes.fromhex(data[10:]))
    return any(amount_usdc == 0 for _, amount_usdc, _, _ in holds)


class Hold(PlainDuty[Facts, HoldItem, HoldRules]):
    """Holds. A hold that a crash interrupted is decided again: it may be out of date."""

    kind = HOLD

    def load(self, connection: Connection, moment: Moment) -> Facts:
        return self.tools.positions.load(connection, moment)

    def decide(self, facts: Facts, moment: Moment) -> Decision[HoldItem]:
        return decide_holds(facts, moment, self.rules)

    def build(self, connection: Connection, items: Sequence[HoldItem], *, now_s: int) -> ChainCall:
        return build_hold(self.tools.contracts, items)

    def note_planned(
        self,
        connection: Connection,
        items: Sequence[HoldItem],
        facts: Facts,
        *,
        intent_id: str,
        now_s: int,
    ) -> None:
        """Count the new holds where they are smaller, and answer the demand of the positions."""
        amounts_usdc = {item.token_id: item.amount_usdc for item in items}
        note_placements(connection, intent_id, amounts_usdc, now_s=now_s)
        held = {item.token_id for item in items}
        for position in facts:
            if position.token_id in held and position.wanted_at_s is not None:
                answer_demand(
                    connection, token_id=position.token_id, required_usdc=position.required_usdc
                )

    def build_trial(self, items: Sequence[HoldItem]) -> ChainCall:
        return build_hold(self.tools.contracts, items)

    def is_disarmed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Tell whether the contract refuses the sender by now."""
        contract = self.tools.contracts.position
        return not is_allowed(self.tools, contract, "isSettler", intent, block_number=block_number)

    def must_not_land(self, connection: Connection, intent: IntentRecord) -> bool:
        """Tell whether a release that a reorg took from the chain would free a hold in use.

        A hold is sent as soon as it is decided, so a release that is in no block was in a block
        once. Where that block is gone the hold is live again, and requests may be served on it by
        now: freeing it from an old decision would let the owner withdraw what they cost.
        """
        return intent.was_mined and is_release(str(intent.payload["data"]))
