"""Signing and sending intents, and using up nonces that others wait for."""

import structlog

from contracts.node_errors import NodeRefused, NodeUnavailable
from keeper.gas import TRANSFER_GAS
from keeper.node_values import TransactionReceipt
from keeper.transactor.inclusion import Inclusions
from keeper.transactor.means import Means
from keeper.transactor.replacement import Replacement
from keeper.transactor.signer import Signer
from keeper.transactor.simulation import Simulation
from ledger.database.engine import read, write
from ledger.intents import lifecycle, queries
from ledger.intents.record import IntentRecord, IntentState

log = structlog.get_logger("keeper")


class Transactor:
    """Sends intents, in turn. Not shared between threads."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._engine = means.engine
        self._node = means.node
        self._simulation = Simulation(means)
        self._inclusions = Inclusions(means)
        self._replacement = Replacement(means)

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
        gas = self._simulation.find_gas(intent)
        if gas is None:
            return self._means.load(intent.intent_id)
        with write(self._engine) as connection:
            lifecycle.mark_simulated(connection, intent.intent_id, now_s=self._means.now_s())
        self._means.checkpoint("simulated")
        fees = self._means.fetch_fees()
        to, data = str(intent.payload["to"]), str(intent.payload["data"])
        signer = self._means.get_signer(intent.kind)
        nonce = self._next_nonce(signer)
        signed = self._means.sign(to, data, signer=signer, nonce=nonce, gas=gas, fees=fees)
        with write(self._engine) as connection:
            lifecycle.mark_sent(connection, intent.intent_id, signed, now_s=self._means.now_s())
        self._means.checkpoint("stored")
        stored = self._means.load(intent.intent_id)
        self.send(stored, gas=gas, max_fee_wei=fees.max_fee_wei)
        self._means.checkpoint("sent")
        return stored

    def _next_nonce(self, signer: Signer) -> int:
        """Return a signer's lowest nonce that neither the chain nor an open intent has used."""
        with read(self._engine) as connection:
            found = queries.load_open_intents(connection)
        sender = signer.address.lower()
        taken = {intent.nonce for intent in found if intent.sender == sender}
        nonce = self._node.fetch_agreed_transaction_count(signer.address)
        while nonce in taken:
            nonce += 1
        return nonce

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

    def fill(self, nonce: int, *, signer: Signer) -> None:
        """Use up a nonce that no intent has, so that the signer's others above it can land."""
        fees = self._means.fetch_fees()
        signed = self._means.sign(
            signer.address, "0x", signer=signer, nonce=nonce, gas=TRANSFER_GAS, fees=fees
        )
        with write(self._engine) as connection:
            intent_id = lifecycle.plan_fill(connection, signed, now_s=self._means.now_s())
        self._means.checkpoint("filled")
        log.warning("nonce_filled", intent_id=intent_id, nonce=nonce)

    def wait(self, intent: IntentRecord) -> IntentRecord:
        """Wait for the receipt. Raises ``OutcomeUnknown`` when time is up or on a stop."""
        return self._inclusions.wait(intent)

    def find_receipt(self, intent: IntentRecord) -> TransactionReceipt | None:
        """Return the receipt of any transaction that carries the intent out, or None."""
        return self._inclusions.find_receipt(intent)

    def note_mined(self, intent: IntentRecord, receipt: TransactionReceipt) -> IntentRecord:
        """Write down the block that holds a transaction; return the intent as it stands then."""
        return self._inclusions.note_mined(intent, receipt)

    def raise_fee(self, intent: IntentRecord) -> IntentRecord:
        """Sign a stuck transaction again with higher fees, if the bounds allow; store it first."""
        return self._replacement.raise_fee(intent)

    def cancel(self, intent: IntentRecord) -> IntentRecord:
        """Replace a transaction that must not land any more by one that does nothing."""
        return self._replacement.cancel(intent)
