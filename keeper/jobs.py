"""One round of the keeper: look, resume, decide, act. Bounded, and safe to repeat or to kill."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import structlog

from keeper.backoff import HarvestBackoff
from keeper.breaker import Breaker
from keeper.decide import decide
from keeper.errors import ActionFailed, GasPriceOverBound, MirrorStale, OutcomeUnknown
from keeper.facts import Action, Kind, Rules, Snapshot
from keeper.planning import Planner
from keeper.recovery import Recovery
from keeper.snapshot import SnapshotReader
from keeper.transactor import Means, Transactor
from ledger import intents
from ledger.engine import write
from ledger.metering import sweep_leases

log = structlog.get_logger("keeper")

DEMAND_KEPT_S: Final = 86_400
"""How long a demand that nobody repeats stays in the ledger."""


class Outcome(StrEnum):
    """How a round ended."""

    ACTED = "acted"
    NOTHING_DUE = "nothing_due"
    WAITING = "waiting"
    """A transaction is in no block yet; nothing new is decided before it is."""
    STALE = "stale"
    """The mirror must not be acted on."""
    FAILED = "failed"
    """Something was tried and did not succeed."""


@dataclass(slots=True)
class Report:
    """What a round did: items by kind, and in words what failed or is waited for."""

    outcome: Outcome = Outcome.NOTHING_DUE
    acted: Counter[Kind] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    waits_for: str | None = None
    leases_voided: int = 0


class Keeper:
    """Runs rounds. Not shared between threads; one on a ledger (``keeper.lock``)."""

    def __init__(
        self,
        means: Means,
        reader: SnapshotReader,
        planner: Planner,
        rules: Rules,
        backoff: HarvestBackoff,
        breaker: Breaker,
    ) -> None:
        self._means = means
        self._reader = reader
        self._planner = planner
        self._rules = rules
        self._backoff = backoff
        self._breaker = breaker
        self._transactor = Transactor(means)
        self._recovery = Recovery(means, self._transactor)

    def tick(self) -> Report:
        """Do one round and say how it ended.

        Raises ``NodeUnavailable``, ``NodeRefused`` or ``LedgerUnavailable`` where the round could
        not go on; whatever was begun is in the ledger, and the next round goes on from there.
        """
        report = Report()
        now_s = self._means.now_s()
        try:
            mirror = self._reader.check_mirror(now_s=now_s)
            self._recovery.resume(mirrored_block=mirror.block_number)
            snapshot = self._reader.read(now_s=now_s)
            self._defer_harvests(snapshot)
            for action in decide(snapshot, self._rules):
                self._act(action, snapshot, report)
        except MirrorStale as error:
            log.warning("mirror_stale", reason=str(error))
            report.outcome, report.waits_for = Outcome.STALE, str(error)
            return report
        except (OutcomeUnknown, GasPriceOverBound) as error:
            log.warning("waiting", reason=str(error))
            report.waits_for = str(error)
        except ActionFailed as error:
            # A settlement that a crash had interrupted; its batch is given up, its usage free.
            report.failures.append(str(error))
        report.leases_voided = self._tidy(now_s)
        report.outcome = judge(report)
        return report

    def _act(self, action: Action, snapshot: Snapshot, report: Report) -> None:
        """Carry one action out, unless its kind is stopped. Raises ``OutcomeUnknown``."""
        now_s = self._means.now_s()
        if self._breaker.is_open(action.kind, now_s=now_s):
            log.error("kind_stopped", kind=action.kind, reason=action.reason)
            report.failures.append(f"{action.kind}: stopped after repeated failures")
            return
        with write(self._means.engine) as connection:
            intent_id = self._planner.plan(connection, action, snapshot, now_s=now_s)
        if intent_id is None:
            return
        log.info(
            "intent_planned",
            intent_id=intent_id,
            kind=action.kind,
            reason=action.reason,
            items=len(action.items),
            block=snapshot.block_number,
        )
        self._means.checkpoint("planned")
        try:
            done = self._transactor.execute(self._means.load(intent_id))
            if done.error is not None:
                raise ActionFailed(intent_id, done.error)
        except ActionFailed as error:
            self._note_failure(action.kind, error, report)
            return
        self._breaker.succeed(action.kind)
        report.acted[action.kind] += len(action.items)

    def _note_failure(self, kind: Kind, error: ActionFailed, report: Report) -> None:
        report.failures.append(str(error))
        if self._breaker.fail(kind, now_s=self._means.now_s()):
            log.error("breaker_tripped", kind=kind, reason=error.reason)

    def _defer_harvests(self, snapshot: Snapshot) -> None:
        """Leave what is due alone for a while: the poor ones, and those harvested now.

        A success moves a position's due time, but only once it is mirrored; and an inner call that
        fails in its block moves nothing.
        """
        for quote in snapshot.harvests:
            self._backoff.defer(quote.token_id, now_s=snapshot.now_s)

    def _tidy(self, now_s: int) -> int:
        """Void dead reservations and forget old demand; return how many were voided."""
        with write(self._means.engine) as connection:
            intents.drop_demand(connection, wanted_before_s=now_s - DEMAND_KEPT_S)
            return sweep_leases(connection, now_s=now_s)


def judge(report: Report) -> Outcome:
    """Return how a round ended that was not stopped by a stale mirror."""
    if report.failures:
        return Outcome.FAILED
    if report.waits_for is not None:
        return Outcome.WAITING
    return Outcome.ACTED if report.acted.total() else Outcome.NOTHING_DUE
