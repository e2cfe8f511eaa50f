"""What to do, and why, from one snapshot. Pure.

A hold's life, with the rules that act on it::

    placed ───────────── settle_before_expiry ── renew_before ── margin ── shrink_before ── expiry
          topped up      unwanted: its usage     in use: one     the proxy  may become
          when half free is settled              that lives      reserves   smaller
                                                 longer          no more

The proxy reserves against the mirrored hold at any moment, so a live hold is never replaced by a
smaller one while a reservation could still be admitted: only on the owner's request, which stops
admission first, or in the last minutes, when its remaining life stops it.
"""

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from contracts.units import BPS_ONE, mul_div_up
from keeper.facts import (
    HARVEST_MIN_USDC,
    Action,
    HarvestItem,
    HarvestQuote,
    HoldItem,
    Kind,
    PaymentItem,
    PayoutItem,
    PositionFacts,
    Rules,
    SettleItem,
    Snapshot,
    SweepItem,
)
from ledger.chain.positions import Allowance, get_allowance

T = TypeVar("T", SettleItem, HoldItem)

_HOLD_URGENCY: Final = ("cover", "renew", "open", "release", "top_up", "shrink")
_SETTLE_URGENCY: Final = ("release", "expiry", "amount", "age")


def decide(snapshot: Snapshot, rules: Rules) -> list[Action]:
    """Return what to do now, in order of execution: one transaction of each kind at most, but for
    harvests, which do not wait for each other."""
    now_s = snapshot.now_s
    settles = [
        decide_settle(facts, rules, now_s=now_s) for facts in _free_of(snapshot, Kind.SETTLE)
    ]
    # A position may be in both: a hold that covers what is drawn now also covers what is left of
    # it once the settlement before it has landed.
    holds = [decide_hold(facts, rules, now_s=now_s) for facts in _free_of(snapshot, Kind.HOLD)]
    actions = [
        Action(Kind.SETTLE, tuple(_most_urgent(settles, _SETTLE_URGENCY, rules.items_max))),
        Action(Kind.HOLD, tuple(_most_urgent(holds, _HOLD_URGENCY, rules.items_max))),
        Action(Kind.X402, tuple(_decide_payments(snapshot, rules))),
        *(Action(Kind.HARVEST, tuple(items)) for items in _decide_harvests(snapshot, rules)),
        Action(Kind.SWEEP, tuple(_decide_sweep(snapshot, rules))),
        Action(Kind.PAYOUT, tuple(_decide_payouts(snapshot, rules))),
    ]
    return [action for action in actions if action.items]


