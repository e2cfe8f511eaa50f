"""The dry run: what a round would do, without a key and without a trace."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

import structlog
from sqlalchemy import Connection, Engine

from contracts.errors import Reverted
from contracts.node_errors import NodeRefused
from keeper.duties.duty import Action
from keeper.duties.registry import AnyDuty, Duties
from keeper.errors import MirrorStale
from keeper.node import Node
from keeper.rests import Rests
from keeper.rounds import JOBS, RoundOutcome, RoundReport, Step, decide, judge
from keeper.snapshot import Snapshot, SnapshotReader
from keeper.worth import ENVELOPE_BYTES
from ledger.database.clock import LedgerClock
from ledger.database.engine import read, write
from ledger.intents import queries
from ledger.intents.record import IntentState

log = structlog.get_logger("keeper")


class _Undone(Exception):
    """Ends a transaction that must leave nothing behind."""


class Rehearsal:
    """A dry run: the whole path up to the signature, leaving nothing behind.

    ``sender`` is whom the calls are simulated for; None leaves the simulation out.
    """

    def __init__(
        self,
        engine: Engine,
        node: Node,
        reader: SnapshotReader,
        duties: Duties,
        rests: Rests,
        *,
        sender: str | None,
    ) -> None:
        self._engine = engine
        self._node = node
        self._reader = reader
        self._duties = duties
        self._rests = rests
        self._sender = sender
        self._clock = LedgerClock(engine)

    def run(self, jobs: Collection[str] = JOBS) -> RoundReport:
        """Say what a round of ``jobs`` would do, and why. Raises like ``Keeper.tick``."""
        report = RoundReport()
        log.info("rehearsal", sender=self._sender)
        now_s = int(self._clock.measured_now())
        try:
            resting = self._rests.load_resting(now_s=now_s)
            snapshot = self._reader.read(now_s=now_s, kinds=jobs, resting=resting)
        except MirrorStale as error:
            log.warning("mirror_stale", reason=str(error))
            report.outcome, report.waits_for = RoundOutcome.STALE, str(error)
            return report
        stopped = self._rests.load_stopped(now_s=now_s)
        for duty in self._duties:
            if duty.kind not in jobs:
                continue
            actions, unworthy = decide(duty, snapshot)
            report.unworthy += unworthy
            for action in actions:
                if action.kind in stopped:
                    report.failures.append(f"{action.kind}: stopped after repeated failures")
                else:
                    self._rehearse(duty, action, snapshot, report, now_s=now_s)
        with read(self._engine) as connection:
            found = queries.load_open_intents(connection)
        for intent in found:
            log.info("intent_open", intent_id=intent.intent_id, state=intent.state)
        waiting = [intent.intent_id for intent in found if intent.state is IntentState.SENT]
        if waiting:
            report.waits_for = f"in no block yet, as far as the ledger knows: {', '.join(waiting)}"
        report.outcome = judge(report)
        return report

    def _rehearse(
        self, duty: AnyDuty, action: Action, snapshot: Snapshot, report: RoundReport, *, now_s: int
    ) -> None:
        call = None
        with _undone(self._engine) as connection:
            call = duty.build(connection, action.items, now_s=now_s)
        if call is None:
            return
        facts = {"kind": action.kind, "reason": action.reason, "items": len(action.items)}
        step = Step(
            kind=action.kind,
            reason=action.reason,
            items=len(action.items),
            amount_usdc=action.amount_usdc,
            token_ids=action.token_ids,
        )
        if self._sender is None:
            log.info("would_send", simulated=False, **facts)
            report.steps.append(step)
            report.acted[action.kind] += len(action.items)
            return
        request = {"from": duty.sender, "to": call.to, "data": call.data}
        try:
            gas = self._node.estimate_gas(request) if call.gas is None else call.gas
            self._node.call(request)
        except (Reverted, NodeRefused) as error:
            log.warning("would_fail", error=str(error), **facts)
            report.steps.append(replace(step, error=str(error)))
            report.failures.append(f"{action.kind}: {error}")
            return
        price = snapshot.moment.gas_price
        l1_fee_wei = price.l1_fee.get_fee_wei(ENVELOPE_BYTES + len(call.data) // 2)
        fee_wei = gas * price.gas_wei + l1_fee_wei
        log.info("would_send", simulated=True, gas=gas, to=call.to, data=call.data[:10], **facts)
        report.steps.append(replace(step, gas=gas, fee_wei=fee_wei, l1_fee_wei=l1_fee_wei))
        report.acted[action.kind] += len(action.items)


@contextmanager
def _undone(engine: Engine) -> Iterator[Connection]:
    """Open a write transaction that is always rolled back."""
    try:
        with write(engine) as connection:
            yield connection
            raise _Undone
    except _Undone:
        pass
