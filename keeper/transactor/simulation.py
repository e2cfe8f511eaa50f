"""Trying an intent's call before anything is signed."""

import structlog

from contracts.errors import Reverted
from keeper.errors import ActionFailed, EndpointsDisagree
from keeper.gas import TRANSACTION_GAS_MAX, add_gas_margin
from keeper.transactor.means import ON_CHAIN, Means
from ledger.database.engine import write
from ledger.intents import lifecycle
from ledger.intents.record import IntentRecord

log = structlog.get_logger("keeper")


class Simulation:
    """Tries intents on the next block, and gives up what would revert."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._node = means.node

    def find_gas(self, intent: IntentRecord) -> int | None:
        """Try the call on the next block; return the gas to allow it, None to leave it for now.

        Raises ``ActionFailed`` where it would revert and is given up, ``EndpointsDisagree``, and
        what the node raises.
        """
        call = self._means.get_request(intent)
        for _ in range(self._node.endpoints_count):
            try:
                return self._try(intent, call)
            except Reverted as error:
                if self._node.is_refused(call):
                    self._refuse(intent, error)
                    return None
                self._node.doubt(f"{intent.intent_id} reverts on one of them")
        raise EndpointsDisagree(f"{intent.intent_id} reverts on one of them")

    def _try(self, intent: IntentRecord, call: dict[str, str]) -> int:
        self._node.call(call)
        fixed_gas = intent.payload.get("gas")
        if fixed_gas is not None:
            return int(fixed_gas)
        estimate = self._node.estimate_gas(call)
        allowed = add_gas_margin(estimate, margin_bps=self._means.rules.gas_margin_bps)
        return min(allowed, TRANSACTION_GAS_MAX)

    def _refuse(self, intent: IntentRecord, error: Reverted) -> None:
        """Give up what would revert, if that may be. Raises ``ActionFailed`` then."""
        reason = error.reason or "reverted without a reason"
        if self._means.endings.is_repeatable(intent) and not self._may_end(intent, reason):
            return
        self._means.end(intent, lifecycle.mark_abandoned, reason)
        raise ActionFailed(intent.intent_id, reason) from error

    def _may_end(self, intent: IntentRecord, reason: str) -> bool:
        """Tell whether a batch that would revert may be given up: no attempt can still land.

        An intent whose effect is on chain would revert too; it is closed once its block is deep.
        """
        head_number = self._node.fetch_head().number
        deep = max(0, head_number - self._means.rules.confirmations)
        if self._means.endings.has_landed(intent, block_number=deep):
            with write(self._means.engine) as connection:
                lifecycle.mark_replaced(
                    connection, intent.intent_id, error=ON_CHAIN, now_s=self._means.now_s()
                )
            log.info("intent_ended", intent_id=intent.intent_id, kind=intent.kind, error=ON_CHAIN)
            return False
        if intent.failed_block is None:
            return True
        depth = head_number - intent.failed_block
        passed = depth >= self._means.endings.get_give_up_blocks(intent)
        if not passed or self._means.endings.has_landed(intent, block_number=head_number):
            log.warning("intent_kept", intent_id=intent.intent_id, kind=intent.kind, error=reason)
            return False
        return True
