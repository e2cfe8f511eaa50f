"""X402: send to USDC the payments that buyers have signed, many in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pydantic import Field
from sqlalchemy import Connection

from contracts.units import format_usdc
from keeper.duties.calls import ChainCall
from keeper.duties.duty import Action, PlainDuty, Tools
from keeper.duties.moment import DutyRules, Moment
from keeper.duties.x402_following import FOLLOWED_MAX, X402_KIND, PaymentFollower
from keeper.duties.x402_trial import PaymentTrial, build_payments
from keeper.worth import (
    SHARE,
    TOGETHER,
    Decision,
    Unworthy,
    decide_worthy,
    get_cost_usdc,
    pays,
    split_worthy,
)
from ledger.chain.mirror import MirrorState
from ledger.database.engine import write
from ledger.intents.record import IntentRecord
from ledger.payments.claims import load_payments
from ledger.payments.outcomes import (
    load_due_payments,
    mark_payments_sent,
    rest_payments,
    set_payments_aside,
)
from ledger.payments.records import PaymentRecord


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
    payment_landing_s: int = Field(
        default=15, ge=0, description="a payment must be valid for longer to be sent, seconds"
    )


TOO_SMALL_REST_S: Final = 10
"""How long a payment that is worth less than sending it costs is left alone: prices move."""
_TOO_SMALL: Final = "it is worth less than sending it costs now: at least {} USDC would pay for it"


@dataclass(frozen=True, slots=True)
class PaymentDue:
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
class X402Facts:
    """The payments that may be sent, as the ledger has them, and as trying them showed."""

    records: tuple[PaymentRecord, ...] = ()
    payments: tuple[PaymentDue, ...] = ()


@dataclass(frozen=True, slots=True)
class PaymentItem:
    """Send one payment that a buyer has signed."""

    payment_id: str
    amount_usdc: int
    reason: str

    @property
    def subject(self) -> str:
        return self.payment_id

    @property
    def token_ids(self) -> tuple[int, ...]:
        return ()

    @property
    def brings_usdc(self) -> int:
        return self.amount_usdc


def decide_payments(facts: X402Facts, moment: Moment, rules: X402Rules) -> Decision[PaymentItem]:
    """Send what buyers have signed, the oldest first: they wait for it.

    A payment that does not pay for its share of a transaction is not sent, and payments that do not
    pay for one together wait for others.

    A payment that failed before goes last, and a round sends one such at most: it may fail in its
    block although it does not when it is tried, and burn the gas of all behind it.
    """
    if X402_KIND in moment.kinds_in_flight:
        return Decision()
    ready = sorted(
        (
            payment
            for payment in facts.payments
            if payment.refusal is None
            and payment.valid_before_s - moment.now_s > rules.payment_landing_s
        ),
        key=lambda payment: (payment.created_at_s, payment.payment_id),
    )
    failures = {payment.payment_id: payment.failures for payment in ready}
    items = [PaymentItem(p.payment_id, p.value_usdc, "signed") for p in ready]
    worthy, unworthy = split_worthy(X402_KIND, items, moment.gas_price)
    doubted = [item for item in worthy if failures[item.payment_id] > 0][:1]
    sound = [item for item in worthy if failures[item.payment_id] == 0]
    room = rules.payment_items_max - len(doubted)
    decided = decide_worthy(X402_KIND, sound, moment.gas_price, count_max=room)
    if decided.transactions or pays(X402_KIND, doubted, moment.gas_price):
        # A doubted payment pays its share; alone it has to pay for its whole transaction.
        sent = [*(decided.transactions[0] if decided.transactions else ()), *doubted]
        decided = replace(decided, transactions=[tuple(sent)] if sent else [])
    else:
        cost_usdc = get_cost_usdc(X402_KIND, 1, moment.gas_price)
        unworthy += [
            Unworthy(X402_KIND, one.subject, TOGETHER, one.brings_usdc, cost_usdc)
            for one in doubted
        ]
    return replace(decided, unworthy=(*unworthy, *decided.unworthy))


class X402(PlainDuty[X402Facts, PaymentItem, X402Rules]):
    """Buyers' payments. What became of each is read from the chain, not from our transaction."""

    kind = X402_KIND
    is_about_positions = False

    def __init__(self, tools: Tools, rules: X402Rules) -> None:
        super().__init__(tools, rules)
        self._trial = PaymentTrial(
            tools.node, tools.contracts, gas_each=rules.payment_gas, sender=tools.sender
        )
        self._follower = PaymentFollower(
            tools.engine,
            tools.node,
            tools.contracts,
            confirmations=rules.payment_confirmations,
            final_blocks=rules.give_up_blocks,
        )

    def follow(self, mirror: MirrorState, *, now_s: int) -> None:
        self._follower.follow(mirror, now_s=now_s)

    def load(self, connection: Connection, moment: Moment) -> X402Facts:
        if X402_KIND in moment.kinds_in_flight:
            return X402Facts()
        limit = 2 * self.rules.payment_items_max
        found = load_due_payments(connection, now_s=moment.wall_s, limit=FOLLOWED_MAX)
        verified = (payment for payment in found if payment.state == "verified")
        return X402Facts(records=tuple(verified)[:limit])

    def look(self, facts: X402Facts, moment: Moment) -> X402Facts:
        """Try every payment at the block, as it would be sent."""
        refusals = self._trial.run(facts.records, block_hash=moment.block_hash)
        payments = tuple(
            PaymentDue(
                payment_id=payment.payment_id,
                value_usdc=payment.authorization.value_usdc,
                valid_before_s=payment.authorization.valid_before_s,
                created_at_s=payment.created_at_s,
                failures=payment.failures,
                refusal=refusal,
            )
            for payment, refusal in zip(facts.records, refusals, strict=True)
        )
        return X402Facts(facts.records, payments)

    def decide(self, facts: X402Facts, moment: Moment) -> Decision[PaymentItem]:
        return decide_payments(facts, moment, self.rules)

    def note_decided(
        self,
        facts: X402Facts,
        actions: Sequence[Action],
        unworthy: Sequence[Unworthy],
        moment: Moment,
    ) -> None:
        """Leave payments alone for a while that would not go through, and say why.

        So it is with those that are too small for any transaction at the moment's prices: they
        must not take the place of others. Those that wait for others are looked at every round.
        """
        refusals = {p.payment_id: p.refusal for p in facts.payments if p.refusal is not None}
        too_small = {
            str(one.subject): _TOO_SMALL.format(format_usdc(one.costs_usdc))
            for one in unworthy
            if one.reason == SHARE
        }
        if refusals or too_small:
            with write(self.tools.engine) as connection:
                rest_payments(connection, refusals, was_sent=False, now_s=moment.wall_s)
                set_payments_aside(
                    connection, too_small, rest_s=TOO_SMALL_REST_S, now_s=moment.wall_s
                )

    def build(
        self, connection: Connection, items: Sequence[PaymentItem], *, now_s: int
    ) -> ChainCall:
        found = load_payments(connection, [item.payment_id for item in items])
        signed = [payment.authorization for payment in found]
        return build_payments(self.tools.contracts, signed, gas_each=self.rules.payment_gas)

    def note_planned(
        self,
        connection: Connection,
        items: Sequence[PaymentItem],
        facts: X402Facts,
        *,
        intent_id: str,
        now_s: int,
    ) -> None:
        ids = [item.payment_id for item in items]
        mark_payments_sent(connection, ids, intent_id=intent_id, now_s=now_s)

    def build_trial(self, items: Sequence[PaymentItem]) -> None:
        return None

    def is_disarmed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Anybody may send what a buyer has signed, and USDC takes it once."""
        return True
