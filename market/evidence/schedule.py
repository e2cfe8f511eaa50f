"""Which offer is probed next, by which method, and whether there is money for it.

Offers that a dispute waits for go first, the oldest dispute first; then those of grade D, whose
probe is due after about a day, then those of B, after about a month. A is the reference. Where live
traffic makes an offer suspect, its next probe by each method is due after a quarter of that. Dues
are spread by a secret, so that nobody can tell when the next probe comes.

Nothing is spent that an offer's budget does not cover beforehand: a part of what it sold in 30
days, or while a buyer's dispute waits a fixed amount where that is more, yet never more than others
than its seller paid for it, and all of that within an amount for a day. A re-test that the seller
asks for brings the offer forward and adds nothing. Amounts are in 1e-6 USDC.
"""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from contracts.units import BPS_ONE, SECONDS_PER_DAY
from market.evidence.probes import ANSWERS, MAX_TOKENS, ROUNDS, TEMPLATES
from market.evidence.verdicts import Method
from market.text.metering import UNTRUSTED_PROMPT_PCT, UNTRUSTED_TEMPLATE_TOKENS
from serving.models.grades import Grade
from serving.models.prices import Price

PROMPT_TOKENS: Final = 60
"""What a probe's question comes to at most, by the market's own count."""
PAID_PROMPT_TOKENS: Final = (
    -(-PROMPT_TOKENS * UNTRUSTED_PROMPT_PCT // 100) + UNTRUSTED_TEMPLATE_TOKENS
)
"""What a seller who is not approved is paid for it at most, whatever it reports."""
MTOK: Final = 1_000_000
METHODS: Final = (Method.BORDER, Method.FIRST_TOKEN)
"""What is probed by itself."""
INTERVALS_S: Final[Mapping[Grade, int]] = {
    Grade.OTHER: SECONDS_PER_DAY,
    Grade.COMPANY: 30 * SECONDS_PER_DAY,
}
"""How often offers of a grade are probed, about."""
WATCHED_PART: Final = 0.25
"""What of that is waited for the next probes of an offer that live traffic makes suspect."""


@dataclass(frozen=True, slots=True)
class ProbeRules:
    """What probes are bought with."""

    keys_file: Path
    """Buyers' keys, one on a line."""
    budget_bps: int
    """Of what an offer sold in 30 days, in 1/10,000."""
    dispute_usdc: int
    """While a buyer's dispute about the offer waits, where that is more."""
    disputes_day_usdc: int
    """What all probes that only disputes pay for may cost on a UTC day."""
    templates: int = TEMPLATES


@dataclass(frozen=True, slots=True)
class ProbeCandidate:
    """An offer that may be probed, and what of it is known."""

    offer_id: str
    grade: Grade
    cost_usdc: int
    """What a probe costs at most, of both sides."""
    sold_ever_usdc: int
    probed_at_s: Mapping[Method, int] = field(default_factory=dict)
    """When each method looked at it last."""
    disputed_at_s: int | None = None
    """Since when a dispute or a re-test waits; None: none does."""
    is_doubted: bool = False
    """Whether a buyer's dispute is among them."""
    watched_at_s: int | None = None
    """Since when live traffic makes it suspect; None: it does not."""
    price: Price | None = None
    """What its probe may be bought for at most; None: at any price."""
    reference_price: Price | None = None


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """What to do next."""

    offer_id: str
    method: Method
    cost_usdc: int
    is_doubted: bool
    price: Price | None = None
    reference_price: Price | None = None


def bound_answer(price: Price) -> int:
    """Return what one answer costs at most at a price, rounded up."""
    worth = PAID_PROMPT_TOKENS * price.input_usdc_per_mtok + MAX_TOKENS * price.output_usdc_per_mtok
    return -(-worth // MTOK) + price.per_request_usdc


def bound_cost(price: Price, *, templates: int = TEMPLATES) -> int:
    """Return what one side of a probe costs at most at a price, rounded up."""
    return templates * ANSWERS * ROUNDS * bound_answer(price)


def pick_reference(approved: Sequence[Price], others: Sequence[Price]) -> Price | None:
    """Return what a reference may cost, by the prices of those of grade A; None without any.

    Approved sellers' count where there are some. The middle one is taken, so that one seller can
    make no model's probes too dear for every budget, and none too cheap for the references there.
    """
    prices = sorted(approved or others, key=bound_cost)
    return prices[len(prices) // 2] if prices else None


def get_allowed_usdc(rules: ProbeRules, *, sold_usdc: int, disputed_usdc: int = 0) -> int:
    """Return what an offer's probes of 30 days may cost, rounded down.

    ``disputed_usdc`` is what others than its seller paid for it where a buyer doubts it, else 0.
    """
    allowed_usdc = sold_usdc * rules.budget_bps // BPS_ONE
    return max(allowed_usdc, min(rules.dispute_usdc, disputed_usdc))


def plan(
    candidates: Iterable[ProbeCandidate], rules: ProbeRules, *, secret: bytes, now_s: int
) -> list[ProbePlan]:
    """Return the probes that are due and may be affordable, the most urgent first."""
    due: list[tuple[tuple[int, int], ProbePlan]] = []
    for one in candidates:
        method = min(METHODS, key=lambda name: (one.probed_at_s.get(name, 0), name))
        # What live traffic says is no probe, and puts none off.
        last_s = max(one.probed_at_s.get(name, 0) for name in METHODS)
        is_disputed = one.disputed_at_s is not None
        if not is_disputed and not _is_due(one, last_s, secret=secret, now_s=now_s):
            continue
        ever_usdc = get_allowed_usdc(
            rules,
            sold_usdc=one.sold_ever_usdc,
            disputed_usdc=rules.dispute_usdc if one.is_doubted else 0,
        )
        if ever_usdc < one.cost_usdc:
            continue
        rank = 0 if is_disputed else 1 if one.grade is Grade.OTHER else 2
        urgency = (rank, last_s if one.disputed_at_s is None else one.disputed_at_s)
        found = ProbePlan(
            one.offer_id,
            method,
            one.cost_usdc,
            one.is_doubted,
            one.price,
            one.reference_price,
        )
        due.append((urgency, found))
    due.sort(key=lambda ranked: (ranked[0], ranked[1].offer_id))
    return [found for _, found in due]


def _is_due(one: ProbeCandidate, last_s: int, *, secret: bytes, now_s: int) -> bool:
    interval_s = INTERVALS_S.get(one.grade)
    if interval_s is None:
        return False
    drawn = hmac.digest(secret, f"probe due {one.offer_id} {last_s}".encode(), sha256)
    # Between half and one and a half of it.
    spread = int.from_bytes(drawn[:4], "big") / 2**32 + 0.5
    if one.watched_at_s is not None and any(
        one.probed_at_s.get(name, 0) < one.watched_at_s for name in METHODS
    ):
        # Until every method has looked since: what was suspected once speeds nothing up for ever.
        spread *= WATCHED_PART
    return now_s - last_s >= interval_s * spread
