"""Price ceilings and filters of a request: the lower of header and field holds."""

import pytest

from market.routing.filters import ANY_PRICE, Ceilings, Filters, parse_ceilings, parse_drain
from serving.http.errors import ApiError
from serving.models.prices import Price


def read(headers: dict[str, str]) -> Ceilings:
    return parse_ceilings(lambda name: headers.get(name.decode()))


def test_parse_ceilings__none_named__any_price() -> None:
    assert read({}) == ANY_PRICE
    filters = Filters(input_usdc_per_mtok_max=3)
    assert ANY_PRICE.lower(filters) is filters
    assert filters.has_ceilings
    assert not Filters().has_ceilings


def test_parse_ceilings__a_price_named_and_no_fee__no_fee_is_let_through() -> None:
    assert read({"x-market-max-output-usdc-per-mtok": "7"}) == Ceilings(None, 7, None, 0)
    assert read({"x-market-max-per-request-usdc": "9"}) == Ceilings(None, None, None, 9)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x-market-max-input-usdc-per-mtok", "1.5"),
        ("x-market-max-cached-input-usdc-per-mtok", "-1"),
        ("x-market-max-per-request-usdc", ""),
        ("x-market-max-longer-prompts", "200000"),
    ],
)
def test_parse_ceilings__malformed__400_that_names_the_header(name: str, text: str) -> None:
    with pytest.raises(ApiError, match=name) as caught:
        read({name: text})
    assert caught.value.code == "invalid_header"


def test_lower__header_and_field__the_lower_of_each_also_for_longer_prompts() -> None:
    ceilings = Ceilings(10, 20, 5, 600, ((200_000, Price(30, 40, 25)),))
    filters = Filters(
        input_usdc_per_mtok_max=22, output_usdc_per_mtok_max=15, per_request_usdc_max=700
    )

    found = ceilings.lower(filters)

    assert found.input_usdc_per_mtok_max == 10
    assert found.output_usdc_per_mtok_max == 15
    assert found.cached_input_usdc_per_mtok_max == 5
    assert found.per_request_usdc_max == 600
    # Cached input is at most what input may cost.
    assert found.longer_max == ((200_000, Price(22, 15, 22)),)


@pytest.mark.parametrize(("text", "drain_s"), [(None, None), ("0", 3.0), ("5", 5.0)])
def test_parse_drain__seconds__at_least_the_floor(text: str | None, drain_s: float | None) -> None:
    assert parse_drain(text) == drain_s


@pytest.mark.parametrize("text", ["", "1.5", "-1", "soon"])
def test_parse_drain__no_whole_number__400(text: str) -> None:
    with pytest.raises(ApiError, match="whole number of seconds"):
        parse_drain(text)
