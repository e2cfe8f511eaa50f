"""Prices: a charge never passes its ceiling, rounds up by less than a unit, and grows with use."""

from dataclasses import replace
from fractions import Fraction

from hypothesis import assume, given
from hypothesis import strategies as st

from serving.models.bounds import get_prompt_bound
from serving.models.prices import (
    Price,
    Tokens,
    fit_max_tokens,
    get_ceiling_usdc,
    get_charge_usdc,
    get_cost_usdc,
    get_discount_pct,
    meets_discount,
)

amounts = st.integers(0, 10**12)
counts = st.integers(0, 2**31)
prices = st.builds(Price, amounts, amounts)
tokens = st.builds(Tokens, counts, counts)
choices = st.integers(1, 128)


@given(tokens, prices)
def test_cost__is_exact_rounded_up(tokens: Tokens, price: Price) -> None:
    exact = Fraction(
        tokens.prompt * price.input_usdc_per_mtok + tokens.completion * price.output_usdc_per_mtok,
        1_000_000,
    )

    assert 0 <= get_cost_usdc(tokens, price) - exact < 1


@given(tokens, prices, st.integers(0, 10**10), st.integers(0, 10**9), choices)
def test_fee_of_a_request__any__is_added_once_and_fits_what_is_affordable(
    tokens: Tokens, price: Price, fee_usdc: int, left_usdc: int, choices: int
) -> None:
    with_fee = replace(price, per_request_usdc=fee_usdc)
    is_used = tokens.prompt + tokens.completion > 0
    assert get_cost_usdc(tokens, with_fee) == get_cost_usdc(tokens, price) + fee_usdc * is_used

    request = {"prompt_bound": tokens.prompt, "max_tokens": 4_096, "choices": choices}
    without = fit_max_tokens(affordable_usdc=left_usdc, price=price, **request)
    assert (
        fit_max_tokens(affordable_usdc=left_usdc + fee_usdc, price=with_fee, **request) == without
    )


@given(tokens, prices, st.integers(0, 10), st.integers(0, 10))
def test_cost__more_tokens__never_cheaper(
    tokens: Tokens, price: Price, prompt: int, completion: int
) -> None:
    more = Tokens(tokens.prompt + prompt, tokens.completion + completion)

    assert get_cost_usdc(more, price) >= get_cost_usdc(tokens, price)


@given(tokens, prices, counts, st.integers(1, 4_096), choices)
def test_charge__never_above_ceiling(
    tokens: Tokens, price: Price, prompt_bound: int, max_tokens: int, choices: int
) -> None:
    ceiling_usdc = get_ceiling_usdc(
        prompt_bound=prompt_bound, max_tokens=max_tokens, choices=choices, price=price
    )
    charge_usdc = get_charge_usdc(tokens, price, ceiling_usdc=ceiling_usdc)

    assert 0 <= charge_usdc <= ceiling_usdc
    if tokens.prompt <= prompt_bound and tokens.completion <= max_tokens * choices:
        assert charge_usdc == get_cost_usdc(tokens, price)


@given(amounts, counts, st.integers(1, 4_096), choices, prices)
def test_fit__is_the_largest_that_is_affordable(
    affordable_usdc: int, prompt_bound: int, max_tokens: int, choices: int, price: Price
) -> None:
    def ceiling_usdc(limit: int) -> int:
        return get_ceiling_usdc(
            prompt_bound=prompt_bound, max_tokens=limit, choices=choices, price=price
        )

    fitted = fit_max_tokens(
        affordable_usdc=affordable_usdc,
        prompt_bound=prompt_bound,
        max_tokens=max_tokens,
        choices=choices,
        price=price,
    )

    assert 1 <= fitted <= max_tokens
    assume(ceiling_usdc(1) <= affordable_usdc)
    assert ceiling_usdc(fitted) <= affordable_usdc
    assert fitted == max_tokens or ceiling_usdc(fitted + 1) > affordable_usdc


@given(counts, st.integers(1, 1_000), st.booleans(), st.none() | st.integers(1, 10**7))
def test_prompt_bound__bytes_or_context(
    body_bytes: int, messages: int, has_tools: bool, context: int | None
) -> None:
    bound = get_prompt_bound(
        body_bytes=body_bytes, messages=messages, has_tools=has_tools, context_tokens=context
    )

    assert bound > body_bytes or bound == context


@given(amounts, amounts, st.integers(0, 100))
def test_discount__is_decided_exactly(cost_usdc: int, direct_usdc: int, minimum_pct: int) -> None:
    met = meets_discount(cost=cost_usdc, direct=direct_usdc, minimum_pct=minimum_pct)

    if direct_usdc == 0:
        assert not met
        assert get_discount_pct(cost=cost_usdc, direct=direct_usdc) is None
    else:
        assert met == (100 * (1 - Fraction(cost_usdc, direct_usdc)) >= minimum_pct)
