"""Amounts as people write and read them: decimal numbers, kept in units of 1e-6. Pure."""

import re
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final

from contracts.units import USDC_DECIMALS, USDC_ONE

_EXACT: Final = Context(prec=40, traps=[Inexact, InvalidOperation])
"""Enough digits for every valid amount; a number with more digits is refused, not rounded."""

_DECIMAL: Final = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?")


def parse_millionths(value: Any, *, maximum: int) -> int:
    """Return a JSON number or decimal string in units of 1e-6, exactly: nothing is rounded away.

    ``maximum`` is in whole units. Raises ``ValueError`` for a value that is negative, above the
    maximum, of more than six decimals or no number. A number must have been parsed as ``Decimal``
    or ``int``.
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
