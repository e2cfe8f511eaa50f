"""Finding the block of a sent transaction, and how it went there."""

import time

import structlog
from sqlalchemy import Connection

from contracts.errors import Reverted
from contracts.node_errors import NodeRefused
from keeper.budgets import WHOLE_KIND, find_charged, judge_fund
from keeper.errors import OutcomeUnknown
from keeper.gas import gas_cost_usdc, is_burnt
from keeper.node_values import TransactionReceipt
from keeper.transactor.means import CANCELLED, REVERTED_ON_CHAIN, Means
from ledger.database.engine import read, write
from ledger.intents import lifecycle, queries
from ledger.intents.days import note_gas
from ledger.intents.record import FILL, Inclusion, IntentRecord, IntentState

log = structlog.get_logger("keeper")


class Inclusions:
    """Looks for receipts, and writes down what they say."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._node = means.node

    def wait(self, intent: IntentRecord) -> IntentRecord:
        """Wait for the receipt. Raises ``OutcomeUnknown`` when time is up or on a stop.

        So it does where a reorg has taken a transaction of ours with a lower nonce: this one lands
        only behind it, and the next round sends it again.
        """
        deadline_s = time.monotonic() + self._means.rules.receipt_timeout_s
        while True:
            receipt = self.find_receipt(intent)
            if receipt is not None:
                return self.note_mined(intent, receipt)
            self._check_lower_nonces(intent)
            if time.monotonic() >= deadline_s or self._means.stop.wait(
                self._means.rules.receipt_poll_s
            ):
                raise OutcomeUnknown(f"{intent.intent_id} is in no block yet")

    def _check_lower_nonces(self, intent: IntentRecord) -> None:
        """Raise ``OutcomeUnknown`` where a transaction that was in a block is missing below."""
        assert intent.sender is not None
        assert intent.nonce is not None
        nonce = self._node.fetch_agreed_transaction_count(intent.sender)
        with read(self._means.engine) as connection:
            taken = queries.find_taken_nonce(
                connection, sender=intent.sender, from_nonce=nonce, below_nonce=intent.nonce
            )
        if taken is not None:
            raise OutcomeUnknown(
                f"{intent.intent_id} lands only after nonce {taken}, which a reorg has taken"
            )

    def find_receipt(self, intent: IntentRecord) -> TransactionReceipt | None:
        """Return the receipt of any transaction that carries the intent out, or None."""
        for tx_hash in intent.tx_hashes:
            receipt = self._node.fetch_receipt(tx_hash)
            if receipt is not None:
                return receipt
        return None

    def note_mined(self, intent: IntentRecord, receipt: TransactionReceipt) -> IntentRecord:
        """Write down the block that holds a transaction; return the intent as it stands then."""
        error = None if receipt.succeeded else self._find_reason(intent, receipt)
        if receipt.tx_hash in intent.cancel_tx_hashes:
            error = CANCELLED
        inclusion = Inclusion(
            tx_hash=receipt.tx_hash,
            block_number=receipt.block_number,
            block_hash=receipt.block_hash,
            gas_used=receipt.gas_used,
            fee_wei=receipt.fee_wei,
            l1_fee_wei=receipt.l1_fee_wei,
            error=error,
        )
        self._means.checkpoint("included")
        with write(self._means.engine) as connection:
            now_s = self._means.now_s()
            lifecycle.mark_mined(connection, intent.intent_id, inclusion, now_s=now_s)
            if intent.state is IntentState.SENT:
                # What a reorg moved counts once more: rather too much than too little.
                has_failed = error is not None or is_burnt(intent.payload, receipt.gas_used)
                self._note_cost(
                    connection, intent, receipt.fee_wei, has_failed=has_failed, now_s=now_s
                )
        log.info(
            "intent_mined",
            intent_id=intent.intent_id,
            kind=intent.kind,
            tx_hash=receipt.tx_hash,
            block=receipt.block_number,
            gas_used=receipt.gas_used,
            fee_wei=receipt.fee_wei,
            l1_fee_wei=receipt.l1_fee_wei,
            error=error,
        )
        self._means.checkpoint("mined")
        return self._means.load(intent.intent_id)

    def _note_cost(
        self,
        connection: Connection,
        intent: IntentRecord,
        fee_wei: int,
        *,
        has_failed: bool,
        now_s: int,
    ) -> None:
        payload = intent.payload
        accounts = payload.get("accounts") or [str(token) for token in payload["token_ids"]]
        price_usdc = self._means.rules.ether_price_usdc
        cost_usdc = gas_cost_usdc(1, fee_wei, ether_price_usdc=price_usdc)
        fund = judge_fund(str(payload.get("fund", WHOLE_KIND)), has_failed=has_failed)
        note_gas(
            connection,
            intent.kind,
            find_charged(accounts, fund=fund, has_failed=has_failed),
            cost_usdc=cost_usdc,
            now_s=now_s,
            funds=[] if fund == WHOLE_KIND else [fund],
            marks=payload.get("released", ()),
        )

    def _find_reason(self, intent: IntentRecord, receipt: TransactionReceipt) -> str:
        if intent.kind == FILL:
            return REVERTED_ON_CHAIN
        try:
            self._node.call(self._means.get_request(intent), block=receipt.block_hash)
        except Reverted as error:
            return error.reason or REVERTED_ON_CHAIN
        except NodeRefused:
            pass
        return REVERTED_ON_CHAIN
