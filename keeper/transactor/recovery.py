"""Finding out how signed intents ended, and finishing what a crash interrupted.

Runs before anything new is decided. The chain is asked, nothing is guessed:

========================================  ==========================================================
a receipt, in a block that may still go   ``mined``
the same receipt, deep and mirrored       ``confirmed``; where it failed ``reverted``, or once more
no receipt, nonce unused                  the very same bytes again; with a higher fee when stuck
no receipt, nonce used deep in the chain  ``replaced``, or once more under another nonce
a receipt that was there and is gone      back to ``sent``; a hold that frees is cancelled instead
a nonce unused that is no intent's,       filled by a transaction that does nothing
  below one that is sent
a batch that is open and its intent not   once more, unless it is on chain
nothing signed                            batches go on with the same id, the rest is dropped
========================================  ==========================================================

ONCE MORE is for batches only: their id counts once on chain, so an attempt that was thought dead
and lands after all makes the next one fail, and nothing is charged or paid twice. After
``ATTEMPTS_MAX`` of them, or where the next one would revert, the batch is given up, and what it
held may be put into another one: only with ``give_up_blocks`` on top of the last attempt, deeper
than any reorg.

ANOTHER KEY. What an earlier key has signed is followed to its end all the same: the very same bytes
are sent again while its nonce is unused, and nobody else carries it out meanwhile. Its fee cannot
be raised and it cannot be cancelled without that key, so it does not hold up what this key may do
beside it: the positions or payouts that it is about wait, all others go on. Where that key may not
act any more, it is over; a batch goes on with its id under this key.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Final

import structlog

from keeper.errors import OutcomeUnknown
from keeper.transactor.means import CANCELLED, ON_CHAIN, Means
from keeper.transactor.sending import Transactor
from keeper.transactor.signer import Signer
from ledger.database.engine import read, write
from ledger.intents import lifecycle, queries
from ledger.intents.record import IntentRecord, IntentState

log = structlog.get_logger("keeper")

ATTEMPTS_MAX: Final = 3
FILLS_MAX: Final = 16
"""Nonces that are filled in one round."""


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
        nonces = [
            (signer, self._node.fetch_agreed_transaction_count(signer.address))
            for signer in self._means.signers
        ]
        for signer, nonce in nonces:
            self._take_back_confirmed(signer, nonce)
        self._reopen_stranded()
        for signer, nonce in nonces:
            self._fill_gaps(signer, nonce)
        with read(self._engine) as connection:
            found = queries.load_open_intents(connection)
        if not found:
            return
        head_number = self._node.fetch_head().number
        unsigned: list[IntentRecord] = []
        waiting: list[str] = []
        for intent in found:
            if intent.state in (IntentState.PLANNED, IntentState.SIMULATED):
                unsigned.append(intent)
                continue
            # Transactions behind one that is in no block are not waited for: that may take long.
            patient = not waiting and self._is_ours(intent)
            state = self._look_after(intent, head_number, mirrored_block, patient=patient)
            if state is not IntentState.SENT:
                continue
            if self._is_ours(intent):
                waiting.append(intent.intent_id)
            else:
                log.warning(
                    "intent_of_another_key",
                    intent_id=intent.intent_id,
                    sender=intent.sender,
                    nonce=intent.nonce,
                )
        if waiting:
            raise OutcomeUnknown(f"in no block yet: {', '.join(waiting)}")
        self._finish_unsigned(unsigned)

    def _is_ours(self, intent: IntentRecord) -> bool:
        return self._means.find_signer(intent.sender) is not None

    def _take_back_confirmed(self, signer: Signer, nonce: int) -> None:
        """Reopen what a reorg deeper than the confirmations took from the chain.

        Their nonces are unused again. The very same transactions are sent again, in their order.
        """
        sender = signer.address.lower()
        with read(self._engine) as connection:
            lost = queries.load_confirmed_from_nonce(connection, sender=sender, nonce=nonce)
        for intent in lost:
            self._take_back(intent)

    def _reopen_stranded(self) -> None:
        """Pursue batches again that a reorg took from the chain after their intents had ended."""
        with read(self._engine) as connection:
            stranded = queries.load_stranded(connection)
        if not stranded:
            return
        head_number = self._node.fetch_head().number
        for intent in stranded:
            if self._means.endings.has_landed(intent, block_number=head_number):
                continue
            if self._may_land_again(intent):
                self._take_back(intent)
            else:
                self._try_again(intent, failed_block=head_number)

    def _may_land_again(self, intent: IntentRecord) -> bool:
        """Tell whether the nonce of a confirmed transaction of another key is unused again."""
        if intent.state is not IntentState.CONFIRMED or self._is_ours(intent):
            return False
        assert intent.sender is not None
        assert intent.nonce is not None
        return self._node.fetch_agreed_transaction_count(intent.sender) <= intent.nonce

    def _take_back(self, intent: IntentRecord) -> IntentRecord:
        """Open an intent again whose block is gone."""
        with write(self._engine) as connection:
            lifecycle.unmine(connection, intent.intent_id, now_s=self._means.now_s())
        self._means.checkpoint("taken_back")
        log.warning("intent_reorged", intent_id=intent.intent_id, nonce=intent.nonce)
        return self._means.load(intent.intent_id)

    def _fill_gaps(self, signer: Signer, nonce: int) -> None:
        """Use up the unused nonces that are no open intent's, below the highest that is sent.

        A transaction that failed for good had it, or one of somebody else's, until a reorg freed
        it. Which of the two lands, the old one or ours, the chain decides.
        """
        sender = signer.address.lower()
        with read(self._engine) as connection:
            signed = [
                intent
                for intent in queries.load_open_intents(connection)
                if intent.sender == sender and intent.nonce is not None
            ]
        taken = {intent.nonce for intent in signed}
        # One that counts as mined although its nonce is unused was in a block that a reorg took.
        sent = [
            intent.nonce
            for intent in signed
            if intent.nonce is not None
            and (intent.state is IntentState.SENT or intent.nonce >= nonce)
        ]
        gaps = (free for free in range(nonce, max(sent, default=nonce)) if free not in taken)
        for free in islice(gaps, FILLS_MAX):
            self._transactor.fill(free, signer=signer)

    def _finish_unsigned(self, unsigned: Sequence[IntentRecord]) -> None:
        for intent in unsigned:
            if self._means.endings.is_repeatable(intent) and not self._means.must_not_land(intent):
                self._transactor.execute(intent)
            else:
                # The chain has moved on since this was decided; the next round decides again.
                self._means.end(
                    intent, lifecycle.mark_abandoned, "interrupted before it was signed"
                )

    def _look_after(
        self, intent: IntentRecord, head_number: int, mirrored_block: int, *, patient: bool
    ) -> IntentState:
        """Find out how a signed intent stands; return its state."""
        if intent.state is IntentState.SENT:
            intent = self._check_sent(intent, head_number, patient=patient)
        if intent.state is not IntentState.MINED:
            return intent.state
        receipt = self._transactor.find_receipt(intent)
        if receipt is None:
            intent = self._take_back(intent)
            return self._check_sent(intent, head_number, patient=patient).state
        if receipt.block_hash != intent.mined_block_hash:
            intent = self._transactor.note_mined(intent, receipt)
        deep_enough = head_number - receipt.block_number >= self._rules.confirmations
        if deep_enough and mirrored_block >= receipt.block_number:
            header = self._node.fetch_header(receipt.block_number)
            if header is None or header.block_hash != receipt.block_hash:
                # Some nodes keep showing the receipts of a block that was reorganised away.
                return intent.state
            return self._finish(intent, receipt.block_number, head_number)
        return intent.state

    def _finish(self, intent: IntentRecord, block_number: int, head_number: int) -> IntentState:
        """Close an intent whose transaction is deep in the chain, as far as that may be."""
        if not self._means.endings.is_repeatable(intent):
            return self._close(intent)
        # Asked of a recent block, not of the receipt's: after a rest of minutes most nodes have no
        # state of that one any more. What has landed by the receipt's block has landed by this one.
        deep = max(block_number, head_number - self._rules.confirmations)
        landed = self._means.endings.has_landed(intent, block_number=deep)
        if intent.error is None:
            if landed:
                return self._close(intent)
            log.error("receipt_denied", intent_id=intent.intent_id, tx_hash=intent.tx_hash)
            return intent.state
        if landed:
            return self._mark_replaced(intent, f"{intent.error}; {ON_CHAIN}", bury=False)
        if intent.error != CANCELLED and len(intent.failed_tx_hashes) + 1 < ATTEMPTS_MAX:
            return self._try_again(intent, failed_block=block_number)
        if head_number - block_number < self._means.endings.get_give_up_blocks(intent):
            return intent.state
        return self._close(intent)

    def _close(self, intent: IntentRecord) -> IntentState:
        with write(self._engine) as connection:
            state = lifecycle.mark_final(connection, intent, now_s=self._means.now_s())
            if state is IntentState.REVERTED:
                self._means.endings.bury(connection, intent)
        log.info("intent_final", intent_id=intent.intent_id, state=state, error=intent.error)
        return state

    def _try_again(self, intent: IntentRecord, *, failed_block: int) -> IntentState:
        with write(self._engine) as connection:
            lifecycle.try_again(
                connection, intent, failed_block=failed_block, now_s=self._means.now_s()
            )
        self._means.checkpoint("planned_again")
        log.warning("intent_tried_again", intent_id=intent.intent_id, error=intent.error)
        return IntentState.PLANNED

    def _mark_replaced(self, intent: IntentRecord, error: str, *, bury: bool) -> IntentState:
        with write(self._engine) as connection:
            lifecycle.mark_replaced(
                connection, intent.intent_id, error=error, now_s=self._means.now_s()
            )
            if bury:
                self._means.endings.bury(connection, intent)
        log.warning("intent_replaced", intent_id=intent.intent_id, error=error)
        return IntentState.REPLACED

    def _check_sent(self, intent: IntentRecord, head_number: int, *, patient: bool) -> IntentRecord:
        """Look for a sent transaction; send the very same bytes again while its nonce is unused.

        Where a transaction that is not ours has used the nonce, deep enough not to come back, the
        intent is over. Its block is read before the receipts are: what has no receipt after that
        cannot have one. ``patient``: the receipt is waited for.
        """
        assert intent.nonce is not None
        assert intent.sender is not None
        deep = max(0, head_number - self._rules.confirmations)
        nonce_deep = self._node.fetch_agreed_transaction_count(intent.sender, block_number=deep)
        receipt = self._transactor.find_receipt(intent)
        if receipt is not None:
            return self._transactor.note_mined(intent, receipt)
        if nonce_deep > intent.nonce:
            error = f"another transaction used nonce {intent.nonce}"
            self._give_up(intent, error, block_number=deep)
            return self._means.load(intent.intent_id)
        if self._node.fetch_agreed_transaction_count(intent.sender) > intent.nonce:
            return intent  # used, but not deep: wait and see by what
        if not self._is_ours(intent):
            return self._follow(intent, deep)
        if self._means.must_not_land(intent):
            intent = self._transactor.cancel(intent)
        elif self._means.now_s() - intent.updated_at_s >= self._rules.replace_after_s:
            intent = self._transactor.raise_fee(intent)
        self._transactor.send(intent)
        if not patient:
            return intent
        try:
            return self._transactor.wait(intent)
        except OutcomeUnknown:
            return intent

    def _follow(self, intent: IntentRecord, deep: int) -> IntentRecord:
        """Resend a transaction that another key has signed, unless it must not land; or give it up.

        Its key is needed to end it. Without the key: once the contracts do not heed it any more.
        """
        is_old = self._means.now_s() - intent.updated_at_s >= self._rules.replace_after_s
        if is_old and self._means.endings.is_disarmed(intent, block_number=deep):
            self._give_up(intent, f"left behind by {intent.sender}", block_number=deep)
            return self._means.load(intent.intent_id)
        if not self._means.must_not_land(intent):
            self._transactor.send(intent)
        return intent

    def _give_up(self, intent: IntentRecord, error: str, *, block_number: int) -> None:
        if not self._means.endings.is_repeatable(intent):
            self._mark_replaced(intent, error, bury=True)
        elif self._means.endings.has_landed(intent, block_number=block_number):
            self._mark_replaced(intent, f"{error}; {ON_CHAIN}", bury=False)
        else:
            self._try_again(intent, failed_block=block_number)
