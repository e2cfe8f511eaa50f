"""Which signed payments would go through now: tried at a block, as they would be sent."""

from collections.abc import Sequence

from sqlalchemy import Connection

from contracts.authorizations import AGGREGATE_CALLS_MAX, decode_aggregate, read_reason
from contracts.bindings import Contracts
from contracts.errors import Reverted
from keeper.calls import build_payments
from keeper.facts import PaymentFacts
from keeper.node import Node
from keeper.payments import FOLLOWED_MAX
from ledger.payments.outcomes import load_due_payments
from ledger.payments.records import PaymentRecord


class PaymentTrial:
    """Tries due payments at a block, as they would be sent. ``gas_each`` is what each may use."""

    def __init__(self, node: Node, contracts: Contracts, *, gas_each: int, sender: str) -> None:
        self._node = node
        self._contracts = contracts
        self._gas_each = gas_each
        self._sender = sender

    def run(self, payments: Sequence[PaymentRecord], *, block_hash: str) -> list[PaymentFacts]:
        """Return what is to be known of each payment. Raises what the node raises."""
        facts: list[PaymentFacts] = []
        for start in range(0, len(payments), AGGREGATE_CALLS_MAX):
            chunk = payments[start : start + AGGREGATE_CALLS_MAX]
            refusals = self._try_together(chunk, block_hash=block_hash)
            for payment, refusal in zip(chunk, refusals, strict=True):
                signed = payment.authorization
                facts.append(
                    PaymentFacts(
                        payment_id=payment.payment_id,
                        value_usdc=signed.value_usdc,
                        valid_before_s=signed.valid_before_s,
                        created_at_s=payment.created_at_s,
                        failures=payment.failures,
                        refusal=refusal,
                    )
                )
        return facts

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
        request = {
            "from": self._sender,
            "to": call.to,
            "data": call.data,
            "gas": hex(call.gas or 0),
        }
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


def load_payments_to_try(
    connection: Connection, *, now_s: int, limit: int
) -> tuple[PaymentRecord, ...]:
    """Return the payments that may be sent now, those that rested longest first."""
    found = load_due_payments(connection, now_s=now_s, limit=FOLLOWED_MAX)
    return tuple(payment for payment in found if payment.state == "verified")[:limit]
