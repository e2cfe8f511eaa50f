"""The keeper's Prometheus metrics. ``docs/operations.md`` says what to do about which.

Amounts are 1e-6 USDC or wei, as the names say; every label is bounded and begins at zero.
"""

from collections import Counter as Counts
from collections.abc import Collection
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from contracts.errors import Fatal
from keeper.alarms import NAMES, Alarm, Vitals
from keeper.duties.registry import KINDS
from keeper.rounds import RoundOutcome, RoundReport
from keeper.worth import REASONS

BUCKETS_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BROKEN: Final = "broken"
"""The outcome of a round that could not go on: node or ledger did not answer."""


class KeeperMetrics:
    """Counts rounds and shows vitals, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self._rounds = Counter(
            "current_keeper_rounds", "Rounds by how they ended", ["outcome"], registry=registry
        )
        self._round_seconds = Histogram(
            "current_keeper_round_seconds",
            "Length of a round",
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._items = Counter(
            "current_keeper_items", "Items carried out", ["kind"], registry=registry
        )
        self._transactions = Counter(
            "current_keeper_transactions",
            "Transactions in a block",
            ["kind", "outcome"],
            registry=registry,
        )
        self._fee_wei = Counter(
            "current_keeper_fee_wei", "Paid for transactions, wei", ["kind"], registry=registry
        )
        self._l1_fee_wei = Counter(
            "current_keeper_data_fee_wei", "L1 data fees in it, wei", ["kind"], registry=registry
        )
        self._unworthy = Gauge(
            "current_keeper_unworthy_items",
            "Items of the newest round that bring less than they cost",
            ["kind", "reason"],
            registry=registry,
        )
        self._refused = Counter(
            "current_keeper_refused_items", "Items left out of their batch", registry=registry
        )
        self._leases = Counter(
            "current_keeper_leases_voided", "Reservations of dead processes", registry=registry
        )
        self._balance_wei = Gauge(
            "current_keeper_balance_wei", "The sender's ether, wei", registry=registry
        )
        self._gas_price_wei = Gauge(
            "current_keeper_gas_price_wei", "Base fee and tip, wei per gas", registry=registry
        )
        self._mirror_age = Gauge(
            "current_keeper_mirror_age_seconds",
            "Since the mirror was at the head",
            registry=registry,
        )
        self._posted_usdc = Gauge(
            "current_keeper_posted_usdc", "Usage that waits for a settlement", registry=registry
        )
        self._posted_age = Gauge(
            "current_keeper_posted_age_seconds", "Age of the oldest of it", registry=registry
        )
        self._payments_usdc = Gauge(
            "current_keeper_payments_usdc", "Payments that wait to be settled", registry=registry
        )
        self._payment_age = Gauge(
            "current_keeper_payment_age_seconds", "Age of the oldest of them", registry=registry
        )
        self._debt_usdc = Gauge(
            "current_keeper_bad_debt_usdc", "Posted usage that no credit pays", registry=registry
        )
        self._stopped = Gauge(
            "current_keeper_kind_stopped", "1 while a kind rests", ["kind"], registry=registry
        )
        self._gas_day_usdc = Gauge(
            "current_keeper_gas_day_usdc",
            "What today's transactions cost, 1e-6 USDC",
            ["kind"],
            registry=registry,
        )
        self._alarm = Gauge(
            "current_keeper_alarm", "1 while an alarm stands", ["alarm"], registry=registry
        )
        for outcome in (*RoundOutcome, BROKEN):
            self._rounds.labels(str(outcome))
        for kind in KINDS:
            self._items.labels(kind)
            self._fee_wei.labels(kind)
            self._l1_fee_wei.labels(kind)
            for reason in REASONS:
                self._unworthy.labels(kind, reason)
            self._stopped.labels(kind)
            self._gas_day_usdc.labels(kind)
            for outcome in ("succeeded", "reverted"):
                self._transactions.labels(kind, outcome)
        for name in NAMES:
            self._alarm.labels(name)

    def note_round(self, report: RoundReport | None, *, seconds: float) -> None:
        """Count a round; None for a round that was broken off."""
        self._round_seconds.observe(seconds)
        self._rounds.labels(BROKEN if report is None else str(report.outcome)).inc()
        if report is None:
            return
        for kind, count in report.acted.items():
            self._items.labels(kind).inc(count)
        for step in report.steps:
            outcome = "succeeded" if step.error is None else "reverted"
            self._transactions.labels(step.kind, outcome).inc()
            self._fee_wei.labels(step.kind).inc(step.fee_wei or 0)
            self._l1_fee_wei.labels(step.kind).inc(step.l1_fee_wei or 0)
        unworthy = Counts((one.kind, one.reason) for one in report.unworthy)
        for kind in KINDS:
            for reason in REASONS:
                self._unworthy.labels(kind, reason).set(unworthy[kind, reason])
        self._refused.inc(len(report.refused))
        self._leases.inc(report.leases_voided)

    def note_vitals(self, vitals: Vitals, alarms: Collection[Alarm]) -> None:
        """Show what was seen; what could not be read keeps its last value."""
        if vitals.balance_wei is not None:
            self._balance_wei.set(vitals.balance_wei)
        if vitals.fee_wei is not None:
            self._gas_price_wei.set(vitals.fee_wei)
        if vitals.mirror_age_s is not None:
            self._mirror_age.set(vitals.mirror_age_s)
        self._posted_usdc.set(vitals.posted_usdc)
        self._posted_age.set(0 if vitals.oldest_posted_s is None else vitals.oldest_posted_s)
        self._payments_usdc.set(vitals.payments_usdc)
        self._payment_age.set(0 if vitals.oldest_payment_s is None else vitals.oldest_payment_s)
        self._debt_usdc.set(sum(vitals.debts_usdc.values()))
        for kind in KINDS:
            self._stopped.labels(kind).set(kind in vitals.stopped_kinds)
            self._gas_day_usdc.labels(kind).set(vitals.gas_day_usdc.get(kind, 0))
        standing = {alarm.name for alarm in alarms}
        for name in NAMES:
            self._alarm.labels(name).set(name in standing)

    def serve(self, *, host: str, port: int) -> None:
        """Answer ``GET /metrics`` until the process ends; 0 serves nothing. Raises ``Fatal``."""
        if not port:
            return
        try:
            start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise Fatal(
                f"no metrics on {host}:{port}: {reason}; choose another port with"
                " KEEPER_METRICS_PORT"
            ) from error
