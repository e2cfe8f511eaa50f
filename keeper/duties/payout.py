"""Payout: pay sellers what the market has made payable, many in one batch, from the treasury."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from pydantic import Field
from sqlalchemy import Connection
from web3.contract import Contract

from contracts.bindings import Contracts
from contracts.units import SECONDS_PER_DAY, USDC_MAX
from keeper.duties.calls import ChainCall, select
from keeper.duties.duty import NO_BATCH, BatchDuty, is_allowed
from keeper.duties.moment import REORGS_DEEPEST, DutyRules, Moment
from keeper.worth import Decision, decide_worthy, split_worthy
from ledger.chain.mirror import MirrorState
from ledger.database.engine import write
from ledger.intents.record import IntentRecord
from ledger.selling.payouts import (
    PlannedPayout,
    abandon_payout_batch,
    follow_payouts,
    load_payable,
    plan_payout_batch,
)

PAYOUT: Final = "payout"
GIVE_UP_BLOCKS_MIN: Final = REORGS_DEEPEST
PAYABLE_FACTOR: Final = 4
"""How many times as many payouts are looked at as one transaction pays."""

_TYPES: Final = ("bytes32", "address[]", "uint256[]")
_SELECTOR: Final = select("pay", _TYPES)


class PayoutRules(DutyRules):
    """When payouts are paid."""

    payout_amount_usdc: int = Field(
        default=100_000_000, ge=1, le=USDC_MAX, description="payable amount that is paid at once"
    )
    payout_max_age_s: int = Field(
        default=30, ge=0, description="how long a payout waits for others to share its batch"
    )
    payout_overdue_s: int = Field(
        default=7 * SECONDS_PER_DAY,
        ge=0,
        description="payable for longer, a payout is paid whatever it costs, seconds",
    )


@dataclass(frozen=True, slots=True)
class PayoutDue:
    """One payout that the market has made payable and no batch pays yet."""

    payout_id: str
    payee: str
    amount_usdc: int
    payable_at_s: int


@dataclass(frozen=True, slots=True)
class PayoutFacts:
    """The payouts that wait, and what the payouts contract has to pay from."""

    due: tuple[PayoutDue, ...] = ()
    treasury_usdc: int = 0


@dataclass(frozen=True, slots=True)
class PayoutItem:
    """Pay one payout."""

    payout_id: str
    payee: str
    amount_usdc: int
    reason: str

    @property
    def subject(self) -> str:
        return self.payout_id

    @property
    def token_ids(self) -> tuple[int, ...]:
        return ()

    @property
    def account(self) -> str:
        return self.payee

    @property
    def brings_usdc(self) -> int:
        return self.amount_usdc


def decide_payouts(facts: PayoutFacts, moment: Moment, rules: PayoutRules) -> Decision[PayoutItem]:
    """Pay what is payable, the oldest first, once there is enough of it or it has waited.

    Payouts that are smaller than what paying them costs wait for others, at the longest until they
    are overdue.

    Never more than the treasury has: the contract refuses a batch that it cannot pay in full. A
    payout that is too large for what is left waits, without holding up the smaller ones behind it.
    """
    if PAYOUT in moment.kinds_in_flight:
        return Decision()
    payable = sorted(
        (due for due in facts.due if (PAYOUT, due.payout_id) not in moment.resting),
        key=lambda payout: (payout.payable_at_s, payout.payout_id),
    )
    if not payable:
        return Decision()
    if sum(payout.amount_usdc for payout in payable) >= rules.payout_amount_usdc:
        reason = "amount"
    elif moment.now_s - payable[0].payable_at_s >= rules.payout_max_age_s:
        reason = "age"
    else:
        return Decision()
    items = [
        PayoutItem(
            due.payout_id,
            due.payee,
            due.amount_usdc,
            "overdue" if moment.now_s - due.payable_at_s >= rules.payout_overdue_s else reason,
        )
        for due in payable
    ]
    worthy, unworthy = split_worthy(PAYOUT, items, moment.gas_price)
    left_usdc = facts.treasury_usdc
    affordable: list[PayoutItem] = []
    for item in worthy:
        if item.amount_usdc <= left_usdc:
            left_usdc -= item.amount_usdc
            affordable.append(item)
    decided = decide_worthy(PAYOUT, affordable, moment.gas_price, count_max=rules.items_max)
    return replace(decided, unworthy=(*unworthy, *decided.unworthy))


def build_payout(contracts: Contracts, batch: PlannedPayout) -> ChainCall:
    """Build ``pay`` for a planned payout batch: one amount for each payee."""
    payees = [to_checksum_address(payee) for payee, _ in batch.items]
    arguments = [bytes.fromhex(batch.batch_id[2:]), payees, [amount for _, amount in batch.items]]
    data = "0x" + (_SELECTOR + encode(_TYPES, arguments)).hex()
    accounts = tuple(payee for payee, _ in batch.items)
    return ChainCall(
        contracts.payouts.address, data, (), batch_id=batch.batch_id, accounts=accounts
    )


class Payout(BatchDuty[PayoutFacts, PayoutItem, PayoutRules]):
    """Payouts. A payout is bound to its batch until the batch lands or never can."""

    kind = PAYOUT
    is_about_positions = False
    is_payment = True

    @property
    def counter(self) -> tuple[Contract, str]:
        return self.tools.contracts.payouts, "batchPaid"

    @property
    def give_up_blocks(self) -> int:
        """Deeper than any reorg that the mirror follows.

        A settlement that lands after all is made good in the ledger; a payout is not.
        """
        return max(super().give_up_blocks, GIVE_UP_BLOCKS_MIN)

    def follow(self, mirror: MirrorState, *, now_s: int) -> None:
        with write(self.tools.engine) as connection:
            follow_payouts(connection)

    def load(self, connection: Connection, moment: Moment) -> PayoutFacts:
        # Payouts that rest or are too small must not take the place of the ones behind them.
        limit = PAYABLE_FACTOR * self.rules.items_max + moment.count_resting(PAYOUT)
        found = load_payable(connection, now_s=moment.now_s, limit=limit)
        due = (PayoutDue(p.payout_id, p.payee, p.amount_usdc, p.payable_at_s) for p in found)
        return PayoutFacts(due=tuple(due))

    def look(self, facts: PayoutFacts, moment: Moment) -> PayoutFacts:
        if not facts.due:
            return facts
        payouts = self.tools.contracts.payouts
        data = payouts.encode_abi("available", args=[])
        treasury_usdc = self.tools.node.fetch_word(payouts.address, data, block=moment.block_hash)
        return replace(facts, treasury_usdc=treasury_usdc)

    def decide(self, facts: PayoutFacts, moment: Moment) -> Decision[PayoutItem]:
        return decide_payouts(facts, moment, self.rules)

    def build(
        self, connection: Connection, items: Sequence[PayoutItem], *, now_s: int
    ) -> ChainCall | None:
        payouts = [(item.payout_id, item.payee, item.amount_usdc) for item in items]
        batch = plan_payout_batch(connection, payouts, now_s=now_s)
        return None if batch is None else build_payout(self.tools.contracts, batch)

    def build_trial(self, items: Sequence[PayoutItem]) -> ChainCall:
        paid = tuple((item.payee, item.amount_usdc) for item in items)
        return build_payout(self.tools.contracts, PlannedPayout(NO_BATCH, paid))

    def is_disarmed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Tell whether the contract refuses the sender by now."""
        contract = self.tools.contracts.payouts
        return not is_allowed(self.tools, contract, "isPayer", intent, block_number=block_number)

    def bury(self, connection: Connection, intent: IntentRecord) -> None:
        """Free the payouts of a batch that is never to be paid."""
        abandon_payout_batch(connection, str(intent.payload["batch_id"]))
