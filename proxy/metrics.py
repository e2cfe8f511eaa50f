"""The proxy's metrics, in a registry of their own."""

from typing import Final

from serving.http.metrics import ServerMetrics
from serving.models.prices import Tokens

_CODES: Final = (
    "key_revoked",
    "never_harvested",
    "daily_cap_reached",
    "allowance_spent",
    "hold_pending",
    "key_limit_reached",
    "rate_limit_exceeded",
    "chain_state_stale",
    "operator_credit_spent",
    "upstream_error",
    "upstream_timeout",
)


class Metrics(ServerMetrics):
    """The proxy's own metrics, beside those of every server."""

    def __init__(self) -> None:
        super().__init__(
            "proxy", codes=_CODES, seconds="From a completion's last byte to its answer"
        )
        self._prompt_tokens = self.counter("prompt_tokens", "Prompt tokens that were charged")
        self._cached_tokens = self.counter("cached_tokens", "Cached ones among the prompt tokens")
        self._completion_tokens = self.counter("completion_tokens", "Output tokens charged")
        self._charged_usdc = self.counter("charged_micro_usdc", "What was charged, 1e-6 USDC")
        self._estimated = self.counter("usage_estimated", "Charges by our own count of tokens")
        self._overruns = self.counter("ceiling_overruns", "Charges below what was reported")
        self.keys_issued = self.counter("keys_issued", "Root keys that were issued")
        self._fallback = self.gauge("catalogue_fallback", "1 while upstream lists no models")
        self._credit_spent = self.gauge(
            "operator_credit_spent", "1 while upstream refuses for want of the operator's credit"
        )
        self._mirror_age = self.gauge(
            "mirror_age_seconds", "Age of the chain's mirror", mode="livemostrecent"
        )

    def observe_charge(
        self, tokens: Tokens, *, cost_usdc: int, is_estimated: bool, is_overrun: bool
    ) -> None:
        """Count one charge (1e-6 USDC)."""
        self._prompt_tokens.inc(tokens.prompt)
        self._completion_tokens.inc(tokens.completion)
        self._charged_usdc.inc(cost_usdc)
        if tokens.cached:
            self._cached_tokens.inc(tokens.cached)
        if is_estimated:
            self._estimated.inc()
        if is_overrun:
            self._overruns.inc()

    def note(self, *, in_flight: int, catalogue_fallback: bool, credit_spent: bool) -> None:
        """Note what is so in this process now."""
        self.in_flight.set(in_flight)
        self._fallback.set(catalogue_fallback)
        self._credit_spent.set(credit_spent)

    def render(self, *, mirror_age_s: int | None) -> str:
        """Return the exposition. An unknown age is NaN."""
        self._mirror_age.set(float("nan") if mirror_age_s is None else mirror_age_s)
        return self.expose()
