"""One round of the keeper: look, resume, decide, act. Bounded, and safe to repeat or to kill."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import structlog

from keeper.budgets import keep_to_budgets
from keeper.duties.duty import Action, Item
from keeper.duties.registry import KINDS, AnyDuty, Duties
from keeper.errors import ActionFailed, GasPriceOverBound, MirrorStale, OutcomeUnknown
from keeper.lateness import News
from keeper.planning import plan
from keeper.probe import Probe
from keeper.rests import Rests
from keeper.snapshot import Snapshot, SnapshotReader
from keeper.transactor.means import Means
from keeper.transactor.recovery import Recovery
from keeper.transactor.sending import Transactor
from keeper.worth import Unworthy
from ledger.database.clock import LedgerClock
from ledger.database.engine import write
from ledger.intents import days
from ledger.intents.record import IntentRecord, IntentState
from ledger.intents.rests import drop_rests
from ledger.spending import demand
from ledger.spending.leases import sweep_leases

log = structlog.get_logger("keeper")

DEMAND_KEPT_S: Final = 86_400
"""How long an unrepeated demand stays in the ledger; so does a rest that is over."""


TIDY: Final = "tidy"
"""The job without a transaction: dead reservations are voided, old demand is forgotten."""

JOBS: Final[tuple[str, ...]] = (*KINDS, TIDY)
"""What a round does, by name."""


class RoundOutcome(StrEnum):
    """How a round ended."""

    ACTED = "acted"
    NOTHING_DUE = "nothing_due"
    WAITING = "waiting"
    """A transaction is in no block yet; nothing new is decided before it is."""
    STALE = "stale"
    """The mirror must not be acted on."""
    FAILED = "failed"
    """Something was tried and did not succeed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction of a round, sent or rehearsed. ``amount_usdc`` as it was decided."""

    kind: str
    reason: str
    items: int
    amount_usdc: int
    token_ids: tuple[int, ...] = ()
    intent_id: str | None = None
    gas: int | None = None
    fee_wei: int | None = None
    """What it cost, or would cost at the newest block's base fee, the L1 data fee included."""
    l1_fee_wei: int | None = None
    """The L1 data fee in it."""
    error: str | None = None


@dataclass(slots=True)
class RoundReport:
    """What a round did: items by kind, and in words what failed or is waited for."""

    outcome: RoundOutcome = RoundOutcome.NOTHING_DUE
    steps: list[Step] = field(default_factory=list)
    acted: Counter[str] = field(default_factory=Counter)
    unworthy: list[Unworthy] = field(default_factory=list)
    """Items that are left alone because sending them costs more than they bring."""
    refused: list[str] = field(default_factory=list)
    """Items that were left out so that the others of their batch go through."""
    failures: list[str] = field(default_factory=list)
    waits_for: str | None = None
    leases_voided: int = 0


