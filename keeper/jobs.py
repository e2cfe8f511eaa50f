"""One round of the keeper: look, resume, decide, act. Bounded, and safe to repeat or to kill."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import structlog

from keeper.backoff import decide_rests
from keeper.decide import decide
from keeper.errors import ActionFailed, GasPriceOverBound, MirrorStale, OutcomeUnknown
from keeper.facts import Action, HarvestRest, Item, Kind, Rules, Snapshot, get_subject
from keeper.payments import PaymentFollower
from keeper.planning import Planner
from keeper.probe import Probe
from keeper.recovery import Recovery
from keeper.rests import Memory
from keeper.snapshot import SnapshotReader
from keeper.transactor import Means, Transactor
from ledger.chain.harvests import note_harvests_sent, rest_harvests
from ledger.database.engine import write
from ledger.intents.record import IntentRecord, IntentState
from ledger.intents.rests import drop_rests
from ledger.payments.outcomes import rest_payments
from ledger.selling.payouts import follow_payouts
from ledger.spending import demand
from ledger.spending.leases import sweep_leases

log = structlog.get_logger("keeper")

DEMAND_KEPT_S: Final = 86_400
"""How long a demand that nobody repeats stays in the ledger; so does a rest that is over."""


TIDY: Final = "tidy"
"""The job without a transaction: dead reservations are voided, old demand is forgotten."""

JOBS: Final[tuple[str, ...]] = (*(kind.value for kind in Kind), TIDY)
"""What a round does, by name."""


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


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction of a round, sent or rehearsed. ``amount_usdc`` as it was decided."""

    kind: Kind
    reason: str
    items: int
    amount_usdc: int
    token_ids: tuple[int, ...] = ()
    intent_id: str | None = None
    gas: int | None = None
    fee_wei: int | None = None
    """What the gas cost, or would cost at the newest block's base fee."""
    error: str | None = None


