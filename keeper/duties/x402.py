"""X402: send to USDC the payments that buyers have signed, many in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from contracts.units import format_usdc
from keeper.duties.calls import ChainCall
from keeper.duties.duty import Action, PlainDuty, Tools
from keeper.duties.moment import Moment
from keeper.duties.x402_choice import (
    X402_KIND,
    PaymentDue,
    PaymentItem,
    X402Rules,
    decide_payments,
    find_waiting,
    get_apart_cost_usdc,
)
from keeper.duties.x402_following import PaymentFollower
from keeper.duties.x402_trial import PaymentTrial, build_apart, build_payments, plan_trial
from keeper.worth import SHARE, Decision, Unworthy, decide_floor_usdc
from ledger.chain.mirror import MirrorState
from ledger.database.engine import read, write
from ledger.intents.record import IntentRecord
from ledger.payments.claims import load_payments
from ledger.payments.floor import load_floor, save_floor
from ledger.payments.outcomes import (
    free_unsent,
    load_due_payments,
    mark_payments_sent,
    rest_payments,
    set_payments_aside,
)
from ledger.payments.records import PaymentRecord

FAILED_LOADED_MAX: Final = 40
"""As many payments that failed before, tried or sent, are tried in one round, beside the others."""
TURN_REST_S: Final = 10
"""How long a payment waits for its turn behind others before it is looked at again."""
TOO_SMALL_REST_S: Final = 10
"""How long a payment that is worth less than sending it costs is left alone: prices move."""
_TOO_SMALL: Final = "it is worth less than sending it costs now: at least {} USDC would pay for it"


@dataclass(frozen=True, slots=True)
class X402Facts:
    """The payments that may be sent, as the ledger has them, and as trying them showed."""

    records: tuple[PaymentRecord, ...] = ()
    payments: tuple[PaymentDue, ...] = ()


def _was_in_block(payment: PaymentRecord) -> bool:
    """Tell whether a payment failed in a block: its intent was not given up."""
    return payment.failures > 0 and payment.intent_id is not None


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
        # Apart from each other, so that payments that fail never keep the others from their turn.
        limits = {False: 2 * self.rules.payment_items_max, True: FAILED_LOADED_MAX}
        return X402Facts(
            records=tuple(
                payment
                for has_failed, limit in limits.items()
                for payment in load_due_payments(
                    connection,
                    now_s=moment.wall_s,
                    limit=limit,
                    state="verified",
                    has_failed=has_failed,
                )
            )
        )

    def look(self, facts: X402Facts, moment: Moment) -> X402Facts:
        """Try every payment at the block, as it would be sent."""
        payers = sorted({payment.authorization.payer for payment in facts.records})
        contracts = self.tools.node.find_contracts(payers, block=moment.block_hash)
        apart = {
            payment.payment_id
            for payment in facts.records
            if _was_in_block(payment) or payment.authorization.payer in contracts
        }
        trial = plan_trial(moment, sender=self.sender)
        records, refusals = self._trial.run_affordable(facts.records, trial, apart=apart)
        payments = tuple(
            PaymentDue(
                payment_id=payment.payment_id,
                value_usdc=payment.authorization.value_usdc,
                valid_before_s=payment.authorization.valid_before_s,
                created_at_s=payment.created_at_s,
                failures=payment.failures if _was_in_block(payment) else 0,
                refusal=refusal,
                payer=payment.authorization.payer,
                has_code=payment.authorization.payer in contracts,
                trials=0 if _was_in_block(payment) else payment.failures,
            )
            for payment, refusal in zip(records, refusals, strict=True)
        )
        return X402Facts(records, payments)

    def decide(self, facts: X402Facts, moment: Moment) -> Decision[PaymentItem]:
        return decide_payments(facts.payments, moment, self.rules)

    def note_decided(
        self,
        facts: X402Facts,
        actions: Sequence[Action],
        unworthy: Sequence[Unworthy],
        moment: Moment,
    ) -> None:
        """Leave payments alone for a while that would not go through, and say why.

        So it is with those that are too small for any transaction at the moment's prices, and with
        those whose turn has not come: they must not take the place of others. Those that wait for
        others to share a transaction are looked at every round.
        """
        self._say_floor(moment)
        refusals = {p.payment_id: p.refusal for p in facts.payments if p.refusal is not None}
        too_small = {
            str(one.subject): _TOO_SMALL.format(format_usdc(one.costs_usdc))
            for one in unworthy
            if one.reason == SHARE
        }
        items = [item for action in actions for item in action.items]
        waiting = find_waiting(facts.payments, items, unworthy)
        if refusals or too_small or waiting:
            with write(self.tools.engine) as connection:
                rest_payments(connection, refusals, was_sent=False, now_s=moment.wall_s)
                for reasons, rest_s in ((too_small, TOO_SMALL_REST_S), (waiting, TURN_REST_S)):
                    set_payments_aside(connection, reasons, rest_s=rest_s, now_s=moment.wall_s)

    def _say_floor(self, moment: Moment) -> None:
        """Let the markets know what a payment must move at least, where it is another sum now."""
        if self._floor_usdc is None:
            with read(self.tools.engine) as connection:
                self._floor_usdc = load_floor(connection).floor_usdc
        floor_usdc = decide_floor_usdc(
            moment.gas_price,
            self._floor_usdc,
            apart_usdc=get_apart_cost_usdc(moment.gas_price, self.rules),
        )
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
                kept = free_unsent(connection, refusals, now_s=moment.wall_s)
                for was_sent in (False, True):
                    some = {id_: why for id_, why in refusals.items() if (id_ in kept) is was_sent}
                    rest_payments(connection, some, was_sent=was_sent, now_s=moment.wall_s)

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
