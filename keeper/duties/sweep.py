"""Sweep: send what was settled from the position contract to the treasury."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pydantic import Field
from sqlalchemy import Connection, select

from contracts.units import USDC_MAX
from keeper.duties.calls import ChainCall
from keeper.duties.duty import OfNobody, PlainDuty
from keeper.duties.moment import DutyRules, Moment
from keeper.worth import Decision, decide_worthy
from ledger.intents.record import IntentRecord
from ledger.selling.day_roots import FIRST_ID, LAST_ID
from ledger.tables import Event, table_of

_event = table_of(Event)

SWEEP: Final = "sweep"


class SweepRules(DutyRules):
    """When what was settled is swept."""

    sweep_amount_usdc: int = Field(
        default=10_000_000, ge=1, le=USDC_MAX, description="settled amount that is swept at once"
    )
    sweep_max_age_s: int = Field(
        default=86_400, ge=0, description="longest that anything settled waits, seconds"
    )


@dataclass(frozen=True, slots=True)
class SweepFacts:
    """USDC settled and not swept yet."""

    owed_since_s: int | None = None
    owed_usdc: int = 0


@dataclass(frozen=True, slots=True)
class SweepItem(OfNobody):
    """Send what is owed to the treasury."""

    amount_usdc: int
    reason: str

    @property
    def subject(self) -> str:
        return ""

    @property
    def brings_usdc(self) -> int:
        return self.amount_usdc


def decide_sweep(facts: SweepFacts, moment: Moment, rules: SweepRules) -> Decision[SweepItem]:
    """Return the sweep to make now, if any, once what is owed pays for it."""
    owed_usdc, since_s = facts.owed_usdc, facts.owed_since_s
    if owed_usdc == 0 or SWEEP in moment.kinds_in_flight:
        return Decision()
    if owed_usdc >= rules.sweep_amount_usdc:
        reason = "amount"
    elif since_s is not None and moment.now_s - since_s >= rules.sweep_max_age_s:
        reason = "age"
    else:
        return Decision()
    return decide_worthy(SWEEP, [SweepItem(owed_usdc, reason)], moment.gas_price, count_max=1)


def load_owed_since(connection: Connection) -> int | None:
    """Return the time of the oldest settlement that was not swept, or None."""
    at_contract = _event.c.token_id.is_(None)
    swept_block = connection.execute(
        select(_event.c.block_number)
        .where(at_contract, _event.c.name == "Swept")
        .order_by(_event.c.block_number.desc())
        .limit(1)
    ).scalar_one_or_none()
    since_s = connection.execute(
        select(_event.c.block_timestamp_s)
        .where(
            at_contract,
            _event.c.name == "BatchSettled",
            # The root of a day's evidence owes nothing.
            ~_event.c.settled_batch_id.between(FIRST_ID, LAST_ID),
            # A settlement after the sweep of the same block counts late rather than never.
            _event.c.block_number >= (-1 if swept_block is None else swept_block),
        )
        .order_by(_event.c.block_number)
        .limit(1)
    ).scalar_one_or_none()
    return None if since_s is None else int(since_s)


class Sweep(PlainDuty[SweepFacts, SweepItem, SweepRules]):
    """Sweeps. Anybody may sweep, and only to the treasury."""

    kind = SWEEP
    is_about_positions = False

    def load(self, connection: Connection, moment: Moment) -> SweepFacts:
        return SweepFacts(owed_since_s=load_owed_since(connection))

    def look(self, facts: SweepFacts, moment: Moment) -> SweepFacts:
        if facts.owed_since_s is None:
            return facts
        position = self.tools.contracts.position
        data = position.encode_abi("owed", args=[])
        owed_usdc = self.tools.node.fetch_word(position.address, data, block=moment.block_hash)
        return replace(facts, owed_usdc=owed_usdc)

    def decide(self, facts: SweepFacts, moment: Moment) -> Decision[SweepItem]:
        return decide_sweep(facts, moment, self.rules)

    def build(self, connection: Connection, items: Sequence[SweepItem], *, now_s: int) -> ChainCall:
        position = self.tools.contracts.position
        return ChainCall(position.address, position.encode_abi("sweep", args=[]), ())

    def build_trial(self, items: Sequence[SweepItem]) -> None:
        return None

    def is_disarmed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Anybody may sweep, whenever."""
        return True
