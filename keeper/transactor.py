"""Carrying intents out: the one owner of the sender's nonce.

Every step is written to the ledger before it is taken, so that a crash between any two leaves an
intent that says what to look for. An outcome is found on chain; nothing is ever sent a second time
under another id. While a sent transaction is in no block, nothing new is sent.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

import structlog
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes
from sqlalchemy import Connection, Engine

from contracts.chain import NodeRefused
from contracts.errors import Reverted
from keeper.calls import without_holds
from keeper.errors import ActionFailed, GasPriceOverBound, OutcomeUnknown
from keeper.fees import FeeRules, Fees, add_gas_margin, decide_fees, decide_replacement
from keeper.node import Node, Receipt
from keeper.signer import Signer
from ledger import intents
from ledger.engine import read, write
from ledger.intents import Inclusion, IntentRecord

log = structlog.get_logger("keeper")

REVERTED_ON_CHAIN: Final = "reverted on chain"


class Endings(Protocol):
    """What the transactor must ask about the meaning of an intent."""

    def is_repeatable(self, intent: IntentRecord) -> bool:
        """Tell whether an intent that a crash left unsigned is carried out after all."""

    def has_landed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Tell whether the intent's effect is on the chain at a block, whoever brought it there."""

    def bury(self, connection: Connection, intent: IntentRecord) -> None:
        """Take back in the ledger what stood on an intent that can never have its effect."""


@dataclass(frozen=True, slots=True)
class SendRules:
    """How transactions are sent and waited for."""

    fees: FeeRules
    confirmations: int
    receipt_timeout_s: float
    receipt_poll_s: float
    replace_after_s: int
    gas_margin_bps: int


def no_checkpoint(_name: str) -> None:
    """Do nothing: what runs between two steps outside of crash tests."""


@dataclass(frozen=True, slots=True)
class Means:
    """What it takes to carry intents out.

    ``checkpoint`` is called between any two steps, with the name of the one that was done.
    """

    engine: Engine
    node: Node
    signer: Signer
    endings: Endings
    rules: SendRules
    chain_id: int
    stop: threading.Event
    clock: Callable[[], float] = time.time
    checkpoint: Callable[[str], None] = no_checkpoint

    def now_s(self) -> int:
        return int(self.clock())

    def load(self, intent_id: str) -> IntentRecord:
        """Return an intent that exists, as it stands now."""
        with read(self.engine) as connection:
            intent = intents.load_intent(connection, intent_id)
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

        Raises ``ActionFailed`` where it would revert, ``OutcomeUnknown`` where no block holds it in
        time, ``GasPriceOverBound``, and what the node raises; the intent says how far it got. What
        reverts in its block is returned, with its ``error``.
        """
        gas = self._simulate(intent)
        with write(self._engine) as connection:
            intents.mark_simulated(connection, intent.intent_id, now_s=self._means.now_s())
        self._means.checkpoint("simulated")
        fees = decide_fees(self._node.fetch_base_fee_wei(), self._rules.fees)
        if fees is None:
            raise GasPriceOverBound(f"gas is over {self._rules.fees.fee_wei_max} wei")
        signed = self._sign(intent, nonce=self._next_nonce(), gas=gas, fees=fees)
        with write(self._engine) as connection:
            intents.mark_sent(connection, intent.intent_id, signed, now_s=self._means.now_s())
        self._means.checkpoint("stored")
        stored = self._means.load(intent.intent_id)
        self.send(stored, gas=gas, max_fee_wei=fees.max_fee_wei)
        self._means.checkpoint("sent")
        return self.wait(stored)

    def _simulate(self, intent: IntentRecord) -> int:
        """Try the call on the next block and return the gas to allow it."""
        call = self._call_of(intent)
        try:
            self._node.call(call)
            fixed_gas = intent.payload.get("gas")
            if fixed_gas is not None:
                return int(fixed_gas)
            estimate = self._node.estimate_gas(call)
            return add_gas_margin(estimate, margin_bps=self._rules.gas_margin_bps)
        except Reverted as error:
            reason = error.reason or "reverted without a reason"
            self.end(intent, intents.mark_abandoned, reason)
            raise ActionFailed(intent.intent_id, reason) from error

    def _call_of(self, intent: IntentRecord) -> dict[str, str]:
        call = {
            "from": self._means.signer.address,
            "to": str(intent.payload["to"]),
            "data": str(intent.payload["data"]),
        }
        gas = intent.payload.get("gas")
        return call if gas is None else {**call, "gas": hex(int(gas))}

    def _next_nonce(self) -> int:
        """Return the lowest nonce that neither the chain nor an open intent has used."""
        with read(self._engine) as connection:
            found = intents.load_open_intents(connection)
        sender = self._means.signer.address.lower()
        taken = {intent.nonce for intent in found if intent.sender == sender}
        nonce = self._node.fetch_transaction_count(self._means.signer.address)
        while nonce in taken:
            nonce += 1
        return nonce

    def _sign(
        self, intent: IntentRecord, *, nonce: int, gas: int, fees: Fees
    ) -> intents.SignedTransaction:
        return self._means.signer.sign(
            {
                "type": 2,
                "chainId": self._means.chain_id,
                "nonce": nonce,
                "to": intent.payload["to"],
                "data": intent.payload["data"],
                "value": 0,
                "gas": gas,
                "maxFeePerGas": fees.max_fee_wei,
                "maxPriorityFeePerGas": fees.tip_wei,
            }
        )

    def send(self, intent: IntentRecord, **facts: int) -> None:
        """Give the stored transaction to the node; whatever it says, the chain decides.

        A node refuses what it knows already, what is mined, and what it will not keep: only looking
        tells which.
        """
        assert intent.raw_tx is not None
        details = {"tx_hash": intent.tx_hash, "nonce": intent.nonce, **facts}
        try:
            self._node.send_raw(intent.raw_tx)
        except NodeRefused as error:
            log.info("send_refused", intent_id=intent.intent_id, error=error.message, **details)
            return
        log.info("intent_sent", intent_id=intent.intent_id, kind=intent.kind, **details)

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
            intents.mark_mined(connection, intent.intent_id, inclusion, now_s=self._means.now_s())
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
        return self._replace(intent, event="fee_raised")

    def hollow_release(self, intent: IntentRecord) -> IntentRecord:
        """Put a ``hold`` that places nothing in the place of one that frees, after a reorg.

        The hold is live again where the freeing block is gone, and requests may be served on it by
        now; freeing it from an old decision would let the owner withdraw what they cost.
        """
        data = without_holds(str(intent.payload["data"]))
        hollow = replace(intent, payload={**intent.payload, "data": data})
        return self._replace(hollow, event="release_hollowed")

    def _replace(self, intent: IntentRecord, *, event: str) -> IntentRecord:
        assert intent.raw_tx is not None
        assert intent.nonce is not None
        if intent.sender != self._means.signer.address.lower():
            return intent
        stuck = TypedTransaction.from_bytes(HexBytes(intent.raw_tx)).as_dict()
        old = Fees(int(stuck["maxFeePerGas"]), int(stuck["maxPriorityFeePerGas"]))
        fees = decide_replacement(old, self._node.fetch_base_fee_wei(), self._rules.fees)
        if fees is None:
            log.error("intent_stuck", intent_id=intent.intent_id, max_fee_wei=old.max_fee_wei)
            return intent
        signed = self._sign(intent, nonce=intent.nonce, gas=int(stuck["gas"]), fees=fees)
        with write(self._engine) as connection:
            intents.replace_transaction(connection, intent, signed, now_s=self._means.now_s())
        self._means.checkpoint("replaced")
        log.warning(
            event,
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
