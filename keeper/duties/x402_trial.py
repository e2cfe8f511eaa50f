"""Signed payments as transactions, and which of them would go through now.

USDC asks a payer with code whether it has signed, and that code may do with the gas what it likes;
``aggregate3`` leaves each of its calls all the gas but a 64th. So payers with code, and payments
that have failed before, go **apart**: each in a transaction of its own, straight to USDC, with gas
of its own. A payer that is only a key can burn nothing, and shares a transaction with others.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from contracts.authorizations import (
    AGGREGATE_CALLS_MAX,
    Authorization,
    decode_aggregate,
    encode_aggregate,
    read_reason,
)
from contracts.bindings import Contracts
from contracts.errors import Reverted
from keeper.duties.calls import MULTICALL_BASE_GAS, ChainCall
from keeper.duties.moment import Moment
from keeper.errors import EtherShort
from keeper.gas import get_least_gas
from keeper.node import Node
from ledger.payments.records import PaymentRecord

log = structlog.get_logger("keeper")

NOBODY: Final = "0x" + "00" * 20
"""The sender of a dry run without an address: it has no ether that a price could be taken from."""


def build_payments(
    contracts: Contracts, payments: Sequence[Authorization], *, gas_each: int
) -> ChainCall:
    """Build one ``aggregate3`` of transfers that payers have signed, each allowed to fail.

    The gas is given, not estimated: an estimate finds the least gas with which the outer call
    succeeds, and with that little the inner calls fail.
    """
    usdc = contracts.usdc.address
    data = encode_aggregate((usdc, payment.encode_transfer()) for payment in payments)
    gas = MULTICALL_BASE_GAS + gas_each * len(payments)
    accounts = tuple(payment.payer for payment in payments)
    return ChainCall(
        contracts.multicall3.address, "0x" + data.hex(), (), gas=gas, accounts=accounts
    )


def build_apart(contracts: Contracts, payment: Authorization, *, gas_each: int) -> ChainCall:
    """Build the transaction of one payment alone, which may use ``gas_each`` and its own bytes'."""
    data = payment.encode_transfer()
    gas = get_least_gas(data) + gas_each
    return ChainCall(
        contracts.usdc.address, "0x" + data.hex(), (), gas=gas, accounts=(payment.payer,)
    )


@dataclass(frozen=True, slots=True)
class Trial:
    """How payments are tried: at which block, by whom, and at what price."""

    block_hash: str
    sender: str
    fee_wei: int = 0
    """Base fee and tip, per gas."""
    tip_wei: int = 0

    def build_request(self, call: ChainCall) -> dict[str, str]:
        """Return a call as a node executes it, at the price at which it would be sent.

        Code can tell a trial from a transaction by what it reads; by the price it cannot. The most
        that is offered leaves room for the base fee of a block that is not the newest.
        """
        request = call.request(self.sender)
        if not self.fee_wei or self.sender == NOBODY:
            return request
        price = {"maxFeePerGas": 2 * self.fee_wei, "maxPriorityFeePerGas": self.tip_wei}
        return {**request, **{name: hex(wei) for name, wei in price.items()}}


def plan_trial(moment: Moment, *, sender: str) -> Trial:
    """Return how payments are tried at a moment."""
    return Trial(moment.block_hash, sender, moment.gas_price.fee_wei, moment.tip_wei)


class PaymentTrial:
    """Tries due payments at a block, as they would be sent.

    ``gas_each`` is what each may use, and ``items_max`` how many share a transaction.
    """

    def __init__(
        self,
        node: Node,
        contracts: Contracts,
        *,
        gas_each: int,
        items_max: int = AGGREGATE_CALLS_MAX,
    ) -> None:
        self._node = node
        self._contracts = contracts
        self._gas_each = gas_each
        self._items_max = items_max

    def run(
        self, payments: Sequence[PaymentRecord], trial: Trial, *, apart: Collection[str] = ()
    ) -> list[str | None]:
        """Return why each payment would fail, None where it would not.

        Those whose ids are in ``apart`` are tried alone only. Raises what the node raises, and
        ``EtherShort`` where the sender cannot pay for a trial: that is nobody's failure.
        """
        together = [payment for payment in payments if payment.payment_id not in apart]
        refusals: dict[str, str | None] = {}
        for start in range(0, len(together), self._items_max):
            refusals |= self._try_together(together[start : start + self._items_max], trial)
        for payment in payments:
            if payment.payment_id not in refusals:
                refusals[payment.payment_id] = self._try_alone(payment, b"", trial)
        return [refusals[payment.payment_id] for payment in payments]

    def run_affordable(
        self, payments: tuple[PaymentRecord, ...], trial: Trial, *, apart: Collection[str] = ()
    ) -> tuple[tuple[PaymentRecord, ...], list[str | None]]:
        """Try payments, or the first of them where the sender's ether does not cover more.

        Return those that were tried, and why each would fail, None where it would not.
        """
        while payments:
            try:
                return payments, self.run(payments, trial, apart=apart)
            except EtherShort as error:
                log.warning("payments_wait_for_ether", sender=trial.sender, error=str(error))
                payments = payments[: len(payments) // 2]
        return (), []

    def _try_together(
        self, payments: Sequence[PaymentRecord], trial: Trial
    ) -> dict[str, str | None]:
        """Return by id why each would fail, None where it would not.

        Those that fail beside the others are tried by themselves, each with its own gas: one that
        burns all that it gets, or spends the balance of another, spoils nothing else.
        """
        call = build_payments(
            self._contracts, [p.authorization for p in payments], gas_each=self._gas_each
        )
        try:
            answer = self._node.try_call(trial.build_request(call), block=trial.block_hash)
            answers = decode_aggregate(answer)
        except (Reverted, ValueError):
            # One of them may have burnt the gas of all.
            answers = []
        if len(answers) != len(payments):
            answers = [(False, b"")] * len(payments)
        return {
            payment.payment_id: None if succeeded else self._try_alone(payment, data, trial)
            for payment, (succeeded, data) in zip(payments, answers, strict=True)
        }

    def _try_alone(self, payment: PaymentRecord, data: bytes, trial: Trial) -> str | None:
        call = build_apart(self._contracts, payment.authorization, gas_each=self._gas_each)
        try:
            self._node.try_call(trial.build_request(call), block=trial.block_hash)
        except Reverted as error:
            return error.reason[:200] or read_reason(data)
        return None
