"""``contracts.units``: exact parsing, and rounding in the direction that each name says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.units import USDC_MAX, format_usdc, mul_div_down, mul_div_up, parse_usdc, utc_day

AMOUNTS = st.integers(0, 2**80)


@given(st.integers(0, USDC_MAX))
def test_parse_usdc__what_format_wrote__comes_back(amount_usdc: int) -> None:
    assert parse_usdc(format_usdc(amount_usdc)) == amount_usdc


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "-0",
        "1.0000001",
        "1_000",
        " 1",
        "1e3",
        "+1",
        "\u0661",
        "NaN",
        "inf",
        "1e400",
        "0x1",
        "9223372036854.775808",
    ],
)
def test_parse_usdc__nonsense__refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"USDC"):
        parse_usdc(text)


@given(AMOUNTS, AMOUNTS, st.integers(1, 2**80))
def test_mul_div__any_amounts__rounds_as_named(value: int, numerator: int, divisor: int) -> None:
    down, up = mul_div_down(value, numerator, divisor), mul_div_up(value, numerator, divisor)
    assert down * divisor <= value * numerator <= up * divisor
    assert up - down == (value * numerator % divisor != 0)


def test_utc_day__around_midnight__changes_at_it() -> None:
    assert [utc_day(second) for second in (0, 86_399, 86_400)] == [0, 0, 1]
