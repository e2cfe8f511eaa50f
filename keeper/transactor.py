"""Carrying intents out: the one owner of the sender's nonce.

Every step is written to the ledger before it is taken, so that a crash between any two leaves an
intent that says what to look for. An outcome is found on chain; nothing is ever sent a second time
under another id. While a sent transaction is in no block, nothing new is sent.

FENCING. Another keeper takes over when ours loses its lock, perhaps in the middle of a step. So the
lock is looked at right before each signature and each sending. Between that look and the sending
time passes, and a process may sleep there for an hour; what it sends then is harmless, because it
only ever sends what is stored. Whoever stores first has the nonce (a unique index) and the intent
(a state that is left once), so all keepers send the same bytes, or replacements of the same nonce,
and the chain takes one of them.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.address import to_checksum_address
from eth_utils.conversions import to_hex
from hexbytes import HexBytes
from sqlalchemy import Connection, Engine

from contracts.errors import Reverted
from contracts.node_errors import NodeRefused, NodeUnavailable
from keeper.errors import ActionFailed, EndpointsDisagree, GasPriceOverBound, OutcomeUnknown
from keeper.facts import Kind
from keeper.fees import (
    TRANSACTION_GAS_MAX,
    TRANSFER_GAS,
    FeeRules,
    Fees,
    add_gas_margin,
    decide_fees,
    decide_replacement,
)
from keeper.node import Node
from keeper.node_values import Receipt
from keeper.signer import Signer
from ledger.database.engine import read, write
from ledger.intents import lifecycle, queries, record
from ledger.intents.record import Inclusion, IntentRecord, IntentState

log = structlog.get_logger("keeper")

REVERTED_ON_CHAIN: Final = "reverted on chain"
CANCELLED: Final = "cancelled"
ON_CHAIN: Final = "its effect is on chain"
PAYOUT_GIVE_UP_BLOCKS: Final = 256
"""As deep as the indexer's default window: past it the mirror stops, and the keeper with it."""


