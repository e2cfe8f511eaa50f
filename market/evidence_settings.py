"""What of the market's settings concerns the lab and what follows from it, all ``MARKET_…``."""

from pathlib import Path
from typing import Final

from pydantic import Field

from contracts.units import SECONDS_PER_DAY
from market.evidence.schedule import ProbeRules
from market.paid_call_settings import PaidCallSettings

PROBE_BUDGET_BPS_MAX: Final = 100
"""1 % of what an offer sells."""


class EvidenceSettings(PaidCallSettings):
    """How long earnings vest, and what the lab may spend."""

    vesting_s: int = Field(
        default=7 * SECONDS_PER_DAY,
        ge=0,
        le=90 * SECONDS_PER_DAY,
        description="how long after a sale the earnings of an offer of grade D wait to be paid out,"
        " seconds: where it is convicted meanwhile, its buyers get them back",
    )
    probe_keys_file: Path | None = Field(
        default=None,
        description="a file with buyers' keys, one on a line, that the market's own probes buy"
        " with; without it: none are made",
    )
    probe_url: str = Field(
        default="",
        description="where probes are sent, without /v1; empty: the public URL, so that they come"
        " as any buyer's",
    )
    probe_budget_bps: int = Field(
        default=PROBE_BUDGET_BPS_MAX,
        ge=0,
        le=PROBE_BUDGET_BPS_MAX,
        description="what an offer's probes of 30 days may cost, in 1/10,000 of what it sold in"
        " them",
    )
    probe_dispute_usdc: int = Field(
        default=250_000,
        ge=0,
        description="what they may cost while a buyer's dispute about the offer waits, 1e-6 USDC,"
        " where that is more; at most what others than its seller paid for the offer in 30 days",
    )
    probe_disputes_day_usdc: int = Field(
        default=1_000_000,
        ge=0,
        description="what all probes that only disputes pay for may cost on a UTC day, 1e-6 USDC",
    )
    probe_interval_s: float = Field(
        default=60.0, gt=0, description="pause between two looks for offers to probe, seconds"
    )

    live_checks: bool = Field(
        default=True,
        description="look at what sellers report of live traffic: counts and probabilities that"
        " cannot be true become evidence, and no text is kept",
    )
    vocabularies: Path | None = Field(
        default=None,
        description="a folder with models' own vocabularies in tiktoken's form, named"
        " MODEL.tiktoken with __ for each slash: prompts of these models are counted by them",
    )

    def probe_rules(self) -> ProbeRules | None:
        """Return how offers are probed; None: they are not."""
        if self.probe_keys_file is None or self.probe_budget_bps == 0:
            return None
        return ProbeRules(
            keys_file=self.probe_keys_file,
            budget_bps=self.probe_budget_bps,
            dispute_usdc=self.probe_dispute_usdc,
            disputes_day_usdc=self.probe_disputes_day_usdc,
        )
