"""What a request may cost, what it did cost, and who gets how much of it. Pure.

Prices are integers of 1e-6 USDC per 1e6 tokens, so tokens times price is in 1e-12 USDC: the exact
worth of a request. From that one number everything is rounded once: the buyer's charge up, the
seller's pay and the fee down. What is left between them, less than three units, is the operator's.
"""

import re
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final

from contracts.units import BPS_ONE, TOKENS_PER_MTOK, USDC_DECIMALS, USDC_ONE, mul_div_up

PPM_ONE: Final = 1_000_000
USD_PER_MTOK_MAX: Final = 1_000_000
"""Above it a ceiling might not fit the ledger's integers; surely it is a slip of units."""

MULTIPLIER_MAX: Final = 100
ESTIMATED_BYTES_PER_TOKEN: Final = 3
TEMPLATE_TOKENS: Final = 128
"""What a chat template adds once: markers and, where there is none, a default system prompt."""

TEMPLATE_TOKENS_PER_MESSAGE: Final = 16
TEMPLATE_TOKENS_TOOLS: Final = 1_024
_EXACT: Final = Context(prec=40, traps=[Inexact, InvalidOperation])
"""Digits for every amount there is; what has more of them is not rounded but refused."""

_DECIMAL: Final = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?")


@dataclass(frozen=True, slots=True)
class Price:
    """What tokens cost, in 1e-6 USDC per 1e6 tokens."""

    input_usdc_per_mtok: int
    output_usdc_per_mtok: int

    def __post_init__(self) -> None:
        assert self.input_usdc_per_mtok >= 0
        assert self.output_usdc_per_mtok >= 0


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens counted, of all choices together."""

    prompt: int
    completion: int


@dataclass(frozen=True, slots=True)
class Split:
    """Where a buyer's money goes, in 1e-6 USDC: ``cost = earning + fee + margin``, always."""

    cost_usdc: int
    earning_usdc: int
    fee_usdc: int
    margin_usdc: int


def get_worth(tokens: Tokens, price: Price) -> int:
    """Return what ``tokens`` are worth, exactly, in 1e-12 USDC."""
    assert tokens.prompt >= 0
    assert tokens.completion >= 0
    return (
        tokens.prompt * price.input_usdc_per_mtok + tokens.completion * price.output_usdc_per_mtok
    )


def get_cost_usdc(tokens: Tokens, price: Price) -> int:
    """Return what ``tokens`` cost a buyer, rounded up."""
    return mul_div_up(get_worth(tokens, price), 1, TOKENS_PER_MTOK)


def split_cost(tokens: Tokens, price: Price, *, ceiling_usdc: int, fee_bps: int) -> Split:
    """Return the charge, never above what was reserved, and its parts.

    The fee comes out of the seller's price: a buyer pays what the offer says.
    """
    assert 0 <= fee_bps <= BPS_ONE
    worth = min(get_worth(tokens, price), ceiling_usdc * TOKENS_PER_MTOK)
    cost_usdc = mul_div_up(worth, 1, TOKENS_PER_MTOK)
    earning_usdc = worth * (BPS_ONE - fee_bps) // (TOKENS_PER_MTOK * BPS_ONE)
    fee_usdc = worth * fee_bps // (TOKENS_PER_MTOK * BPS_ONE)
    return Split(cost_usdc, earning_usdc, fee_usdc, cost_usdc - earning_usdc - fee_usdc)


def get_prompt_bound(*, body_bytes: int, messages: int, has_tools: bool) -> int:
    """Return a number of tokens that the prompt cannot exceed: a token is a byte or more."""
    bound = body_bytes + TEMPLATE_TOKENS + messages * TEMPLATE_TOKENS_PER_MESSAGE
    return bound + TEMPLATE_TOKENS_TOOLS if has_tools else bound


def estimate_prompt_tokens(*, body_bytes: int, messages: int) -> int:
    """Estimate a prompt's tokens: English has about four bytes a token, code about three."""
    return -(-body_bytes // ESTIMATED_BYTES_PER_TOKEN) + 4 * messages


def estimate_output_tokens(output_bytes: int) -> int:
    """Estimate the tokens of an answer whose seller reports none."""
    return -(-output_bytes // ESTIMATED_BYTES_PER_TOKEN)


def scale_price(reference: Price, multiplier_ppm: int) -> Price:
    """Return a multiple (1e-6) of a reference price, rounded down: in the buyer's favour.

    So an offer of half the reference price never costs a unit more than half of it.
    """
    return Price(
        reference.input_usdc_per_mtok * multiplier_ppm // PPM_ONE,
        reference.output_usdc_per_mtok * multiplier_ppm // PPM_ONE,
    )


def meets_discount(*, cost_usdc: int, direct_usdc: int, minimum_pct: int) -> bool:
    """Tell whether ``cost`` is at least ``minimum_pct`` below ``direct``, in integers only.

    An unknown reference price is given as 0 and proves no discount.
    """
    assert 0 <= minimum_pct <= 100
    return direct_usdc > 0 and cost_usdc * 100 <= direct_usdc * (100 - minimum_pct)


def get_discount_pct(*, cost_usdc: int, direct_usdc: int) -> float | None:
    """Return the discount to show, in per cent rounded down to a tenth; None without a reference.

    For people only: nothing is decided by it.
    """
    if direct_usdc <= 0:
        return None
    share = Decimal(100) - Decimal(cost_usdc) * 100 / Decimal(direct_usdc)
    return float(share.quantize(Decimal("0.1"), rounding=ROUND_FLOOR))


def parse_millionths(value: Any, *, maximum: int) -> int:
    """Return a JSON number or decimal string in units of 1e-6, exactly: nothing is rounded away.

    ``maximum`` is in whole units. Raises ``ValueError`` for what is negative, above it, of more
    than six decimals or no number at all. A number must have been parsed as ``Decimal`` or ``int``.
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise ValueError("must be a number")
    if isinstance(value, str) and _DECIMAL.fullmatch(value) is None:
        raise ValueError("must be a decimal number")
    number = Decimal(value)
    if not number.is_finite() or number < 0:
        raise ValueError("must be a number from 0")
    if number > maximum:
        raise ValueError(f"must be at most {maximum}")
    try:
        units = _EXACT.scaleb(number, Decimal(USDC_DECIMALS))
        is_whole = units == units.to_integral_value()
    except ArithmeticError:
        is_whole = False
    if not is_whole:
        raise ValueError("has more than six decimals")
    return int(units)


def show_millionths(units: int) -> float:
    """Return units of 1e-6 as a JSON number. Exact to six decimals below 1e9."""
    return float(Decimal(units) / USDC_ONE)
