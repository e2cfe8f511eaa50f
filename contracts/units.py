"""Integer quantities: their names, their bounds and the only arithmetic that rounds.

Every amount in the system is an ``int`` of the smallest unit; these aliases and helpers say which.
Pure. Standard library only, so that every pure module may import it.
"""

import re
from decimal import Decimal
from typing import Final, NewType

Usdc = NewType("Usdc", int)
"""An amount of USDC in 1e-6 USDC. The contracts hold it in 64 bits."""

USDC_DECIMALS: Final = 6
USDC_ONE: Final = 10**USDC_DECIMALS
USDC_MAX: Final = 2**63 - 1
"""Largest amount that the ledger stores: the widest integer of SQLite and of BIGINT."""

BPS_ONE: Final = 10_000
TOKENS_PER_MTOK: Final = 1_000_000
SECONDS_PER_DAY: Final = 86_400
UINT256_MAX: Final = 2**256 - 1

_DECIMAL: Final = re.compile(r"[0-9]{1,30}(?:\.[0-9]{1,30})?|\.[0-9]{1,30}")


def mul_div_down(value: int, numerator: int, denominator: int) -> int:
    """Return ``value * numerator / denominator`` rounded down: for what we pay or promise."""
    assert value >= 0
    assert numerator >= 0
    assert denominator > 0
    return value * numerator // denominator


def mul_div_up(value: int, numerator: int, denominator: int) -> int:
    """Return ``value * numerator / denominator`` rounded up: for what a buyer is charged."""
    assert value >= 0
    assert numerator >= 0
    assert denominator > 0
    return -(-value * numerator // denominator)


def utc_day(timestamp_s: int) -> int:
    """Return the number of whole UTC days since 1970-01-01 at ``timestamp_s``."""
    return timestamp_s // SECONDS_PER_DAY


def parse_usdc(text: str) -> Usdc:
    """Parse a decimal USDC amount such as ``"12.5"`` into 1e-6 units, exactly.

    Raises ``ValueError`` for anything that is not a plain non-negative decimal number, that has
    more than six decimals (nothing is rounded away) or that exceeds ``USDC_MAX``.
    """
    # Decimal takes more: spaces, underscores, exponents, digits of other scripts.
    if _DECIMAL.fullmatch(text) is None:
        raise ValueError(f"not a decimal USDC amount: {text!r}")
    units = Decimal(text).scaleb(USDC_DECIMALS)
    if units != units.to_integral_value():
        raise ValueError(f"USDC has six decimals: {text!r}")
    if units > USDC_MAX:
        raise ValueError(f"USDC amount is too large: {text!r}")
    return Usdc(int(units))


def format_usdc(amount_usdc: int) -> str:
    """Format 1e-6 USDC as a decimal string with six decimals, e.g. ``1500000`` -> ``1.500000``."""
    sign = "-" if amount_usdc < 0 else ""
    whole, fraction = divmod(abs(amount_usdc), USDC_ONE)
    return f"{sign}{whole}.{fraction:06d}"
