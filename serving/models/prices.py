"""What tokens cost: one arithmetic for both servers. Pure; integers only.

Prices are in 1e-6 USDC per 1e6 tokens, so tokens times price is in 1e-12 USDC: the exact **worth**
of a request. A charge is the worth rounded up to 1e-6 USDC, against the buyer, once a request. Two
amounts are compared by their worths, so no rounding decides which is cheaper, or by how much.

Cached prompt tokens have a price of their own where a provider or seller states it. A ceiling never
counts on a cache: it prices every prompt token in full.
"""

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Final

from contracts.units import TOKENS_PER_MTOK, USDC_ONE, mul_div_up

USD_PER_MTOK_MAX: Final = 1_000_000
"""Highest price accepted, in US dollars per million tokens: above it a ceiling might not fit the
ledger's integers, and the price is surely a slip of units."""
USDC_PER_MTOK_MAX: Final = USD_PER_MTOK_MAX * USDC_ONE

USD_PER_REQUEST_MAX: Final = 10_000
"""Highest fee of a request accepted, in US dollars: above it, it is surely a slip of units."""

PPM_ONE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """A model's prices, in 1e-6 USDC per 1e6 tokens."""

    input_usdc_per_mtok: int
    output_usdc_per_mtok: int
    cached_input_usdc_per_mtok: int | None = None
    """Price of prompt tokens that the provider had cached, at most the input price; None: cached
    tokens cost what other prompt tokens do."""
    per_request_usdc: int = 0
    """What a request costs beside its tokens, in 1e-6 USDC, once it has used any."""

    def __post_init__(self) -> None:
        assert self.input_usdc_per_mtok >= 0
        assert self.output_usdc_per_mtok >= 0
        assert self.per_request_usdc >= 0
        if self.cached_input_usdc_per_mtok is not None:
            assert 0 <= self.cached_input_usdc_per_mtok <= self.input_usdc_per_mtok

    @property
    def cached_usdc_per_mtok(self) -> int:
        """The price of a cached prompt token: its own, or else the full input price."""
        cached = self.cached_input_usdc_per_mtok
        return self.input_usdc_per_mtok if cached is None else cached


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens counted, of all choices together."""

    prompt: int
    completion: int
    """Output, including reasoning that is not shown."""
    cached: int = 0
    """The part of ``prompt`` that the provider had cached."""


def get_worth(tokens: Tokens, price: Price) -> int:
    """Return what ``tokens`` are worth, exactly, in 1e-12 USDC."""
    assert tokens.prompt >= 0
    assert tokens.completion >= 0
    assert 0 <= tokens.cached <= tokens.prompt
    worth = (
        tokens.prompt * price.input_usdc_per_mtok + tokens.completion * price.output_usdc_per_mtok
    )
    if price.cached_input_usdc_per_mtok is not None:
        saved = price.input_usdc_per_mtok - price.cached_input_usdc_per_mtok
        worth -= tokens.cached * saved
    if price.per_request_usdc and (tokens.prompt or tokens.completion):
        # A request of which nothing was delivered has used no token, and costs nothing.
        worth += price.per_request_usdc * TOKENS_PER_MTOK
    return worth


def get_cost_usdc(tokens: Tokens, price: Price) -> int:
    """Return what ``tokens`` cost in 1e-6 USDC, rounded up: never below what was used."""
    return mul_div_up(get_worth(tokens, price), 1, TOKENS_PER_MTOK)


def get_ceiling_usdc(*, prompt_bound: int, max_tokens: int, choices: int, price: Price) -> int:
    """Return the most that a request can cost in 1e-6 USDC, rounded up."""
    return get_cost_usdc(Tokens(prompt_bound, max_tokens * choices), price)


def get_charge_usdc(tokens: Tokens, price: Price, *, ceiling_usdc: int) -> int:
    """Return what to charge in 1e-6 USDC: the cost, but never more than was reserved."""
    return min(get_cost_usdc(tokens, price), ceiling_usdc)


def fit_max_tokens(
    *, affordable_usdc: int, prompt_bound: int, max_tokens: int, choices: int, price: Price
) -> int:
    """Return the largest output limit, at most ``max_tokens``, whose ceiling is affordable.

    At least 1: where not even that is affordable, the ledger says why.
    """
    if price.output_usdc_per_mtok == 0:
        return max_tokens
    left = (affordable_usdc - price.per_request_usdc) * TOKENS_PER_MTOK
    left -= prompt_bound * price.input_usdc_per_mtok
    # Rounded down: the ceiling of the result must not pass what is affordable.
    affordable = left // (price.output_usdc_per_mtok * choices)
    return max(1, min(max_tokens, affordable))


def scale_price(reference: Price, multiplier_ppm: int) -> Price:
    """Return a multiple (1e-6) of a reference price, rounded down: in the buyer's favour.

    So an offer of half the reference price never costs a unit more than half of it.
    """
    cached = reference.cached_input_usdc_per_mtok
    return Price(
        reference.input_usdc_per_mtok * multiplier_ppm // PPM_ONE,
        reference.output_usdc_per_mtok * multiplier_ppm // PPM_ONE,
        None if cached is None else cached * multiplier_ppm // PPM_ONE,
        reference.per_request_usdc * multiplier_ppm // PPM_ONE,
    )


def meets_discount(*, cost: int, direct: int, minimum_pct: int) -> bool:
    """Tell whether ``cost`` is at least ``minimum_pct`` below ``direct``, in integers only.

    Both amounts are in one unit. An unknown reference price is given as 0 and proves no discount.
    """
    assert 0 <= minimum_pct <= 100
    return direct > 0 and cost * 100 <= direct * (100 - minimum_pct)


def get_discount_pct(*, cost: int, direct: int) -> float | None:
    """Return the discount to show, in per cent rounded down to a tenth; None without a reference.

    Both amounts are in one unit. The figure is for people only: nothing is decided by it.
    """
    if direct <= 0:
        return None
    share = Decimal(100) - Decimal(cost) * 100 / Decimal(direct)
    return float(share.quantize(Decimal("0.1"), rounding=ROUND_FLOOR))