def decide_settle(facts: PositionFacts, rules: Rules, *, now_s: int) -> SettleItem | None:
    """Return the settlement that a position needs now, or None.

    Usage that cost nothing waits for some that did. The limit is the live hold, and only one that
    outlives the transaction's way into a block: an expired hold would revert the whole batch.
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


def _is_expiring(facts: PositionFacts, rules: Rules, *, left_s: int, now_s: int) -> bool:
    """Tell whether the hold is about to end: one in use is renewed long before, if it can be."""
    if _is_wanted(facts, rules, now_s=now_s):
        return left_s < rules.hold_shrink_before_s
    return left_s < rules.settle_before_expiry_s


def decide_hold(facts: PositionFacts, rules: Rules, *, now_s: int) -> HoldItem | None:
    """Return the hold that a position needs now, or None.

    ======== ==================================================================================
    release  the owner asked, and nothing is drawn: free it; also without a hold, as the answer
    cover    something is drawn that the live hold does not pay
    open     wanted, and there is no hold
    renew    in use, and near its expiry
    top_up   wanted, and less than half of the target, or than was asked for, is free
    shrink   in use, about to expire, and no longer affordable in full
    ======== ==================================================================================
    """
    allowance = get_allowance(facts.state, now_s=now_s)
    if facts.state.release_requested_at_s is not None:
        if facts.drawn_usdc == 0:
            return _place(facts, rules, 0, "release", now_s=now_s)
        return _decide_promised(facts, rules, allowance, now_s=now_s)
    if not _is_wanted(facts, rules, now_s=now_s):
        return _decide_promised(facts, rules, allowance, now_s=now_s)
    return _decide_wanted(facts, rules, allowance, now_s=now_s)


def _decide_promised(
    facts: PositionFacts, rules: Rules, allowance: Allowance, *, now_s: int
) -> HoldItem | None:
    """Hold no more than what is drawn already: nobody wants to spend more."""
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
    facts: PositionFacts, rules: Rules, allowance: Allowance, *, now_s: int
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


def _is_gain_worth(facts: PositionFacts, rules: Rules, *, free_usdc: int, gain_usdc: int) -> bool:
    """Tell whether a top-up is worth a transaction: it gains enough, or lets a request through."""
    if gain_usdc >= rules.hold_step_min_usdc:
        return True
    return free_usdc < facts.required_usdc <= free_usdc + gain_usdc


def _replace(
    facts: PositionFacts, rules: Rules, held_usdc: int, amount_usdc: int, reason: str, *, now_s: int
) -> HoldItem | None:
    """Place ``amount_usdc`` unless that breaks what the live hold promises.

    A smaller one than the live hold waits until nothing new can be reserved against it, and never
    goes below what is drawn. Without a live hold even a part of what is drawn is worth securing.
    """
    if amount_usdc == 0:
        return None
    if amount_usdc < held_usdc:
        left_s = facts.state.hold_expires_at_s - now_s
        if left_s > rules.hold_shrink_before_s or amount_usdc < facts.drawn_usdc:
            return None
        reason = "shrink"
    elif reason == "cover" and amount_usdc == held_usdc:
        return None
    return _place(facts, rules, amount_usdc, reason, now_s=now_s)


def _place(
    facts: PositionFacts, rules: Rules, amount_usdc: int, reason: str, *, now_s: int
) -> HoldItem:
    return HoldItem(
        token_id=facts.token_id,
        amount_usdc=amount_usdc,
        expires_at_s=now_s + rules.hold_lifetime_s if amount_usdc > 0 else 0,
        key_epoch=facts.state.key_epoch,
        reason=reason,
    )


def _is_wanted(facts: PositionFacts, rules: Rules, *, now_s: int) -> bool:
    """Tell whether a key is in use, and its owner did not just take the credit back.

    The owner needs some blocks after a release to withdraw, before a request may hold it again.
    """
    if facts.wanted_at_s is None or now_s - facts.wanted_at_s > rules.active_window_s:
        return False
    if facts.state.release_requested_at_s is not None:
        return False
    released_at_s = facts.released_at_s
    return released_at_s is None or now_s - released_at_s >= rules.release_grace_s


def _is_near_expiry(facts: PositionFacts, rules: Rules, *, now_s: int) -> bool:
    return facts.state.hold_expires_at_s - now_s < rules.hold_renew_before_s


def _decide_harvests(snapshot: Snapshot, rules: Rules) -> list[list[HarvestItem]]:
    """Return the harvests of each transaction, the largest first."""
    in_flight = snapshot.in_flight
    items = [
        item
        for quote in snapshot.harvests
        if (Kind.HARVEST, quote.token_id) not in in_flight
        and (item := decide_harvest(quote, snapshot, rules)) is not None
    ]
    items.sort(key=lambda item: (-item.credited_usdc, item.token_id))
    # One that fails in its block may burn the gas of all behind it: it goes last, and one at most.
    suspects = {quote.token_id for quote in snapshot.harvests if quote.is_suspect}
    sound = [item for item in items if item.token_id not in suspects]
    doubted = [item for item in items if item.token_id in suspects][:1]
    chosen = [*sound[: rules.harvests_max - len(doubted)], *doubted]
    size = rules.harvest_items_max
    return [chosen[start : start + size] for start in range(0, len(chosen), size)]


def decide_harvest(quote: HarvestQuote, snapshot: Snapshot, rules: Rules) -> HarvestItem | None:
    """Return the harvest of a due position where it pays for its gas, or has waited too long.

    Rounding: the worth asked for is rounded up, against harvesting at a loss.
    """
    waited_s = snapshot.now_s - quote.due_at_s
    if waited_s < 0 or quote.credited_usdc < max(rules.harvest_min_usdc, HARVEST_MIN_USDC):
        return None
    if quote.credited_usdc >= get_harvest_worth_usdc(snapshot, rules):
        return HarvestItem(quote.token_id, quote.credited_usdc, "due")
    if waited_s >= rules.harvest_max_age_s:
        return HarvestItem(quote.token_id, quote.credited_usdc, "age")
    return None


def get_harvest_worth_usdc(snapshot: Snapshot, rules: Rules) -> int:
    """Return the least that a harvest must credit to be made while it is not old (1e-6 USDC)."""
    worth_usdc = mul_div_up(snapshot.harvest_gas_usdc, rules.harvest_margin_bps, BPS_ONE)
    return max(worth_usdc, rules.harvest_min_usdc, HARVEST_MIN_USDC)


def _decide_payments(snapshot: Snapshot, rules: Rules) -> list[PaymentItem]:
    """Send what buyers have signed, the oldest first: they wait for it.

    What failed before goes last, one at most: it may fail in its block although it does not when
    it is tried, and burn the gas of all behind it.
    """
    if Kind.X402 in snapshot.kinds_in_flight:
        return []
    ready = sorted(
        (
            payment
            for payment in snapshot.payments
            if payment.refusal is None
            and payment.valid_before_s - snapshot.now_s > rules.payment_landing_s
        ),
        key=lambda payment: (payment.created_at_s, payment.payment_id),
    )
    doubted = [payment for payment in ready if payment.failures > 0][:1]
    sound = [payment for payment in ready if payment.failures == 0]
    chosen = [*sound[: rules.payment_items_max - len(doubted)], *doubted]
    return [PaymentItem(p.payment_id, p.value_usdc, "signed") for p in chosen]


def _decide_sweep(snapshot: Snapshot, rules: Rules) -> list[SweepItem]:
    owed_usdc, since_s = snapshot.owed_usdc, snapshot.owed_since_s
    if owed_usdc == 0 or Kind.SWEEP in snapshot.kinds_in_flight:
        return []
    if owed_usdc >= rules.sweep_amount_usdc:
        return [SweepItem(owed_usdc, "amount")]
    if since_s is not None and snapshot.now_s - since_s >= rules.sweep_max_age_s:
        return [SweepItem(owed_usdc, "age")]
    return []


def _decide_payouts(snapshot: Snapshot, rules: Rules) -> list[PayoutItem]:
    """Pay what is payable, the oldest first, once there is enough of it or it has waited.

    Never more than the treasury has: the contract refuses a batch that it cannot pay in full. One
    that is too large for what is left waits, without holding up the smaller ones behind it.
    """
    if Kind.PAYOUT in snapshot.kinds_in_flight:
        return []
    payable = sorted(
        (p for p in snapshot.payouts if (Kind.PAYOUT, p.payout_id) not in snapshot.resting),
        key=lambda payout: (payout.payable_at_s, payout.payout_id),
    )
    if not payable:
        return []
    if sum(payout.amount_usdc for payout in payable) >= rules.payout_amount_usdc:
        reason = "amount"
    elif snapshot.now_s - payable[0].payable_at_s >= rules.payout_max_age_s:
        reason = "age"
    else:
        return []
    left_usdc = snapshot.treasury_usdc
    items: list[PayoutItem] = []
    for payout in payable:
        if len(items) == rules.items_max:
            break
        if payout.amount_usdc <= left_usdc:
            left_usdc -= payout.amount_usdc
            items.append(PayoutItem(payout.payout_id, payout.payee, payout.amount_usdc, reason))
    return items


def _free_of(snapshot: Snapshot, kind: Kind) -> Iterable[PositionFacts]:
    """Return the positions without a settlement or hold on its way.

    Both change the live hold, so either one's outcome must be mirrored before ``kind`` is decided.
    """
    assert kind in (Kind.SETTLE, Kind.HOLD)
    left_alone = {token_id for other, token_id in snapshot.resting if other is kind}
    left_alone.update(
        token_id for other, token_id in snapshot.in_flight if other in (Kind.SETTLE, Kind.HOLD)
    )
    return (facts for facts in snapshot.positions if facts.token_id not in left_alone)


def _most_urgent(items: Sequence[T | None], urgency: Sequence[str], count_max: int) -> list[T]:
    """Return at most ``count_max`` items, by the urgency of their reason, then by token id."""
    ranked = sorted(
        (item for item in items if item is not None),
        key=lambda item: (urgency.index(item.reason), item.token_id),
    )
    return ranked[:count_max]
