"""Finding out how signed intents ended, and finishing what a crash interrupted.

Runs before anything new is decided. The chain is asked, nothing is guessed:

========================================  ==========================================================
a receipt, in a block that may still go   ``mined``
the same receipt, deep and mirrored       ``confirmed``, or ``reverted`` and its batch given up
no receipt, nonce unused                  the very same bytes again; with a higher fee when stuck
no receipt, nonce used deep in the chain  ``replaced``; a settlement that is not there is given up
a receipt that was there and is gone      back to ``sent``; a hold that frees, without its effect
nothing signed                            settlements go on with the same id, the rest is dropped
========================================  ==========================================================
"""

from collections.abc import Sequence

import structlog

from keeper.calls import is_release
from keeper.errors import OutcomeUnknown
from keeper.facts import Kind
from keeper.transactor import Means, Transactor
from ledger import intents
from ledger.engine import read, write
from ledger.intents import IntentRecord, IntentState

log = structlog.get_logger("keeper")


class Recovery:
    """Looks after open intents. Not shared between threads."""

    def __init__(self, means: Means, transactor: Transactor) -> None:
        self._means = means
        self._transactor = transactor
        self._engine = means.engine
        self._node = means.node
        self._rules = means.rules

    def resume(self, *, mirrored_block: int) -> None:
        """Bring every open intent as far as the chain allows, before anything new is decided.

        ``mirrored_block`` is how far the ledger has followed the chain: an intent stays open until
        its effect is mirrored, so that nobody decides it again meanwhile. Raises ``OutcomeUnknown``
        while a sent one is in no block, ``ActionFailed`` where one that is carried out now fails.
        """
        self._take_back_confirmed()
        with read(self._engine) as connection:
            found = intents.load_open_intents(connection)
        if not found:
            return
        head_number = self._node.fetch_head().number
        unsigned: list[IntentRecord] = []
        waiting: list[str] = []
        for intent in found:
            if intent.state in (IntentState.PLANNED, IntentState.SIMULATED):
                unsigned.append(intent)
                continue
            state = self._look_after(intent, head_number, mirrored_block)
            if state is IntentState.SENT:
                waiting.append(intent.intent_id)
        if waiting:
            raise OutcomeUnknown(f"in no block yet: {', '.join(waiting)}")
        self._finish_unsigned(unsigned)

    def _take_back_confirmed(self) -> None:
        """Reopen what a reorg deeper than the confirmations took from the chain.

        Their nonces are unused again. The very same transactions are sent again, in their order.
        """
        sender = self._means.signer.address.lower()
        nonce = self._node.fetch_transaction_count(self._means.signer.address)
        with read(self._engine) as connection:
            lost = intents.load_confirmed_from_nonce(connection, sender=sender, nonce=nonce)
        for intent in lost:
            self._take_back(intent)

    def _take_back(self, intent: IntentRecord) -> IntentRecord:
        """Open an intent again whose block is gone; return it as it will be sent again."""
        with write(self._engine) as connection:
            intents.unmine(connection, intent.intent_id, now_s=self._means.now_s())
        log.warning("intent_reorged", intent_id=intent.intent_id, nonce=intent.nonce)
        reopened = self._means.load(intent.intent_id)
        if intent.kind == Kind.HOLD.value and is_release(str(intent.payload["data"])):
            return self._transactor.hollow_release(reopened)
        return reopened

    def _finish_unsigned(self, unsigned: Sequence[IntentRecord]) -> None:
        for intent in unsigned:
            if self._means.endings.is_repeatable(intent):
                self._transactor.execute(intent)
            else:
                # The world has moved on since it was decided; it will be decided anew.
                self._transactor.end(
                    intent, intents.mark_abandoned, "interrupted before it was signed"
                )

    def _look_after(
        self, intent: IntentRecord, head_number: int, mirrored_block: int
    ) -> IntentState:
        """Find out how a signed intent stands; return its state."""
        if intent.state is IntentState.SENT:
            intent = self._check_sent(intent, head_number)
        if intent.state is not IntentState.MINED:
            return intent.state
        receipt = self._transactor.find_receipt(intent)
        if receipt is None:
            return self._check_sent(self._take_back(intent), head_number).state
        if receipt.block_hash != intent.mined_block_hash:
            intent = self._transactor.note_mined(intent, receipt)
        deep_enough = head_number - receipt.block_number >= self._rules.confirmations
        if deep_enough and mirrored_block >= receipt.block_number:
            return self._finish(intent)
        return intent.state

    def _finish(self, intent: IntentRecord) -> IntentState:
        with write(self._engine) as connection:
            state = intents.mark_final(connection, intent, now_s=self._means.now_s())
            if state is IntentState.REVERTED:
                self._means.endings.bury(connection, intent)
        log.info("intent_final", intent_id=intent.intent_id, state=state, error=intent.error)
        return state

    def _check_sent(self, intent: IntentRecord, head_number: int) -> IntentRecord:
        """Look for a sent transaction; send the very same bytes again while its nonce is unused.

        Where a transaction that is not ours has used the nonce, deep enough not to come back, the
        intent is over. Its block is read before the receipts are: what has no receipt after that
        cannot have one.
        """
        assert intent.nonce is not None
        assert intent.sender is not None
        deep = max(0, head_number - self._rules.confirmations)
        nonce_deep = self._node.fetch_transaction_count(intent.sender, block_number=deep)
        receipt = self._transactor.find_receipt(intent)
        if receipt is not None:
            return self._transactor.note_mined(intent, receipt)
        if nonce_deep > intent.nonce:
            return self._give_up(intent, block_number=deep)
        if self._node.fetch_transaction_count(intent.sender) > intent.nonce:
            return intent  # used, but not deep: wait and see by what
        if self._means.now_s() - intent.updated_at_s >= self._rules.replace_after_s:
            intent = self._transactor.raise_fee(intent)
        self._transactor.send(intent)
        try:
            return self._transactor.wait(intent)
        except OutcomeUnknown:
            return intent

    def _give_up(self, intent: IntentRecord, *, block_number: int) -> IntentRecord:
        error = f"another transaction used nonce {intent.nonce}"
        landed = self._means.endings.has_landed(intent, block_number=block_number)
        if landed:
            error += "; the effect is on chain"
        with write(self._engine) as connection:
            intents.mark_replaced(
                connection, intent.intent_id, error=error, now_s=self._means.now_s()
            )
            if not landed:
                self._means.endings.bury(connection, intent)
        log.warning("intent_replaced", intent_id=intent.intent_id, error=error)
        return self._means.load(intent.intent_id)
