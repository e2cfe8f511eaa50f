"""Signed payments as one transaction, and which of them would go through now."""

from collections.abc import Sequence

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
from keeper.node import Node
from ledger.payments.records import PaymentRecord


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
    return ChainCall(contracts.multicall3.address, "0x" + data.hex(), (), gas=gas)


class PaymentTrial:
    """Tries due payments at a block, as they would be sent. ``gas_each`` is what each may use."""

    def __init__(self, node: Node, contracts: Contracts, *, gas_each: int, sender: str) -> None:
        self._node = node
        self._contracts = contracts
        self._gas_each = gas_each
        self._sender = sender

    def run(self, payments: Sequence[PaymentRecord], *, block_hash: str) -> list[str | None]:
        """Return why each payment would fail, None where it would not.

        Raises what the node raises.
        """
        refusals: list[str | None] = []
        for start in range(0, len(payments), AGGREGATE_CALLS_MAX):
            chunk = payments[start : start + AGGREGATE_CALLS_MAX]
            refusals += self._try_together(chunk, block_hash=block_hash)
        return refusals

    def _try_together(
        self, payments: Sequence[PaymentRecord], *, block_hash: str
    ) -> list[str | None]:
        """Return why each would fail, None where it would not.

        Those that fail beside the others are tried by themselves, each with its own gas: one that
        burns all that it gets, or spends the balance of another, spoils nothing else.
        """
        call = build_payments(
            self._contracts, [p.authorization for p in payments], gas_each=self._gas_each
        )
        request = call.request(self._sender)
        try:
            answers = decode_aggregate(self._node.try_call(request, block=block_hash))
        except (Reverted, ValueError):
            # One of them may have burnt the gas of all.
            answers = []
        if len(answers) != len(payments):
            answers = [(False, b"")] * len(payments)
        return [
            None if succeeded else self._try_alone(payment, data, block_hash=block_hash)
            for payment, (succeeded, data) in zip(payments, answers, strict=True)
        ]

    def _try_alone(self, payment: PaymentRecord, data: bytes, *, block_hash: str) -> str | None:
        call = {
            "from": self._sender,
            "to": self._contracts.usdc.address,
            "data": "0x" + payment.authorization.encode_transfer().hex(),
            "gas": hex(self._gas_each),
        }
        try:
            self._node.try_call(call, block=block_hash)
        except Reverted as error:
            return error.reason[:200] or read_reason(data)
        return None
