"""Decided actions as intents in the ledger, and what the end of an intent means there."""

from typing import Final

from eth_utils.address import to_checksum_address
from sqlalchemy import Connection

from contracts.bindings import Contracts
from keeper.calls import (
    Call,
    build_harvest,
    build_hold,
    build_intent_id,
    build_payments,
    build_payout,
    build_settle,
    build_sweep,
)
from keeper.facts import (
    Action,
    HarvestItem,
    HoldItem,
    Kind,
    PaymentItem,
    PayoutItem,
    SettleItem,
    Snapshot,
)
from keeper.node import Node
from ledger.intents import lifecycle
from ledger.intents.record import FILL, IntentRecord
from ledger.payments.claims import load_payments
from ledger.payments.outcomes import mark_payments_sent
from ledger.selling.payouts import abandon_payout_batch, plan_payout_batch
from ledger.spending import demand
from ledger.spending.batches import abandon_batch, plan_batch
from ledger.spending.strays import is_spoiled

PAYMENT_GAS: Final = 200_000
"""What one transfer that a payer has signed may use, a wallet's own check of it included."""

BATCHED = (Kind.SETTLE, Kind.PAYOUT)
"""Kinds whose transaction carries a batch id, which counts once on chain."""


class BatchEndings:
    """What intents mean to the rest of the ledger: only batches have something standing on them.

    Usage is bound to its settlement, payouts to their payment, until it lands or never can.
    """

    def __init__(self, node: Node, contracts: Contracts) -> None:
        self._node = node
        self._position = contracts.position
        self._payouts = contracts.payouts

    def is_repeatable(self, intent: IntentRecord) -> bool:
        """Batches only: they are the same whenever they land. A hold may be out of date."""
        return intent.kind in BATCHED

    def has_landed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Ask the contract whether the batch is settled or paid."""
        batch_id = intent.payload.get("batch_id")
        if batch_id is None:
            return False
        arguments = [bytes.fromhex(str(batch_id)[2:])]
        is_payout = intent.kind == Kind.PAYOUT
        contract = self._payouts if is_payout else self._position
        name = "batchPaid" if is_payout else "batchSettled"
        call = {"to": contract.address, "data": contract.encode_abi(name, args=arguments)}
        return bool(int.from_bytes(self._node.call_agreed(call, block=hex(block_number))))

    def is_disarmed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Tell whether what a key has signed does no harm any more, whenever it lands.

        The contracts refuse one that may not settle or pay any more. Anybody may harvest, sweep and
        send what a buyer has signed.
        """
        match intent.kind:
            case Kind.SETTLE | Kind.HOLD:
                contract, name = self._position, "isSettler"
            case Kind.PAYOUT:
                contract, name = self._payouts, "isPayer"
            case _:
                return intent.kind in (Kind.HARVEST, Kind.SWEEP, Kind.X402, FILL)
        assert intent.sender is not None
        data = contract.encode_abi(name, args=[to_checksum_address(intent.sender)])
        call = {"to": contract.address, "data": data}
        return not int.from_bytes(self._node.call_agreed(call, block=hex(block_number)))

    def is_spoiled(self, connection: Connection, intent: IntentRecord) -> bool:
        """Tell whether a settlement would charge for usage that another one has settled."""
        batch_id = intent.payload.get("batch_id")
        return intent.kind == Kind.SETTLE and is_spoiled(connection, str(batch_id))

    def bury(self, connection: Connection, intent: IntentRecord) -> None:
        """Free the usage of a batch that can never settle, the payouts of one never to be paid."""
        batch_id = intent.payload.get("batch_id")
        if batch_id is not None:
            abandon = abandon_payout_batch if intent.kind == Kind.PAYOUT else abandon_batch
            abandon(connection, str(batch_id))


class Planner:
    """Turns decided actions into calls, and writes them down."""

    def __init__(
        self, contracts: Contracts, *, harvest_gas: int, payment_gas: int = PAYMENT_GAS
    ) -> None:
        self._contracts = contracts
        self._payment_gas = payment_gas
        self._harvest_gas = harvest_gas

    def build(self, connection: Connection, action: Action, *, now_s: int) -> Call | None:
        """Build an action's call; for a batch, plan it. None: nothing is left to do."""
        match action.kind:
            case Kind.SETTLE:
                items = [item for item in action.items if isinstance(item, SettleItem)]
                limits_usdc = {item.token_id: item.limit_usdc for item in items}
                batch = plan_batch(connection, limits_usdc=limits_usdc, now_s=now_s)
                return None if batch is None else build_settle(self._contracts, batch)
            case Kind.HOLD:
                holds = [item for item in action.items if isinstance(item, HoldItem)]
                return build_hold(self._contracts, holds)
            case Kind.HARVEST:
                tokens = [item.token_id for item in action.items if isinstance(item, HarvestItem)]
                return build_harvest(self._contracts, tokens, gas_each=self._harvest_gas)
            case Kind.X402:
                ids = [i.payment_id for i in action.items if isinstance(i, PaymentItem)]
                signed = [p.authorization for p in load_payments(connection, ids)]
                return build_payments(self._contracts, signed, gas_each=self._payment_gas)
            case Kind.SWEEP:
                return build_sweep(self._contracts)
            case Kind.PAYOUT:
                payouts = [
                    (item.payout_id, item.payee, item.amount_usdc)
                    for item in action.items
                    if isinstance(item, PayoutItem)
                ]
                paid = plan_payout_batch(connection, payouts, now_s=now_s)
                return None if paid is None else build_payout(self._contracts, paid)

    def plan(
        self, connection: Connection, action: Action, snapshot: Snapshot, *, now_s: int
    ) -> str | None:
        """Write an action's intent, and its batch with it; return its id, None for nothing to do.

        The same decision at the same block is one intent, however often it is made.
        """
        call = self.build(connection, action, now_s=now_s)
        if call is None:
            return None
        intent_id = build_intent_id(action.kind, call, block_hash=snapshot.block_hash)
        is_new = lifecycle.plan_intent(
            connection,
            intent_id=intent_id,
            kind=action.kind.value,
            reason=action.reason,
            payload=call.payload(),
            now_s=now_s,
        )
        if not is_new:
            return None
        if action.kind is Kind.X402:
            ids = [item.payment_id for item in action.items if isinstance(item, PaymentItem)]
            mark_payments_sent(connection, ids, intent_id=intent_id, now_s=now_s)
        if action.kind is Kind.HOLD:
            held = set(call.token_ids)
            for facts in snapshot.positions:
                if facts.token_id in held and facts.wanted_at_s is not None:
                    demand.answer_demand(
                        connection,
                        token_id=facts.token_id,
                        required_usdc=facts.required_usdc,
                    )
        return intent_id
