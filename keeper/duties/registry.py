"""The list of duties, in the order in which a round carries them out.

To add a kind of transaction: write its file, and name its rules and its class below.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from contracts.errors import Fatal
from keeper.duties.day_root import Evidence, EvidenceRules
from keeper.duties.duty import Duty, Tools
from keeper.duties.harvest import Harvest, HarvestRules
from keeper.duties.hold import Hold, HoldRules
from keeper.duties.payout import Payout, PayoutRules
from keeper.duties.settle import Settle, SettleRules
from keeper.duties.sweep import Sweep, SweepRules
from keeper.duties.x402 import X402
from keeper.duties.x402_choice import X402Rules
from ledger.intents.record import FILL, IntentRecord


class Rules(
    HoldRules, SettleRules, X402Rules, HarvestRules, SweepRules, PayoutRules, EvidenceRules
):
    """The rules of every duty; all of them are settings of the keeper."""


AnyDuty = Duty[Any, Any, Rules]


def _list(*duties: type[AnyDuty]) -> tuple[type[AnyDuty], ...]:
    """Return the classes; mypy refuses a class with a part missing, or whose rules are."""
    return duties


# Settlement comes first: what was spent must be booked before a hold is replaced.
DUTIES: Final = _list(Settle, Hold, X402, Harvest, Sweep, Payout, Evidence)

KINDS: Final = tuple(duty.kind for duty in DUTIES)
"""Every kind of transaction that a duty sends, in the order of execution."""
POSITION_KINDS: Final = frozenset(duty.kind for duty in DUTIES if duty.is_about_positions)
"""Kinds whose items are positions."""


PAYMENT_KINDS: Final = frozenset(duty.kind for duty in DUTIES if duty.is_payment)
"""Kinds that the payments' key signs, where there is one."""


class Duties:
    """Every duty, and what an intent of any of them means. Not shared between threads."""

    def __init__(self, tools: Tools, rules: Rules) -> None:
        self._duties: Sequence[AnyDuty] = tuple(duty(tools, rules) for duty in DUTIES)
        self._by_kind = {duty.kind: duty for duty in self._duties}

    def __iter__(self) -> Iterator[AnyDuty]:
        return iter(self._duties)

    def _of(self, intent: IntentRecord) -> AnyDuty:
        duty = self._by_kind.get(intent.kind)
        if duty is None:
            raise Fatal(f"intent {intent.intent_id} is of a kind that no duty has")
        return duty

    def is_repeatable(self, intent: IntentRecord) -> bool:
        """Tell whether an intent counts once on chain, however often it is sent."""
        return intent.kind != FILL and self._of(intent).is_repeatable

    def get_give_up_blocks(self, intent: IntentRecord) -> int:
        """Return how deep a failed attempt must lie before its intent is given up."""
        return 0 if intent.kind == FILL else self._of(intent).give_up_blocks

    def has_landed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Tell whether the intent's effect is on chain at a block, by whichever sender."""
        if intent.kind == FILL:
            return False
        return self._of(intent).has_landed(intent, block_number=block_number)

    def is_disarmed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Tell whether a transaction of another key does no harm any more, whenever it lands."""
        if intent.kind == FILL:
            return True
        return self._of(intent).is_disarmed(intent, block_number=block_number)

    def must_not_land(self, connection: Connection, intent: IntentRecord) -> bool:
        """Tell whether an intent that is in no block must not be carried out any more."""
        return intent.kind != FILL and self._of(intent).must_not_land(connection, intent)

    def bury(self, connection: Connection, intent: IntentRecord) -> None:
        """Take back in the ledger what stood on an intent that can never have its effect."""
        if intent.kind != FILL:
            self._of(intent).bury(connection, intent)
