"""What amounts of money are read from, and what a sale comes to, at the edges."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine

from ledger.selling.sale_records import SaleFigures
from ledger.selling.sales import post_sale
from market.pricing.amounts import parse_millionths
from market.pricing.offer_prices import read_tiers, write_tiers
from market.routing.ranking import Ask, Offer, OfferState, assess
from market.routing.refusing import LAST_S, LAST_S_MAX, REFUSALS_BORNE, Refusing, refuse
from market.routing.reservations import build_figures
from serving.http.errors import ApiError
from serving.http.strict_json import parse_exact_json
from serving.models.prices import Price, Tokens

PRICE = Price(5_000_000, 20_000_000)


def make_terms(**changes: Any) -> Any:
    terms = {"fee_bps": 500, "ceiling_usdc": 3_000, "flat_fee_usdc": 1_000}
    return SimpleNamespace(**{**terms, **changes})


@given(
    st.builds(Tokens, st.integers(0, 2**31), st.integers(0, 2**31)),
    st.integers(0, 10**6),
    st.integers(0, 10**9),
    st.integers(0, 10_000),
)
def test_figures__whatever_is_counted__fee_and_cost_stay_within_the_ceiling(
    tokens: Tokens, flat_fee_usdc: int, above_usdc: int, fee_bps: int
) -> None:
    ceiling_usdc = flat_fee_usdc + above_usdc
    figures = build_figures(
        make_terms(ceiling_usdc=ceiling_usdc, flat_fee_usdc=flat_fee_usdc, fee_bps=fee_bps),
        tokens,
        PRICE,
    )
    assert flat_fee_usdc <= figures.cost_usdc <= ceiling_usdc
    assert figures.margin_usdc >= flat_fee_usdc, "the fee is the operator's, not the seller's"
    assert figures.earning_usdc + figures.fee_usdc <= above_usdc
    assert figures.cost_usdc == figures.earning_usdc + figures.fee_usdc + figures.margin_usdc


def test_figures__at_the_bound__are_the_ceiling() -> None:
    figures = build_figures(make_terms(), Tokens(10**6, 10**6), PRICE)
    assert (figures.cost_usdc, figures.margin_usdc) == (3_000, 1_000)
    assert figures.earning_usdc == 1_900


def test_figures__cached_tokens__are_charged_at_their_price_and_written_down() -> None:
    price = Price(5_000_000, 20_000_000, 500_000)
    figures = build_figures(make_terms(), Tokens(20, 10, cached=16), price)
    # 4 x 5 + 16 x 0.5 + 10 x 20 USD a million tokens, and the fee of 1,000.
    assert (figures.cost_usdc, figures.earning_usdc, figures.fee_usdc) == (1_228, 217, 11)
    assert figures.cached_tokens == 16


def test_read_tiers__cached_above_input__is_the_input_price() -> None:
    row: dict[str, Any] = {"price_input_usdc_per_mtok": 5, "price_output_usdc_per_mtok": 7}
    row |= {"price_per_request_usdc": 0, "price_tiers": None}
    for cached, price in ((6, Price(5, 7, 5)), (0, Price(5, 7, 0)), (None, Price(5, 7))):
        assert read_tiers({**row, "price_cached_input_usdc_per_mtok": cached}) == ((0, price),)


def test_read_tiers__longer_prompts__have_their_prices_and_the_same_fee() -> None:
    row: dict[str, Any] = {"price_input_usdc_per_mtok": 5, "price_output_usdc_per_mtok": 7}
    row |= {"price_per_request_usdc": 3, "price_cached_input_usdc_per_mtok": 1}
    row["price_tiers"] = write_tiers([(200_000, 10, 9, 2), (400_000, 8, 9, None)])
    assert read_tiers(row) == (
        (0, Price(5, 7, 1, 3)),
        (200_000, Price(10, 9, 2, 3)),
        (400_000, Price(8, 9, None, 3)),
    )


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": 1e99999999999999999999}',
        b'{"a": 1e-99999999999999999999}',
        b'{"a": ' + b"9" * 5_000 + b"}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"\\ud800": 1}',
        b'{"a": "\\udc00"}',
        b'{"a": "\xff"}',
        '{"a": 1}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"a": 1} x',
        b"",
    ],
)
def test_parse_json__what_another_reader_would_read_otherwise__is_refused(raw: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        parse_exact_json(raw)
    assert refused.value.status == 400
    assert refused.value.body()


@pytest.mark.parametrize(
    "text",
    [
        "12.000000000000000000000000000000000000001",
        "999999999.00000000000000000001",
        "0.0000001",
        "1e-7",
        "1e-999999",
        "1e-999999999999",
    ],
)
def test_parse_millionths__more_decimals_than_any_context_keeps__are_not_rounded_away(
    text: str,
) -> None:
    with pytest.raises(ValueError, match="more than six decimals"):
        parse_millionths(Decimal(text), maximum=10**9)


@pytest.mark.parametrize(
    ("text", "units"),
    [("1." + "0" * 60, 10**6), ("1e9", 10**15), ("0e-99", 0), ("0e999999", 0), ("-0.0", 0)],
)
def test_parse_millionths__zeros_of_any_number__change_nothing(text: str, units: int) -> None:
    assert parse_millionths(Decimal(text), maximum=10**9) == units


def test_refuse__again_and_again__is_asked_last_for_longer_and_comes_back() -> None:
    refusing, now_s = Refusing(), 1_000.0
    for _ in range(REFUSALS_BORNE - 1):
        refusing = refuse(refusing, now_s=now_s)
        assert not refusing.is_last(now_s)
    waits = []
    for _ in range(12):
        refusing = refuse(refusing, now_s=now_s)
        assert refusing.is_last(now_s)
        assert not refusing.is_last(refusing.last_until_s)
        waits.append(refusing.last_until_s - now_s)
    assert waits[:3] == [LAST_S, 2 * LAST_S, 4 * LAST_S]
    assert waits[-1] == LAST_S_MAX


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**9))
def test_assess__with_a_fee__reserves_all_that_may_be_charged(
    prompt: int, completion: int, flat_fee_usdc: int
) -> None:
    bound = Tokens(prompt, completion)
    offer = Offer("o", "m", "s", Price(5_000_000, 20_000_000))
    ask = Ask("m", Tokens(prompt // 2, completion // 2), bound, flat_fee_usdc=flat_fee_usdc)
    verdict = assess(offer, OfferState(), ask)
    figures = build_figures(
        make_terms(ceiling_usdc=verdict.ceiling_usdc, flat_fee_usdc=flat_fee_usdc), bound, PRICE
    )
    assert figures.cost_usdc == verdict.ceiling_usdc == 5 * prompt + 20 * completion + flat_fee_usdc
    assert figures.earning_usdc + figures.fee_usdc <= verdict.ceiling_usdc - flat_fee_usdc


@pytest.mark.parametrize("cost_usdc", [0, 299, 301, 10**9])
def test_post__of_parts_that_do_not_make_the_cost__is_refused(cost_usdc: int) -> None:
    figures = SaleFigures(20, 10, cost_usdc, 285, 15, 0, 5_000_000, 20_000_000)
    with create_engine("sqlite://").begin() as connection, pytest.raises(ValueError, match="parts"):
        post_sale(connection, "sale", figures, now_s=0)


@pytest.mark.parametrize(
    ("fee_bps", "fees"),
    [
        (500, [0] * 19 + [1]),
        (1_000, [0] * 9 + [1] * 10 + [2]),
        (5_000, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10]),
        (0, [0] * 20),
        (10_000, list(range(1, 21))),
    ],
)
def test_figures__sales_of_1_to_20_units__the_fee_is_never_more_than_was_agreed(
    fee_bps: int, fees: list[int]
) -> None:
    terms = make_terms(ceiling_usdc=20, fee_bps=fee_bps, flat_fee_usdc=0)
    for units, fee_usdc in enumerate(fees, start=1):
        figures = build_figures(terms, Tokens(units, 0), Price(1_000_000, 0))
        assert (figures.cost_usdc, figures.fee_usdc, figures.margin_usdc) == (units, fee_usdc, 0)
        assert figures.earning_usdc == units - fee_usdc


@pytest.mark.parametrize(
    ("price_usdc_per_mtok", "tokens", "cost_usdc"),
    [
        (1, 1, 1),
        (1, 1_000_000, 1),
        (1, 1_000_001, 2),
        (999_999, 1, 1),
        (1_000_001, 1, 2),
        (0, 9, 0),
    ],
)
def test_figures__parts_of_a_unit__cost_the_next_unit_once_and_are_the_sellers(
    price_usdc_per_mtok: int, tokens: int, cost_usdc: int
) -> None:
    price = Price(price_usdc_per_mtok, 0)
    figures = build_figures(make_terms(flat_fee_usdc=0), Tokens(tokens, 0), price)
    assert (figures.cost_usdc, figures.earning_usdc, figures.fee_usdc) == (cost_usdc, cost_usdc, 0)
