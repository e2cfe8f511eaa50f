"""Evidence: the Merkle root of what the market's lab has found out on a day, once on chain.

The root goes as a batch without items, so it charges nobody. Its id follows from the day: whichever
attempt lands, a day has one root.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field
from sqlalchemy import Connection
from web3.contract import Contract

from contracts.units import SECONDS_PER_DAY, utc_day
from keeper.duties.calls import ChainCall
from keeper.duties.duty import BatchDuty, OfNobody, is_allowed
from keeper.duties.moment import DutyRules, Moment
from keeper.duties.settle import build_settle
from keeper.worth import Decision
from ledger.intents.record import IntentRecord
from ledger.selling.day_roots import KIND, find_due_day, plan_day_root
from ledger.selling.evidence import build_day_root, load_day
from ledger.spending.batches import PlannedBatch, abandon_batch


class EvidenceRules(DutyRules):
    """When a day's evidence goes on chain."""

    evidence_after_s: int = Field(
        default=3_600,
        # A row of the day that is being written while the root is planned would not be in it.
        ge=600,
        le=30 * SECONDS_PER_DAY,
        description="a UTC day's evidence has its root sent so long after the day, seconds",
    )


@dataclass(frozen=True, slots=True)
class EvidenceFacts:
    """The oldest day whose root is to be sent, days since 1970; None: there is none."""

    day: int | None = None


@dataclass(frozen=True, slots=True)
class EvidenceItem(OfNobody):
    """Send the root of a day's evidence."""

    day: int
    reason: str = "day"

    @property
    def subject(self) -> str:
        return str(self.day)

    @property
    def brings_usdc(self) -> int:
        return 0

    @property
    def amount_usdc(self) -> int:
        return 0


def decide_evidence(facts: EvidenceFacts, moment: Moment) -> Decision[EvidenceItem]:
    """Return the day to send, if any: one after the other, so that none is passed over."""
    if facts.day is None or KIND in moment.kinds_in_flight:
        return Decision()
    if (KIND, str(facts.day)) in moment.resting:
        return Decision()
    return Decision([(EvidenceItem(facts.day),)])


class Evidence(BatchDuty[EvidenceFacts, EvidenceItem, EvidenceRules]):
    """The daily roots. A root that is given up is tried again an hour later, with the same id."""

    kind = KIND
    is_about_positions = False

    @property
    def counter(self) -> tuple[Contract, str]:
        return self.tools.contracts.position, "batchSettled"

    def load(self, connection: Connection, moment: Moment) -> EvidenceFacts:
        before_day = utc_day(max(0, moment.wall_s - self.rules.evidence_after_s))
        return EvidenceFacts(find_due_day(connection, before_day=before_day, now_s=moment.wall_s))

    def decide(self, facts: EvidenceFacts, moment: Moment) -> Decision[EvidenceItem]:
        return decide_evidence(facts, moment)

    def build(
        self, connection: Connection, items: Sequence[EvidenceItem], *, now_s: int
    ) -> ChainCall | None:
        (item,) = items
        root = build_day_root(load_day(connection, item.day))
        if root is None:
            return None
        batch_id = plan_day_root(connection, day=item.day, root=root, now_s=now_s)
        if batch_id is None:
            return None
        return build_settle(self.tools.contracts, PlannedBatch(batch_id, root, ()))

    def build_trial(self, items: Sequence[EvidenceItem]) -> None:
        return None

    def is_disarmed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Tell whether the contract refuses the sender by now."""
        contract = self.tools.contracts.position
        return not is_allowed(self.tools, contract, "isSettler", intent, block_number=block_number)

    def bury(self, connection: Connection, intent: IntentRecord) -> None:
        """Note that the root's transaction was given up: the day is due again later."""
        abandon_batch(connection, str(intent.payload["batch_id"]))
