"""What a request may cost and what it did cost. Pure; integers of 1e-6 USDC.

Ceiling: ``⌈(prompt bound * input price + n * max_tokens * output price) / 1e6⌉``. The prompt bound
is one token for each byte of the JSON that is sent to upstream, plus what a chat template adds: no
byte-level tokenizer makes more tokens than bytes. It is never more than the model's context. Cost:
the same formula over upstream's reported tokens, those that upstream had cached at their own price,
never above the ceiling, which knows no cache. Both round up, against the buyer, once a request.
"""

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Final

from contracts.units import TOKENS_PER_MTOK, mul_div_up

MAX_TOKENS_CAP: Final = 4_096
"""The most output tokens of one choice, whatever the request asks for."""

TEMPLATE_TOKENS: Final = 128
"""What a chat template adds once: markers and, where there is none, a default system prompt."""

TEMPLATE_TOKENS_PER_MESSAGE: Final = 16
"""What a chat template adds around each message beyond the JSON around it."""

TEMPLATE_TOKENS_TOOLS: Final = 1_024
"""What a chat template adds to explain how tools are called."""

ESTIMATED_BYTES_PER_TOKEN: Final = 3
"""For counting where upstream does not: English has about four bytes a token, code about three."""


@dataclass(frozen=True, slots=True)
class Price:
    """A model's prices, in 1e-6 USDC per 1e6 tokens."""

    input_usdc_per_mtok: int
    output_usdc_per_mtok: int
    cached_input_usdc_per_mtok: int | None = None
    """Of prompt tokens that the provider had cached; None = as any other, and never more."""

    def __post_init__(self) -> None:
        assert self.input_usdc_per_mtok >= 0
        assert self.output_usdc_per_mtok >= 0
        if self.cached_input_usdc_per_mtok is not None:
            assert 0 <= self.cached_input_usdc_per_mtok <= self.input_usdc_per_mtok

    @property
    def cached_usdc_per_mtok(self) -> int:
        """What a cached prompt token costs: its own price, or else the full one."""
        cached = self.cached_input_usdc_per_mtok
        return self.input_usdc_per_mtok if cached is None else cached


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens counted, of all choices together."""

    prompt: int
    completion: int
    """With what was only thought: reasoning is output."""
    cached: int = 0
    """Those of ``prompt`` that the provider had cached."""


def get_prompt_bound(
    *, body_bytes: int, messages: int, has_tools: bool, context_tokens: int | None
) -> int:
    """Return a number of tokens that the prompt cannot exceed."""
    bound = body_bytes + TEMPLATE_TOKENS + messages * TEMPLATE_TOKENS_PER_MESSAGE
    if has_tools:
        bound += TEMPLATE_TOKENS_TOOLS
    return bound if context_tokens is None else min(bound, context_tokens)


def get_max_tokens(*, requested: int | None, context_tokens: int | None) -> int:
    """Return the output limit to apply to one choice: the least of request, cap and context."""
    limits = [MAX_TOKENS_CAP]
    if requested is not None:
        limits.append(requested)
    if context_tokens is not None:
        limits.append(context_tokens)
    return min(limits)


def get_cost_usdc(tokens: Tokens, price: Price) -> int:
    """Return what ``tokens`` cost, rounded up: the charge is never below what was used."""
    assert tokens.prompt >= 0
    assert tokens.completion >= 0
    assert 0 <= tokens.cached <= tokens.prompt
    micro = (
        tokens.prompt * price.input_usdc_per_mtok + tokens.completion * price.output_usdc_per_mtok
    )
    if price.cached_input_usdc_per_mtok is not None:
        saved = price.input_usdc_per_mtok - price.cached_input_usdc_per_mtok
        micro -= tokens.cached * saved
    return mul_div_up(micro, 1, TOKENS_PER_MTOK)


def get_ceiling_usdc(*, prompt_bound: int, max_tokens: int, choices: int, price: Price) -> int:
    """Return the most that a request can cost, rounded up."""
    return get_cost_usdc(Tokens(prompt_bound, max_tokens * choices), price)


def get_charge_usdc(tokens: Tokens, price: Price, *, ceiling_usdc: int) -> int:
    """Return what to charge: the cost, but never more than was reserved."""
    return min(get_cost_usdc(tokens, price), ceiling_usdc)


def fit_max_tokens(
    *, affordable_usdc: int, prompt_bound: int, max_tokens: int, choices: int, price: Price
) -> int:
    """Return the largest output limit, at most ``max_tokens``, whose ceiling is affordable.

    At least 1: where not even that is affordable, the ledger says why.
    """
    if price.output_usdc_per_mtok == 0:
        return max_tokens
    left = affordable_usdc * TOKENS_PER_MTOK - prompt_bound * price.input_usdc_per_mtok
    # Rounded down: the ceiling of the result must not pass what is affordable.
    affordable = left // (price.output_usdc_per_mtok * choices)
    return max(1, min(max_tokens, affordable))


def estimate_tokens(*, prompt_bytes: int, completion_bytes: int, messages: int) -> Tokens:
    """Count tokens from bytes of text, for an upstream that reports none."""
    return Tokens(
        prompt=-(-prompt_bytes // ESTIMATED_BYTES_PER_TOKEN) + 4 * messages,
        completion=-(-completion_bytes // ESTIMATED_BYTES_PER_TOKEN),
    )


def meets_discount(*, cost_usdc: int, direct_usdc: int, minimum_pct: int) -> bool:
    """Tell whether ``cost`` is at least ``minimum_pct`` below ``direct``, in integers only.

    An unknown reference price is given as 0 and proves no discount.
    """
    return direct_usdc > 0 and cost_usdc * 100 <= direct_usdc * (100 - minimum_pct)


def get_discount_pct(*, cost_usdc: int, direct_usdc: int) -> float | None:
    """Return the discount to show, in per cent rounded down to a tenth; None without a reference.

    For people only: nothing is decided by it.
    """
    if direct_usdc <= 0:
        return None
    share = Decimal(100) - Decimal(cost_usdc) * 100 / Decimal(direct_usdc)
    return float(share.quantize(Decimal("0.1"), rounding=ROUND_FLOOR))
