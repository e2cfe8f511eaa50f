"""X402: send to USDC the payments that buyers have signed, many in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import Field
from sqlalchemy import Connection

from contracts.units import format_usdc
from keeper.duties.calls import ChainCall
from keeper.duties.duty import Action, PlainDuty, Tools
from keeper.duties.moment import DutyRules, Moment
from keeper.duties.x402_following import FOLLOWED_MAX, X402_KIND, PaymentFollower
from keeper.duties.x402_trial import PaymentTrial, build_apart, build_payments, plan_trial
from keeper.gas import TRANSFER_GAS
from keeper.worth import SHARE, SIZES, Decision, Unworthy, decide_floor_usdc, decide_worthy
from ledger.chain.mirror import MirrorState
from ledger.database.engine import read, write
from ledger.intents.record import IntentRecord
from ledger.payments.claims import load_payments
from ledger.payments.floor import load_floor, save_floor
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
    payment_apart_max: int = Field(
        default=2,
        ge=0,
        le=64,
        description="payments in a round that go alone: payers with code, or failed before",
    )
    payment_landing_s: int = Field(
        default=15, ge=0, description="a payment must be valid for longer to be sent, seconds"
    )


APART: Final = "apart"
"""The reason of a payment that goes in a transaction of its own."""

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
    payer: str = ""
    has_code: bool = False
    """Whether the payer is a contract, or delegates to one (EIP-7702)."""

    @property
    def is_apart(self) -> bool:
        """Whether it goes in a transaction of its own, with its own bounded gas."""
        return self.has_code or self.failures > 0


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
    """``signed``, or ``apart`` for a payment that goes alone."""
    payer: str = ""

    @property
    def is_apart(self) -> bool:
        """Whether it goes in a transaction of its own."""
        return self.reason == APART

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


def decide_payments(facts: X402Facts, moment: Moment, rules: X402Rules) -> Decision[PaymentItem]:
    """Send what buyers have signed, the oldest first: they wait for it.

    A payment that does not pay for its share of a transaction is not sent, and payments that do not
    pay for one together wait for others.

    A payer with code, and a payment that failed before, may fail in the block although it does not
    when it is tried, and burn all gas that it is given. Such payments go apart: after all others,
    few in a round and one of each payer, and only where they pay for all that they may burn.
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
        key=lambda payment: (payment.failures, payment.created_at_s, payment.payment_id),
    )
    sound = [_item_of(payment, "signed") for payment in ready if not payment.is_apart]
    decided = decide_worthy(X402_KIND, sound, moment.gas_price, count_max=rules.payment_items_max)
    apart, unworthy = _decide_apart(
        [_item_of(payment, APART) for payment in ready if payment.is_apart], moment, rules
    )
    transactions = [*decided.transactions, *((item,) for item in apart)]
    return Decision(transactions, (*decided.unworthy, *unworthy))


def _decide_apart(
    items: Sequence[PaymentItem], moment: Moment, rules: X402Rules
) -> tuple[list[PaymentItem], list[Unworthy]]:
    """Return the payments that go alone now, and those that do not pay for what they may burn."""
    size = SIZES[X402_KIND]
    cost_usdc = moment.gas_price.get_cost_usdc(
        TRANSFER_GAS + rules.payment_gas, size_bytes=size.bytes_ + size.item_bytes
    )
    chosen: dict[str, PaymentItem] = {}
    unworthy: list[Unworthy] = []
    for item in items:
        if item.brings_usdc < cost_usdc:
            unworthy.append(Unworthy(X402_KIND, item.subject, SHARE, item.brings_usdc, cost_usdc))
        elif len(chosen) < rules.payment_apart_max:
            chosen.setdefault(item.payer, item)
    return list(chosen.values()), unworthy


def _item_of(payment: PaymentDue, reason: str) -> PaymentItem:
    return PaymentItem(payment.payment_id, payment.value_usdc, reason, payment.payer)


class X402(PlainDuty[X402Facts, PaymentItem, X402Rules]):
    """Buyers' payments. What became of each is read from the chain, not from our transaction."""

    kind = X402_KIND
    is_about_positions = False
    is_payment = True

    def __init__(self, tools: Tools, rules: X402Rules) -> None:
        super().__init__(tools, rules)
        self._floor_usdc: int | None = None
        """What the ledger has; None before it was looked up."""
        self._trial = PaymentTrial(
            tools.node,
            tools.contracts,
            gas_each=rules.payment_gas,
            items_max=rules.payment_items_max,
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
        payers = sorted({payment.authorization.payer for payment in facts.records})
        contracts = self.tools.node.find_contracts(payers, block=moment.block_hash)
        apart = {
            payment.payment_id
            for payment in facts.records
            if payment.failures or payment.authorization.payer in contracts
        }
        trial = plan_trial(moment, sender=self.sender)
        refusals = self._trial.run(facts.records, trial, apart=apart)
        payments = tuple(
            PaymentDue(
                payment_id=payment.payment_id,
                value_usdc=payment.authorization.value_usdc,
                valid_before_s=payment.authorization.valid_before_s,
                created_at_s=payment.created_at_s,
                failures=payment.failures,
                refusal=refusal,
                payer=payment.authorization.payer,
                has_code=payment.authorization.payer in contracts,
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
        self._say_floor(moment)
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

    def _say_floor(self, moment: Moment) -> None:
        """Let the markets know what a payment must move at least, where it is another sum now."""
        if self._floor_usdc is None:
            with read(self.tools.engine) as connection:
                self._floor_usdc = load_floor(connection).floor_usdc
        floor_usdc = decide_floor_usdc(moment.gas_price, self._floor_usdc)
        if floor_usdc != self._floor_usdc:
            with write(self.tools.engine) as connection:
                save_floor(connection, floor_usdc, now_s=moment.wall_s)
            self._floor_usdc = floor_usdc

    def build(
        self, connection: Connection, items: Sequence[PaymentItem], *, now_s: int
    ) -> ChainCall:
        found = load_payments(connection, [item.payment_id for item in items])
        signed = [payment.authorization for payment in found]
        gas_each = self.rules.payment_gas
        if any(item.is_apart for item in items):
            (alone,) = signed
            return build_apart(self.tools.contracts, alone, gas_each=gas_each)
        return build_payments(self.tools.contracts, signed, gas_each=gas_each)

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

    def note_refused(self, items: Sequence[PaymentItem], *, reason: str, moment: Moment) -> None:
        """Let payments rest that passed their trial and were refused a moment later."""
        refusals = {item.payment_id: reason for item in items if item.is_apart}
        if refusals:
            with write(self.tools.engine) as connection:
                rest_payments(connection, refusals, was_sent=True, now_s=moment.wall_s)

    def is_blamed(self, items: Sequence[PaymentItem], *, is_in_block: bool) -> bool:
        """Tell whether a failed transaction counts: not where a payer may have seen to it.

        In a block only a payer's code can fail a transaction, whose calls are allowed to fail.
        """
        return not is_in_block and not any(item.is_apart for item in items)

    def build_trial(self, items: Sequence[PaymentItem]) -> None:
        return None

    def is_disarmed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Anybody may send what a buyer has signed, and USDC takes it once."""
        return True
