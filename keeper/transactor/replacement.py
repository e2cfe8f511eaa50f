"""Taking the place of a stuck transaction, with higher fees or with nothing to do."""

import structlog
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.address import to_checksum_address
from eth_utils.conversions import to_hex
from hexbytes import HexBytes

from keeper.gas import TRANSFER_GAS
from keeper.transactor.fees import Fees, decide_replacement
from keeper.transactor.means import Means
from ledger.database.engine import write
from ledger.intents import lifecycle
from ledger.intents.record import IntentRecord

log = structlog.get_logger("keeper")


class Replacement:
    """Signs and stores replacements; ``Transactor.send`` sends them."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._node = means.node

    def raise_fee(self, intent: IntentRecord) -> IntentRecord:
        """Sign a stuck transaction again with higher fees, if the bounds allow; store it first.

        A transaction that another key has signed is left as it is.
        """
        return self._replace(intent) or intent

    def cancel(self, intent: IntentRecord) -> IntentRecord:
        """Replace a transaction that must not land any more by one that does nothing.

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
        signer = self._means.find_signer(intent.sender)
        if signer is None:
            return None
        stuck = TypedTransaction.from_bytes(HexBytes(intent.raw_tx)).as_dict()
        old = Fees(int(stuck["maxFeePerGas"]), int(stuck["maxPriorityFeePerGas"]))
        fees = decide_replacement(old, self._node.fetch_base_fee_wei(), self._means.rules.fees)
        if fees is None and cancels:
            fees = self._means.fetch_fees()
        if fees is None:
            log.error("intent_stuck", intent_id=intent.intent_id, max_fee_wei=old.max_fee_wei)
            return None
        if cancels:
            to, data, gas = signer.address, "0x", TRANSFER_GAS
        else:
            to, data = to_checksum_address(stuck["to"]), to_hex(stuck["data"])
            gas = int(stuck["gas"])
        signed = self._means.sign(to, data, signer=signer, nonce=intent.nonce, gas=gas, fees=fees)
        # What replaces a cancellation is one.
        does_nothing = cancels or intent.tx_hash in intent.cancel_tx_hashes
        with write(self._means.engine) as connection:
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
