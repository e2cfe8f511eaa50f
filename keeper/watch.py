"""Looking at what raises an alarm, around the rounds and whether or not they succeed."""

import time
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy import Engine

from contracts.errors import CurrentError
from keeper.alarms import AlarmRules, Bell, Vitals, decide_alarms
from keeper.lateness import Lateness
from keeper.metrics import KeeperMetrics
from keeper.node import Node
from keeper.rounds import RoundReport
from keeper.worth import BUDGET
from ledger.chain.mirror import load_mirror
from ledger.database.clock import LedgerClock
from ledger.database.engine import read
from ledger.intents.days import WHOLE_KIND, load_gas
from ledger.payments.outcomes import load_waiting_payments
from ledger.spending.debts import load_debts, load_posted

log = structlog.get_logger("keeper")


class Watch:
    """Reads vitals, shows them as metrics and logs what stands. Not shared between threads."""

    def __init__(
        self,
        engine: Engine,
        node: Node,
        metrics: KeeperMetrics,
        rules: AlarmRules,
        *,
        addresses: Sequence[str],
        tip_wei: int,
        interval_s: int,
        repeat_s: int,
        stopped_kinds: Callable[[], Sequence[str]] = tuple,
        clock: LedgerClock,
    ) -> None:
        self._engine = engine
        self._node = node
        self._metrics = metrics
        self._rules = rules
        self._addresses = addresses
        self._tip_wei = tip_wei
        self._interval_s = interval_s
        self._stopped_kinds = stopped_kinds
        self._clock = clock
        self._bell = Bell(repeat_s=repeat_s)
        self._looked_at_s: float | None = None
        self._lateness = Lateness()
        self._waiting_kinds: Sequence[str] = ()
        """The kinds of which the newest round left something alone for its budget."""

    def run(self, tick: Callable[[], RoundReport]) -> RoundReport:
        """Make a round, count it, and look around if it is time. Raises what the round raises."""
        began_s = time.monotonic()
        report: RoundReport | None = None
        try:
            report = tick()
            self._lateness.note(report.unworthy, now_s=self._clock.now_s())
            self._waiting_kinds = sorted(
                {one.kind for one in report.unworthy if one.reason == BUDGET}
            )
            return report
        finally:
            self._metrics.note_round(report, seconds=time.monotonic() - began_s)
            now_s = time.monotonic()
            if self._looked_at_s is None or now_s - self._looked_at_s >= self._interval_s:
                self._looked_at_s = now_s
                self.look()

    def look(self) -> None:
        """Read the vitals and tell. What cannot be read is told too, not raised."""
        try:
            now_s = int(self._clock.measured_now())
            vitals = self._read(now_s=now_s)
        except CurrentError as error:
            log.warning("watch_failed", error=str(error))
            return
        alarms = decide_alarms(vitals, self._rules)
        self._metrics.note_vitals(vitals, alarms)
        due, over = self._bell.ring(alarms, now_s=now_s)
        for alarm in due:
            log.error("alarm", alarm=alarm.name, **alarm.facts)
        for name in over:
            log.info("alarm_over", alarm=name)

    def _read(self, *, now_s: int) -> Vitals:
        with read(self._engine) as connection:
            mirror = load_mirror(connection)
            posted = load_posted(connection)
            debts = load_debts(connection, now_s=now_s)
            waiting = load_waiting_payments(connection)
            gas = load_gas(connection, now_s=now_s)
        balance_wei = fee_wei = None
        try:
            # The sender that has least is the first that can send nothing more.
            balance_wei = min(map(self._node.fetch_balance_wei, self._addresses))
            fee_wei = self._node.fetch_base_fee_wei() + self._tip_wei
        except CurrentError as error:
            log.warning("watch_failed", error=str(error))
        posted_s = self._lateness.get_age_s(
            "settle", {token_id: one.since_s for token_id, one in posted.items()}, now_s=now_s
        )
        payment_s = self._lateness.get_age_s("x402", waiting.since_s, now_s=now_s)
        return Vitals(
            mirror_age_s=None if mirror is None else mirror.age_s(now_s=now_s),
            oldest_posted_s=posted_s,
            posted_usdc=sum(one.amount_usdc for one in posted.values()),
            debts_usdc={debt.token_id: debt.debt_usdc for debt in debts},
            stopped_kinds=self._stopped_kinds(),
            waiting_kinds=self._waiting_kinds,
            gas_day_usdc={kind: usdc for (kind, of), usdc in gas.items() if of == WHOLE_KIND},
            balance_wei=balance_wei,
            fee_wei=fee_wei,
            oldest_payment_s=payment_s,
            payments_usdc=waiting.value_usdc,
            clock_ahead_s=self._clock.ahead_s,
            clock_behind_s=0 if mirror is None else max(0, mirror.observed_at_s - now_s),
        )