class Keeper:
    """Runs rounds. Not shared between threads; one on a ledger (``keeper.lock``)."""

    def __init__(
        self, means: Means, reader: SnapshotReader, duties: Duties, probe: Probe, rests: Rests
    ) -> None:
        self._means = means
        self._reader = reader
        self._duties = duties
        self._probe = probe
        self._rests = rests
        self._transactor = Transactor(means)
        self._recovery = Recovery(means, self._transactor)
        self._news = News()

    def tick(self, jobs: Collection[str] = JOBS) -> RoundReport:
        """Do one round of ``jobs`` and say how it ended; open transactions are always looked after.

        Raises ``NodeUnavailable``, ``NodeRefused`` or ``LedgerUnavailable`` where the round could
        not go on; whatever was begun is in the ledger, and the next round goes on from there.
        """
        report = RoundReport()
        now_s = self._means.now_s()
        try:
            mirror = self._reader.check_mirror(now_s=now_s)
            for duty in self._duties:
                duty.follow(mirror, now_s=now_s)
            self._recovery.resume(mirrored_block=mirror.block_number)
            self._decide_and_act(jobs, report, now_s=now_s)
        except MirrorStale as error:
            log.warning("mirror_stale", reason=str(error))
            report.outcome, report.waits_for = RoundOutcome.STALE, str(error)
            return report
        except (OutcomeUnknown, GasPriceOverBound) as error:
            log.warning("waiting", reason=str(error))
            report.waits_for = str(error)
        except ActionFailed as error:
            # A settlement that a crash had interrupted; its batch is given up, its usage free.
            report.failures.append(str(error))
        if TIDY in jobs:
            report.leases_voided = self._tidy(now_s)
        report.outcome = judge(report)
        return report

    @property
    def addresses(self) -> tuple[str, ...]:
        """The senders of transactions, the settler first."""
        return tuple(signer.address for signer in self._means.signers)

    @property
    def clock(self) -> LedgerClock:
        """The clock that decides."""
        return self._means.clock

    def stopped_kinds(self) -> list[str]:
        """Return the kinds that rest after repeated failures."""
        return self._rests.load_stopped(now_s=self._means.now_s())

    def _decide_and_act(self, jobs: Collection[str], report: RoundReport, *, now_s: int) -> None:
        resting = self._rests.load_resting(now_s=now_s)
        snapshot = self._reader.read(now_s=now_s, kinds=jobs, resting=resting)
        decided = []
        for duty in self._duties:
            if duty.kind not in jobs:
                continue
            actions, unworthy = decide(duty, snapshot)
            decided.append((duty, actions))
            report.unworthy += unworthy
            facts = snapshot.facts[duty.kind]
            duty.note_decided(facts, actions, unworthy, snapshot.moment)
        self._say_unworthy(report.unworthy, now_s=now_s)
        stopped = self._rests.load_stopped(now_s=now_s)
        for duty, actions in decided:
            if duty.kind not in stopped:
                self._act(duty, actions, snapshot, report)
                continue
            for action in actions:
                log.error("kind_stopped", kind=action.kind, reason=action.reason)
                report.failures.append(f"{action.kind}: stopped after repeated failures")

    def _say_unworthy(self, unworthy: Sequence[Unworthy], *, now_s: int) -> None:
        """Log, and count, what is left alone and was not before: once, not every round."""
        left: dict[str, days.LeftAlone] = {}
        news = self._news.find(unworthy, now_s=now_s)
        for kind in KINDS:
            found = [one for one in news if one.kind == kind]
            if not found:
                continue
            left[kind] = days.LeftAlone(len(found), sum(one.brings_usdc for one in found))
            log.info(
                "not_worth_its_cost",
                kind=kind,
                items=len(found),
                brings_usdc=left[kind].brings_usdc,
                costs_usdc=max(one.costs_usdc for one in found),
                reasons=sorted({one.reason for one in found}),
            )
        if left:
            with write(self._means.engine) as connection:
                days.note_left(connection, left, now_s=now_s)

    def _act(
        self, duty: AnyDuty, actions: Sequence[Action], snapshot: Snapshot, report: RoundReport
    ) -> None:
        """Send actions one behind the other, so that a block may hold them all, then wait for them.

        What stops the sending is raised, or noted, once those that are sent are in their blocks.
        Raises ``OutcomeUnknown``, ``GasPriceOverBound``.
        """
        launched: list[tuple[Action, IntentRecord]] = []
        over_bound: GasPriceOverBound | None = None
        try:
            for action in actions:
                try:
                    self._send(duty, action, snapshot, launched, report)
                except ActionFailed as error:
                    duty.note_refused(action.items, reason=error.reason, moment=snapshot.moment)
                    if duty.is_blamed(action.items, is_in_block=False):
                        self._note_failure(duty.kind, error, report)
                        break
                    report.refused.append(f"{duty.kind} alone: {error.reason}")
        except GasPriceOverBound as error:
            over_bound = error
        for action, intent in launched:
            self._note_mined(duty, action, self._transactor.wait(intent), snapshot, report)
        if over_bound is not None:
            raise over_bound

    def _send(
        self,
        duty: AnyDuty,
        action: Action,
        snapshot: Snapshot,
        launched: list[tuple[Action, IntentRecord]],
        report: RoundReport,
    ) -> None:
        """Send one action, without the items that the contract refuses: those rest.

        Raises ``ActionFailed`` where no item is to blame.
        """
        try:
            intent = self._launch(duty, action, snapshot)
        except ActionFailed as error:
            refused = self._probe.find_refused(duty, action.items)
            if refused is None:
                raise
            self._leave_out(action.kind, refused, error, report)
            sound = tuple(item for item in action.items if item not in refused)
            if sound:
                self._send(duty, Action(action.kind, sound), snapshot, launched, report)
            return
        # None: nothing was left to do. Not sent: it is kept for a later round.
        if intent is not None and intent.state is IntentState.SENT:
            launched.append((action, intent))

    def _note_mined(
        self,
        duty: AnyDuty,
        action: Action,
        mined: IntentRecord,
        snapshot: Snapshot,
        report: RoundReport,
    ) -> None:
        """Note how a transaction went that is in a block."""
        report.steps.append(_step_of(action, mined))
        duty.note_mined(action.items, snapshot.facts[duty.kind], snapshot.moment)
        if mined.error is not None:
            failed = ActionFailed(mined.intent_id, mined.error)
            if duty.is_blamed(action.items, is_in_block=True):
                self._note_failure(duty.kind, failed, report)
            else:
                report.failures.append(str(failed))
            return
        self._rests.succeed(duty.kind, [item.subject for item in action.items])
        report.acted[duty.kind] += len(action.items)

    def _launch(self, duty: AnyDuty, action: Action, snapshot: Snapshot) -> IntentRecord | None:
        """Plan and send an action; return its intent, None where nothing was to do.

        Raises ``ActionFailed`` where it would revert; nothing was signed then.
        """
        now_s = self._means.now_s()
        with write(self._means.engine) as connection:
            intent_id = plan(connection, duty, action, snapshot, now_s=now_s)
        if intent_id is None:
            return None
        log.info(
            "intent_planned",
            intent_id=intent_id,
            kind=action.kind,
            reason=action.reason,
            items=len(action.items),
            block=snapshot.moment.block_number,
        )
        self._means.checkpoint("planned")
        return self._transactor.launch(self._means.load(intent_id))

    def _leave_out(
        self, kind: str, refused: Collection[Item], error: ActionFailed, report: RoundReport
    ) -> None:
        subjects = [item.subject for item in refused]
        self._rests.refuse(kind, subjects, now_s=self._means.now_s())
        for subject in subjects:
            log.warning("item_refused", kind=kind, item=subject, reason=error.reason)
            report.refused.append(f"{kind} {subject}: {error.reason}")

    def _note_failure(self, kind: str, error: ActionFailed, report: RoundReport) -> None:
        report.failures.append(str(error))
        if self._rests.fail(kind, now_s=self._means.now_s()):
            log.error("breaker_tripped", kind=kind, reason=error.reason)

    def _tidy(self, now_s: int) -> int:
        """Void dead reservations, forget old demand and rests; return how many were voided.

        Does nothing while this host's clock is far off.
        """
        if not self._means.clock.may_sweep:
            return 0
        with write(self._means.engine) as connection:
            demand.drop_demand(connection, wanted_before_s=now_s - DEMAND_KEPT_S)
            drop_rests(connection, ended_before_s=now_s - DEMAND_KEPT_S)
            days.drop_days(connection, now_s=now_s)
            return sweep_leases(connection, now_s=now_s)