class Endings(Protocol):
    """What the transactor must ask about the meaning of an intent."""

    def is_repeatable(self, intent: IntentRecord) -> bool:
        """Tell whether an intent counts once on chain, however often it is sent.

        One that a crash left unsigned is carried out after all; one that failed is tried again.
        """

    def has_landed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Tell whether the intent's effect is on the chain at a block, whoever brought it there."""

    def is_disarmed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Tell whether a transaction of another key does no harm any more, whenever it lands."""

    def is_spoiled(self, connection: Connection, intent: IntentRecord) -> bool:
        """Tell whether an intent must not land any more, because its effect came another way."""

    def bury(self, connection: Connection, intent: IntentRecord) -> None:
        """Take back in the ledger what stood on an intent that can never have its effect."""


@dataclass(frozen=True, slots=True)
class SendRules:
    """How transactions are sent and waited for."""

    fees: FeeRules
    confirmations: int
    give_up_blocks: int
    """Blocks on top of a failed attempt before what stood on it may stand on something else."""
    receipt_timeout_s: float
    receipt_poll_s: float
    replace_after_s: int
    gas_margin_bps: int

    def get_give_up_blocks(self, kind: str) -> int:
        """Return how deep a failed attempt of this kind must lie before it is given up.

        A settlement that lands after all is made good in the ledger; a payout is not, so it waits
        until no reorg that the mirror follows could bring it back.
        """
        if kind == Kind.PAYOUT:
            return max(self.give_up_blocks, PAYOUT_GIVE_UP_BLOCKS)
        return self.give_up_blocks


def no_checkpoint(_name: str) -> None:
    """Do nothing: what runs between two steps outside of crash tests."""


def no_fence() -> None:
    """Let everything through: for whoever is alone with a ledger."""


@dataclass(frozen=True, slots=True)
class Means:
    """What it takes to carry intents out.

    ``fence`` raises ``LeadershipLost`` where another keeper may be at work. ``checkpoint`` is
    called between any two steps, with the name of the one that was done.
    """

    engine: Engine
    node: Node
    signer: Signer
    endings: Endings
    rules: SendRules
    chain_id: int
    stop: threading.Event
    clock: Callable[[], float] = time.time
    fence: Callable[[], None] = no_fence
    checkpoint: Callable[[str], None] = no_checkpoint

    def now_s(self) -> int:
        return int(self.clock())

    def load(self, intent_id: str) -> IntentRecord:
        """Return an intent that exists, as it stands now."""
        with read(self.engine) as connection:
            intent = record.load_intent(connection, intent_id)
        assert intent is not None
        return intent


class Transactor:
    """Sends one intent after the other. Not shared between threads."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._engine = means.engine
        self._node = means.node
        self._rules = means.rules

    def execute(self, intent: IntentRecord) -> IntentRecord:
        """Carry out an intent for which nothing is signed yet, up to its receipt.

        Raises what ``launch`` raises, and ``OutcomeUnknown`` where no block holds it in time. What
        reverts in its block is returned, with its ``error``.
        """
        launched = self.launch(intent)
        return self.wait(launched) if launched.state is IntentState.SENT else launched

    def launch(self, intent: IntentRecord) -> IntentRecord:
        """Sign and send an intent for which nothing is signed yet; do not wait for its block.

        Raises ``ActionFailed`` where it would revert, ``GasPriceOverBound``, and what the node
        raises; the intent says how far it got. One that would revert but must not be given up yet
        is returned as it was, unsigned.
        """
        gas = self._simulate(intent)
        if gas is None:
            return self._means.load(intent.intent_id)
        with write(self._engine) as connection:
            lifecycle.mark_simulated(connection, intent.intent_id, now_s=self._means.now_s())
        self._means.checkpoint("simulated")
        fees = self._decide_fees()
        to, data = str(intent.payload["to"]), str(intent.payload["data"])
        signed = self._sign(to, data, nonce=self._next_nonce(), gas=gas, fees=fees)
        with write(self._engine) as connection:
            lifecycle.mark_sent(connection, intent.intent_id, signed, now_s=self._means.now_s())
        self._means.checkpoint("stored")
        stored = self._means.load(intent.intent_id)
        self.send(stored, gas=gas, max_fee_wei=fees.max_fee_wei)
        self._means.checkpoint("sent")
        return stored

    def _simulate(self, intent: IntentRecord) -> int | None:
        """Try the call on the next block; return the gas to allow it, None to leave it for now."""
        call = self._call_of(intent)
        for _ in range(self._node.endpoints_count):
            try:
                return self._find_gas(intent, call)
            except Reverted as error:
                if self._node.is_refused(call):
                    self._refuse(intent, error)
                    return None
                self._node.doubt(f"{intent.intent_id} reverts on one of them")
        raise EndpointsDisagree(f"{intent.intent_id} reverts on one of them")

    def _find_gas(self, intent: IntentRecord, call: dict[str, str]) -> int:
        self._node.call(call)
        fixed_gas = intent.payload.get("gas")
        if fixed_gas is not None:
            return int(fixed_gas)
        estimate = self._node.estimate_gas(call)
        allowed = add_gas_margin(estimate, margin_bps=self._rules.gas_margin_bps)
        return min(allowed, TRANSACTION_GAS_MAX)

    def _refuse(self, intent: IntentRecord, error: Reverted) -> None:
        """Give up what would revert, if that may be. Raises ``ActionFailed`` then."""
        reason = error.reason or "reverted without a reason"
        if self._means.endings.is_repeatable(intent) and not self._may_end(intent, reason):
            return
        self.end(intent, lifecycle.mark_abandoned, reason)
        raise ActionFailed(intent.intent_id, reason) from error

    def _may_end(self, intent: IntentRecord, reason: str) -> bool:
        """Tell whether a batch that would revert may be given up: no attempt can still land.

        One that is on chain already would revert as well; it is closed here once that is deep.
        """
        head_number = self._node.fetch_head().number
        deep = max(0, head_number - self._rules.confirmations)
        if self._means.endings.has_landed(intent, block_number=deep):
            with write(self._engine) as connection:
                lifecycle.mark_replaced(
                    connection, intent.intent_id, error=ON_CHAIN, now_s=self._means.now_s()
                )
            log.info("intent_ended", intent_id=intent.intent_id, kind=intent.kind, error=ON_CHAIN)
            return False
        if intent.failed_block is None:
            return True
        depth = head_number - intent.failed_block
        passed = depth >= self._rules.get_give_up_blocks(intent.kind)
        if not passed or self._means.endings.has_landed(intent, block_number=head_number):
            log.warning("intent_kept", intent_id=intent.intent_id, kind=intent.kind, error=reason)
            return False
        return True

    def _decide_fees(self) -> Fees:
        fees = decide_fees(self._node.fetch_base_fee_wei(), self._rules.fees)
        if fees is None:
            raise GasPriceOverBound(f"gas is over {self._rules.fees.fee_wei_max} wei")
        return fees

    def _call_of(self, intent: IntentRecord) -> dict[str, str]:
        call = {
            "from": self._means.signer.address if intent.sender is None else intent.sender,
            "to": str(intent.payload["to"]),
            "data": str(intent.payload["data"]),
        }
        gas = intent.payload.get("gas")
        return call if gas is None else {**call, "gas": hex(int(gas))}

    def _next_nonce(self) -> int:
        """Return the lowest nonce that neither the chain nor an open intent has used."""
        with read(self._engine) as connection:
            found = queries.load_open_intents(connection)
        sender = self._means.signer.address.lower()
        taken = {intent.nonce for intent in found if intent.sender == sender}
        nonce = self._node.fetch_agreed_transaction_count(self._means.signer.address)
        while nonce in taken:
            nonce += 1
        return nonce

    def _sign(
        self, to: str, data: str, *, nonce: int, gas: int, fees: Fees
    ) -> record.SignedTransaction:
        self._means.fence()
        return self._means.signer.sign(
            {
                "type": 2,
                "chainId": self._means.chain_id,
                "nonce": nonce,
                "to": to,
                "data": data,
                "value": 0,
                "gas": gas,
                "maxFeePerGas": fees.max_fee_wei,
                "maxPriorityFeePerGas": fees.tip_wei,
            }
        )

    def send(self, intent: IntentRecord, **facts: int) -> None:
        """Give the stored transaction to the nodes; whatever they say, the chain decides.

        A node refuses what it knows already, what is mined, and what it will not keep; one that
        does not answer may have taken it. Only looking tells which. Raises ``LeadershipLost``.
        """
        assert intent.raw_tx is not None
        details = {"tx_hash": intent.tx_hash, "nonce": intent.nonce, **facts}
        self._means.fence()
        try:
            self._node.send_raw(intent.raw_tx)
        except (NodeRefused, NodeUnavailable) as error:
            log.info("send_refused", intent_id=intent.intent_id, error=str(error), **details)
            return
        log.info("intent_sent", intent_id=intent.intent_id, kind=intent.kind, **details)

    def fill(self, nonce: int) -> None:
        """Use up a nonce that no intent has, so that the transactions above it can land."""
        address = self._means.signer.address
        fees = self._decide_fees()
        signed = self._sign(address, "0x", nonce=nonce, gas=TRANSFER_GAS, fees=fees)
        with write(self._engine) as connection:
            intent_id = lifecycle.plan_fill(connection, signed, now_s=self._means.now_s())
        self._means.checkpoint("filled")
        log.warning("nonce_filled", intent_id=intent_id, nonce=nonce)

    def wait(self, intent: IntentRecord) -> IntentRecord:
        """Wait for the receipt. Raises ``OutcomeUnknown`` when time is up or on a stop."""
        deadline_s = time.monotonic() + self._rules.receipt_timeout_s
        while True:
            receipt = self.find_receipt(intent)
            if receipt is not None:
                return self.note_mined(intent, receipt)
            if time.monotonic() >= deadline_s or self._means.stop.wait(self._rules.receipt_poll_s):
                raise OutcomeUnknown(f"{intent.intent_id} is in no block yet")

    def find_receipt(self, intent: IntentRecord) -> Receipt | None:
        for tx_hash in intent.tx_hashes:
            receipt = self._node.fetch_receipt(tx_hash)
            if receipt is not None:
                return receipt
        return None

    def note_mined(self, intent: IntentRecord, receipt: Receipt) -> IntentRecord:
        error = None if receipt.succeeded else self._find_reason(intent, receipt)
        if receipt.tx_hash in intent.cancel_tx_hashes:
            error = CANCELLED
        inclusion = Inclusion(
            tx_hash=receipt.tx_hash,
            block_number=receipt.block_number,
            block_hash=receipt.block_hash,
            gas_used=receipt.gas_used,
            fee_wei=receipt.fee_wei,
            error=error,
        )
        self._means.checkpoint("included")
        with write(self._engine) as connection:
            lifecycle.mark_mined(connection, intent.intent_id, inclusion, now_s=self._means.now_s())
        log.info(
            "intent_mined",
            intent_id=intent.intent_id,
            kind=intent.kind,
            tx_hash=receipt.tx_hash,
            block=receipt.block_number,
            gas_used=receipt.gas_used,
            fee_wei=receipt.fee_wei,
            error=error,
        )
        self._means.checkpoint("mined")
        return self._means.load(intent.intent_id)

    def _find_reason(self, intent: IntentRecord, receipt: Receipt) -> str:
        if intent.kind == record.FILL:
            return REVERTED_ON_CHAIN
        try:
            self._node.call(self._call_of(intent), block=receipt.block_hash)
        except Reverted as error:
            return error.reason or REVERTED_ON_CHAIN
        except NodeRefused:
            pass
        return REVERTED_ON_CHAIN

    def raise_fee(self, intent: IntentRecord) -> IntentRecord:
        """Sign a stuck transaction again with higher fees, if the bounds allow; store it first.

        One that another key has signed is left as it is.
        """
        return self._replace(intent) or intent

    def cancel(self, intent: IntentRecord) -> IntentRecord:
        """Put a transaction that does nothing in the place of one that must not land any more.

        Either may land; the chain says which. Where its fees are at their bounds, the other one's
        are today's: nodes that have dropped the first take it all the same. Raises
        ``GasPriceOverBound``: what must not land is not sent again meanwhile.
        """
        if intent.tx_hash in intent.cancel_tx_hashes:
            return intent
        return self._replace(intent, cancels=True) or intent

    def _replace(self, intent: IntentRecord, *, cancels: bool = False) -> IntentRecord | None:
        """Store a replacement with higher fees; None where that is impossible."""
        assert intent.raw_tx is not None
        assert intent.nonce is not None
        if intent.sender != self._means.signer.address.lower():
            return None
        stuck = TypedTransaction.from_bytes(HexBytes(intent.raw_tx)).as_dict()
        old = Fees(int(stuck["maxFeePerGas"]), int(stuck["maxPriorityFeePerGas"]))
        fees = decide_replacement(old, self._node.fetch_base_fee_wei(), self._rules.fees)
        if fees is None and cancels:
            fees = self._decide_fees()
        if fees is None:
            log.error("intent_stuck", intent_id=intent.intent_id, max_fee_wei=old.max_fee_wei)
            return None
        if cancels:
            to, data, gas = self._means.signer.address, "0x", TRANSFER_GAS
        else:
            to, data = to_checksum_address(stuck["to"]), to_hex(stuck["data"])
            gas = int(stuck["gas"])
        signed = self._sign(to, data, nonce=intent.nonce, gas=gas, fees=fees)
        # What replaces a cancellation is one.
        does_nothing = cancels or intent.tx_hash in intent.cancel_tx_hashes
        with write(self._engine) as connection:
            lifecycle.replace_transaction(
                connection, intent, signed, cancels=does_nothing, now_s=self._means.now_s()
            )
        self._means.checkpoint("replaced")
        log.warning(
            "intent_cancelled" if cancels else "fee_raised",
            intent_id=intent.intent_id,
            nonce=intent.nonce,
            max_fee_wei=fees.max_fee_wei,
            tip_wei=fees.tip_wei,
        )
        return self._means.load(intent.intent_id)

    def end(self, intent: IntentRecord, mark: Callable[..., None], error: str) -> None:
        with write(self._engine) as connection:
            mark(connection, intent.intent_id, error=error, now_s=self._means.now_s())
            self._means.endings.bury(connection, intent)
        log.warning("intent_ended", intent_id=intent.intent_id, kind=intent.kind, error=error)
