"""Amounts as people write them: exact, or refused with the reason."""

from decimal import Decimal
from typing import Any

import pytest

from market.pricing.amounts import parse_millionths, show_millionths


@pytest.mark.parametrize(
    ("value", "units"),
    [(3, 3_000_000), ("0.000001", 1), (Decimal("12.5"), 12_500_000), ("10", 10_000_000)],
)
def test_parse_millionths__number_or_text__exact_and_shown_again(value: Any, units: int) -> None:
    assert parse_millionths(value, maximum=100) == units
    assert show_millionths(units) == float(value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (True, "must be a number"),
        (None, "must be a number"),
        (1.5, "must be a number"),
        ("1e3", "must be a decimal number"),
        ("\u0661", "must be a decimal number"),
        (-1, "must be a number from 0"),
        (Decimal("NaN"), "must be a number from 0"),
        (Decimal("Infinity"), "must be a number from 0"),
        (101, "must be at most 100"),
        ("0.0000001", "more than six decimals"),
    ],
)
def test_parse_millionths__anything_else__says_why(value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_millionths(value, maximum=100)