def _step_of(action: Action, done: IntentRecord) -> Step:
    return Step(
        kind=action.kind,
        reason=action.reason,
        items=len(action.items),
        amount_usdc=action.amount_usdc,
        token_ids=action.token_ids,
        intent_id=done.intent_id,
        gas=done.gas_used,
        fee_wei=done.fee_wei,
        l1_fee_wei=done.l1_fee_wei,
        error=done.error,
    )


def decide(duty: AnyDuty, snapshot: Snapshot) -> tuple[list[Action], Sequence[Unworthy]]:
    """Return what a duty would send now, a transaction each, and what is not worth its cost."""
    moment = snapshot.moment
    decision = keep_to_budgets(
        duty.kind, duty.decide(snapshot.facts[duty.kind], moment), moment.budgets, moment.gas_price
    )
    return [Action(duty.kind, items) for items in decision.transactions], decision.unworthy


def judge(report: RoundReport) -> RoundOutcome:
    """Return how a round ended that was not stopped by a stale mirror."""
    if report.failures:
        return RoundOutcome.FAILED
    if report.waits_for is not None:
        return RoundOutcome.WAITING
    if report.refused and not report.acted:
        return RoundOutcome.FAILED
    return RoundOutcome.ACTED if report.acted.total() else RoundOutcome.NOTHING_DUE
