"""Which signed payments are sent now, which share a transaction, and which wait. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import Field

from keeper.budgets import WHOLE_KIND
from keeper.duties.moment import DutyRules, Moment
from keeper.gas import TRANSFER_GAS, GasPrice
from keeper.worth import (
    APART,
    BUDGET,
    SHARE,
    SIZES,
    TOGETHER,
    Decision,
    Unworthy,
    decide_worthy,
)

X402_KIND: Final = "x402"


class X402Rules(DutyRules):
    """When a buyer's payment is sent, and when it counts as settled."""

    payment_confirmations: int = Field(
        default=1, ge=0, le=10_000, description="blocks on top before a buyer's payment is settled"
    )
    payment_gas: int = Field(
        default=200_000, ge=60_000, le=5_000_000, description="gas allowed to one payment"
    )
    payment_items_max: int = Field(
        default=40, ge=1, le=64, description="payments in one transaction"
    )
    payment_apart_max: int = Field(
        default=2,
        ge=0,
        le=64,
        description="payments in a round that go alone: payers with code, or failed in a block",
    )
    payment_landing_s: int = Field(
        default=15, ge=0, description="a payment must be valid for longer to be sent, seconds"
    )


ALONE: Final = "alone"
"""The reason of a payment that would share a transaction, but too many were burnt today."""
ALONE_MAX: Final = 8
"""As many of these go in one round."""


@dataclass(frozen=True, slots=True)
class PaymentDue:
    """A payment that a buyer has signed and that is in no transaction of ours."""

    payment_id: str
    value_usdc: int
    valid_before_s: int
    created_at_s: int
    failures: int = 0
    """How often in a row it failed, where it failed in a block."""
    refusal: str | None = None
    """Why it failed when it was tried just now."""
    payer: str = ""
    has_code: bool = False
    """Whether the payer is a contract, or delegates to one (EIP-7702)."""
    trials: int = 0
    """How often in a row it failed, where it failed only when it was tried: nothing was burnt."""

    @property
    def is_apart(self) -> bool:
        """Whether it goes in a transaction of its own, with its own bounded gas."""
        return self.has_code or self.failures > 0


@dataclass(frozen=True, slots=True)
class PaymentItem:
    """Send one payment that a buyer has signed."""

    payment_id: str
    amount_usdc: int
    reason: str
    """``signed``, or for a payment that goes alone ``apart`` or ``alone``."""
    payer: str = ""

    @property
    def is_apart(self) -> bool:
        """Whether it goes in a transaction of its own."""
        return self.reason in (APART, ALONE)

    @property
    def subject(self) -> str:
        return self.payment_id

    @property
    def token_ids(self) -> tuple[int, ...]:
        return ()

    @property
    def account(self) -> str:
        return self.payer

    @property
    def brings_usdc(self) -> int:
        return self.amount_usdc


def decide_payments(
    payments: Sequence[PaymentDue], moment: Moment, rules: X402Rules
) -> Decision[PaymentItem]:
    """Send what buyers have signed, the oldest first: they wait for it.

    A payment that does not pay for its share of a transaction is not sent, and payments that do not
    pay for one together wait for others.

    A payer with code, and a payment that failed before, may fail in the block although it does not
    when it is tried, and burn all gas that it is given. Such payments go apart: after all others,
    few in a round and one of each payer, and only where they pay for all that they may burn.

    Where what payers burnt has used up the day's budget, no payments share a transaction until the
    day is over: sound ones go alone too, which bounds what each payer can still burn.
    """
    if X402_KIND in moment.kinds_in_flight:
        return Decision()
    ready = sorted(
        (
            payment
            for payment in payments
            if payment.refusal is None
            and payment.valid_before_s - moment.now_s > rules.payment_landing_s
        ),
        key=lambda payment: (
            payment.failures + payment.trials,
            payment.created_at_s,
            payment.payment_id,
        ),
    )
    left_usdc = moment.budgets.get_left_usdc(X402_KIND, WHOLE_KIND)
    sound = [payment for payment in ready if not payment.is_apart]
    cost_usdc = get_apart_cost_usdc(moment.gas_price, rules)
    if left_usdc is None or left_usdc > 0:
        items = [_item_of(payment, "signed") for payment in sound]
        decided = decide_worthy(
            X402_KIND, items, moment.gas_price, count_max=rules.payment_items_max
        )
    else:
        items = [_item_of(payment, ALONE) for payment in sound]
        decided = _decide_alone(items, cost_usdc, count_max=ALONE_MAX)
    doubted = [_item_of(payment, APART) for payment in ready if payment.is_apart]
    apart = _decide_alone(doubted, cost_usdc, count_max=rules.payment_apart_max)
    return Decision(
        [*decided.transactions, *apart.transactions], (*decided.unworthy, *apart.unworthy)
    )


def get_apart_cost_usdc(price: GasPrice, rules: X402Rules) -> int:
    """Return what a payment in a transaction of its own may burn (1e-6 USDC), rounded up."""
    size = SIZES[X402_KIND]
    gas = TRANSFER_GAS + rules.payment_gas
    return price.get_cost_usdc(gas, size_bytes=size.bytes_ + size.item_bytes)


def _decide_alone(
    items: Sequence[PaymentItem], cost_usdc: int, *, count_max: int
) -> Decision[PaymentItem]:
    """Send each of ``items`` alone, one of each payer, unless it brings less than it costs."""
    chosen: dict[str, PaymentItem] = {}
    unworthy: list[Unworthy] = []
    for item in items:
        if item.brings_usdc < cost_usdc:
            unworthy.append(Unworthy(X402_KIND, item.subject, SHARE, item.brings_usdc, cost_usdc))
        elif len(chosen) < count_max:
            chosen.setdefault(item.payer, item)
    return Decision([(item,) for item in chosen.values()], tuple(unworthy))


def _item_of(payment: PaymentDue, reason: str) -> PaymentItem:
    return PaymentItem(payment.payment_id, payment.value_usdc, reason, payment.payer)


def find_waiting(
    payments: Sequence[PaymentDue], items: Sequence[PaymentItem], unworthy: Sequence[Unworthy]
) -> dict[str, None]:
    """Return the payments that would go through and whose turn has not come, to be set aside.

    ``items`` are those that are sent. The others are beyond what goes alone in one round, or past a
    budget. Sound ones beyond one transaction are next, and are looked at again at once.
    """
    chosen = {item.payment_id for item in items}
    alone = {item.payer for item in items if item.reason == ALONE}
    sharing = {one.subject for one in unworthy if one.reason in (SHARE, TOGETHER)}
    past_budget = {one.subject for one in unworthy if one.reason == BUDGET}
    return {
        payment.payment_id: None
        for payment in payments
        if payment.refusal is None
        and payment.payment_id not in chosen
        and payment.payment_id not in sharing
        and (payment.is_apart or payment.payer in alone or payment.payment_id in past_budget)
    }