@dataclass(slots=True)
class Report:
    """What a round did: items by kind, and in words what failed or is waited for."""

    outcome: Outcome = Outcome.NOTHING_DUE
    steps: list[Step] = field(default_factory=list)
    acted: Counter[Kind] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    """Items that were left out so that the others of their batch go through."""
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
        probe: Probe,
        rules: Rules,
        memory: Memory,
        payments: PaymentFollower,
    ) -> None:
        self._means = means
        self._reader = reader
        self._planner = planner
        self._probe = probe
        self._rules = rules
        self._memory = memory
        self._payments = payments
        self._transactor = Transactor(means)
        self._recovery = Recovery(means, self._transactor)

    def tick(self, jobs: Collection[str] = JOBS) -> Report:
        """Do one round of ``jobs`` and say how it ended; open transactions are always looked after.

        Raises ``NodeUnavailable``, ``NodeRefused`` or ``LedgerUnavailable`` where the round could
        not go on; whatever was begun is in the ledger, and the next round goes on from there.
        """
        report = Report()
        now_s = self._means.now_s()
        try:
            mirror = self._reader.check_mirror(now_s=now_s)
            with write(self._means.engine) as connection:
                follow_payouts(connection)
            self._payments.follow(mirror, now_s=now_s)
            self._recovery.resume(mirrored_block=mirror.block_number)
            self._decide_and_act(jobs, report, now_s=now_s)
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
        if TIDY in jobs:
            report.leases_voided = self._tidy(now_s)
        report.outcome = judge(report)
        return report

    @property
    def address(self) -> str:
        """The sender of every transaction."""
        return self._means.signer.address

    def stopped_kinds(self) -> list[Kind]:
        """Return the kinds that rest after repeated failures."""
        return self._memory.load_stopped(now_s=self._means.now_s())

    def _decide_and_act(self, jobs: Collection[str], report: Report, *, now_s: int) -> None:
        kinds = frozenset(kind for kind in Kind if kind in jobs)
        resting = self._memory.load_resting(now_s=now_s)
        snapshot = self._reader.read(now_s=now_s, kinds=kinds, resting=resting)
        self._rest_payments(snapshot, now_s=now_s)
        actions = [action for action in decide(snapshot, self._rules) if action.kind in kinds]
        harvests = [action for action in actions if action.kind is Kind.HARVEST]
        # One that is harvested rests once its transaction is in a block: until then its intent
        # keeps it from being decided again, and a crash leaves it due.
        sent = {token_id for action in harvests for token_id in action.token_ids}
        rests = decide_rests(snapshot, sent, self._rules)
        self._rest_harvests([rest for rest in rests if rest.token_id not in sent])
        stopped = self._memory.load_stopped(now_s=now_s)
        for action in actions:
            if action.kind in stopped:
                log.error("kind_stopped", kind=action.kind, reason=action.reason)
                report.failures.append(f"{action.kind}: stopped after repeated failures")
            elif action.kind is not Kind.HARVEST:
                self._act(action, snapshot, report)
            elif action is harvests[0]:
                self._act_in_series(harvests, snapshot, report)

    def _act(self, action: Action, snapshot: Snapshot, report: Report) -> None:
        """Carry one action out. Raises ``OutcomeUnknown``.

        Items that the contract refuses are left out and rest; the others go on without them.
        """
        try:
            intent = self._launch(action, snapshot)
        except ActionFailed as error:
            refused = self._probe.find_refused(action.kind, action.items)
            if refused is None:
                self._note_failure(action, error, report)
                return
            self._leave_out(action.kind, refused, error, report)
            sound = tuple(item for item in action.items if item not in refused)
            if sound:
                self._act(Action(action.kind, sound), snapshot, report)
            return
        # None: nothing was left to do. Not sent: it is kept for a later round.
        if intent is not None and intent.state is IntentState.SENT:
            self._note_done(action, self._transactor.wait(intent), snapshot, report)

    def _act_in_series(self, actions: Sequence[Action], snapshot: Snapshot, report: Report) -> None:
        """Send actions one behind the other, so that a block may hold them all, then wait for them.

        What stops the sending is raised, or noted, once those that are sent are in their blocks.
        """
        launched: list[tuple[Action, IntentRecord]] = []
        over_bound: GasPriceOverBound | None = None
        try:
            for action in actions:
                intent = self._launch(action, snapshot)
                if intent is not None and intent.state is IntentState.SENT:
                    launched.append((action, intent))
        except ActionFailed as error:
            self._note_failure(action, error, report)
        except GasPriceOverBound as error:
            over_bound = error
        for action, intent in launched:
            self._note_done(action, self._transactor.wait(intent), snapshot, report)
        if over_bound is not None:
            raise over_bound

    def _note_done(
        self, action: Action, done: IntentRecord, snapshot: Snapshot, report: Report
    ) -> None:
        """Note how a transaction went that is in a block."""
        report.steps.append(_step_of(action, done))
        if action.kind is Kind.HARVEST:
            self._note_harvested(action.token_ids, snapshot)
        if done.error is not None:
            self._note_failure(action, ActionFailed(done.intent_id, done.error), report)
            return
        self._memory.succeed(action.kind, [get_subject(item) for item in action.items])
        report.acted[action.kind] += len(action.items)

    def _rest_payments(self, snapshot: Snapshot, *, now_s: int) -> None:
        """Leave payments alone for a while that would not go through, and say why."""
        refusals = {p.payment_id: p.refusal for p in snapshot.payments if p.refusal is not None}
        if refusals:
            with write(self._means.engine) as connection:
                rest_payments(connection, refusals, was_sent=False, now_s=now_s)

    def _rest_harvests(self, rests: Collection[HarvestRest]) -> None:
        if rests:
            with write(self._means.engine) as connection:
                rest_harvests(connection, [(r.token_id, r.look_at_s, r.failures) for r in rests])

    def _note_harvested(self, token_ids: Collection[int], snapshot: Snapshot) -> None:
        """Let harvests that are in a block rest; only their own events say which succeeded."""
        rests = decide_rests(snapshot, token_ids, self._rules)
        sent = set(token_ids)
        with write(self._means.engine) as connection:
            note_harvests_sent(connection, token_ids, sent_at_s=snapshot.mirrored_at_s)
            chosen = [(r.token_id, r.look_at_s, r.failures) for r in rests if r.token_id in sent]
            rest_harvests(connection, chosen)

    def _launch(self, action: Action, snapshot: Snapshot) -> IntentRecord | None:
        """Plan and send an action; return its intent, None where nothing was to do.

        Raises ``ActionFailed`` where it would revert; nothing was signed then.
        """
        now_s = self._means.now_s()
        with write(self._means.engine) as connection:
            intent_id = self._planner.plan(connection, action, snapshot, now_s=now_s)
        if intent_id is None:
            return None
        log.info(
            "intent_planned",
            intent_id=intent_id,
            kind=action.kind,
            reason=action.reason,
            items=len(action.items),
            block=snapshot.block_number,
        )
        self._means.checkpoint("planned")
        return self._transactor.launch(self._means.load(intent_id))

    def _leave_out(
        self, kind: Kind, refused: Collection[Item], error: ActionFailed, report: Report
    ) -> None:
        subjects = [get_subject(item) for item in refused]
        self._memory.refuse(kind, subjects, now_s=self._means.now_s())
        for subject in subjects:
            log.warning("item_refused", kind=kind, item=subject, reason=error.reason)
            report.refused.append(f"{kind} {subject}: {error.reason}")

    def _note_failure(self, action: Action, error: ActionFailed, report: Report) -> None:
        report.failures.append(str(error))
        if self._memory.fail(action.kind, now_s=self._means.now_s()):
            log.error("breaker_tripped", kind=action.kind, reason=error.reason)

    def _tidy(self, now_s: int) -> int:
        """Void dead reservations, forget old demand and rests; return how many were voided."""
        with write(self._means.engine) as connection:
            demand.drop_demand(connection, wanted_before_s=now_s - DEMAND_KEPT_S)
            drop_rests(connection, ended_before_s=now_s - DEMAND_KEPT_S)
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
        error=done.error,
    )


def judge(report: Report) -> Outcome:
    """Return how a round ended that was not stopped by a stale mirror."""
    if report.failures:
        return Outcome.FAILED
    if report.waits_for is not None:
        return Outcome.WAITING
    if report.refused and not report.acted:
        return Outcome.FAILED
    return Outcome.ACTED if report.acted.total() else Outcome.NOTHING_DUE
