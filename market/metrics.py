"""The market's metrics, in a registry of their own."""

from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from typing import Final

from market.endpoints.health import Standing
from serving.http.metrics import ServerMetrics
from serving.models.failures import Cause

UNDERWAY: Final = (
    "pending",
    "address_pending_whitelist",
    "submitted",
    "sending",
    "needs_operator",
    "failed",
)
"""The statuses of payouts that are not over."""

WITHDRAWAL_RESULTS: Final = (
    "taken",
    "withdrawal_too_small",
    "not_withdrawable",
    "fee_changed",
)
"""What becomes of a wish to withdraw that its wallet has signed."""

_CODES: Final = (
    "credit_spent",
    "model_not_found",
    "minimum_discount_not_met",
    "sellers_failed",
    "seller_rejected",
    "sellers_backing_off",
    "api_failed",
    "api_resting",
    "quota_sold",
)


class Metrics(ServerMetrics):
    """The market's own metrics, beside those of every server."""

    def __init__(self) -> None:
        super().__init__(
            "market",
            codes=_CODES,
            seconds="From a request's first byte to its answer, or to the first byte of a stream",
        )
        causes = ("ok", "rejected", "other", *Cause)
        attempts = self.counter("attempts", "Calls of sellers by what became of them", "cause")
        self._by_cause = {str(cause): attempts.labels(cause) for cause in causes}
        own_providers = self.counter(
            "byok_requests", "Calls of buyers' own providers by what became of them", "cause"
        )
        self._own_by_cause = {str(cause): own_providers.labels(cause) for cause in causes}
        self._open_jobs = self.gauge("jobs_open", "Jobs that are followed here", mode="livesum")
        self._offers = self.gauge("offers", "Active offers by health", "health")
        self._reviews = self.gauge("reviews_waiting", "Suppliers that wait for a reviewer")
        self._review_age = self.gauge(
            "review_oldest_seconds", "How long the oldest of them has waited"
        )
        self._mails = self.gauge("mails_waiting", "Mails that are to be sent")
        self._mail_age = self.gauge("mail_oldest_seconds", "How long the oldest of them has waited")
        self._mails_failed = self.gauge("mails_failed", "Mails that were given up, and are kept")
        calls = self.counter("api_calls", "Calls of resold APIs by what became of them", "cause")
        outcomes = ("ok", "cached", "not_counted", *Cause)
        self._calls_by_cause = {str(cause): calls.labels(cause) for cause in outcomes}
        self.leaks = self.counter(
            "api_credential_leaks", "Answers withheld because the API's credential was in them"
        )
        self.flags = self.counter(
            "api_consumers_flagged", "Consumers slowed down for misusing a connection", "reason"
        )
        for reason in ("many_errors", "scraping", "shared_key"):
            self.flags.labels(reason)
        probes = self.counter("supply_probes", "Probes of suppliers' offers by result", "result")
        self._probes = {ok: probes.labels("ok" if ok else "failed") for ok in (True, False)}
        self.settlement_late = self.gauge(
            "settlement_late_seconds", "For how long a day waits that should be settled"
        )
        self._payouts = self.gauge(
            "supplier_payouts", "Suppliers' payouts that are not sent yet", "status"
        )
        self.payout_oldest = self.gauge(
            "supplier_payout_oldest_seconds", "Age of the oldest of them", "status"
        )
        self.note_payouts({}, now_s=0)
        withdrawals = self.counter(
            "withdrawals", "Withdrawals of unused credit by what became of the wish", "result"
        )
        self._withdrawals = {name: withdrawals.labels(name) for name in WITHDRAWAL_RESULTS}
        self._withdrawals_waiting = self.gauge(
            "withdrawals_waiting", "Withdrawals that are in no payout batch yet"
        )
        self._withdrawal_age = self.gauge(
            "withdrawal_oldest_seconds", "How long the oldest of them has waited"
        )
        self._connections = self.gauge("api_connections", "Connections on sale by health", "health")

    def observe_attempt(self, cause: str) -> None:
        """Count one call of a seller: ``ok``, ``rejected``, ``other`` or a ``Cause``."""
        self._by_cause[cause].inc()

    def observe_own_provider(self, cause: str) -> None:
        """Count one call of a buyer's own provider, by the same words."""
        self._own_by_cause[cause].inc()

    def observe_call(self, cause: str) -> None:
        """Count one call of an API: ``ok``, ``cached``, ``not_counted`` or a ``Cause``."""
        self._calls_by_cause[cause].inc()

    def observe_suppliers(
        self,
        *,
        reviews: int,
        review_oldest_s: int,
        mails: int,
        mail_oldest_s: int,
        mails_failed: int,
    ) -> None:
        """Note what waits for reviewers and for the mail server."""
        self._reviews.set(reviews)
        self._review_age.set(review_oldest_s)
        self._mails.set(mails)
        self._mail_age.set(mail_oldest_s)
        self._mails_failed.set(mails_failed)

    def observe_probe(self, *, is_ok: bool) -> None:
        """Count one probe of an offer."""
        self._probes[is_ok].inc()

    def note_payouts(self, found: Mapping[str, tuple[int, int | None]], *, now_s: int) -> None:
        """Note how many payouts are in each status, and since when the oldest of it is."""
        for status in UNDERWAY:
            count, oldest_s = found.get(status, (0, None))
            self._payouts.labels(status).set(count)
            age_s = 0 if oldest_s is None else max(0, now_s - oldest_s)
            self.payout_oldest.labels(status).set(age_s)

    def observe_withdrawal(self, result: str) -> None:
        """Count one wish to withdraw: ``taken``, or the code of its refusal."""
        self._withdrawals[result].inc()

    def note_withdrawals(self, *, waiting: int, oldest_s: int) -> None:
        """Note how many withdrawals wait for a batch, and for how long the oldest does."""
        self._withdrawals_waiting.set(waiting)
        self._withdrawal_age.set(oldest_s)

    def note(
        self,
        *,
        in_flight: int,
        open_jobs: int,
        standings: Iterable[Standing],
        connections: Iterable[Standing],
    ) -> None:
        """Note what is so now."""
        self.in_flight.set(in_flight)
        self._open_jobs.set(open_jobs)
        for gauge, found in ((self._offers, standings), (self._connections, connections)):
            counts = Tally(found)
            for standing in Standing:
                gauge.labels(standing).set(counts[standing])
