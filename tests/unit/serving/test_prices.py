"""What tokens cost, and the largest output limit that an amount pays for. In 1e-6 USDC."""

import pytest

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
    scale_price,
)

USUAL = Price(3_000_000, 15_000_000)


@pytest.mark.parametrize(
    ("tokens", "price", "cost_usdc"),
    [
        (Tokens(0, 0), USUAL, 0),
        (Tokens(1, 0), Price(1, 1), 1),
        (Tokens(1_000, 100), USUAL, 4_500),
        (Tokens(1_000, 0, 600), Price(3_000_000, 0, 300_000), 1_380),
        # A fee is due once a token was used.
        (Tokens(1, 0), Price(0, 0, None, 600), 600),
        (Tokens(0, 0), Price(0, 0, None, 600), 0),
    ],
)
def test_cost__tokens__rounded_up(tokens: Tokens, price: Price, cost_usdc: int) -> None:
    assert get_cost_usdc(tokens, price) == cost_usdc


def test_charge__above_the_ceiling__the_ceiling() -> None:
    assert get_charge_usdc(Tokens(1_000, 100), USUAL, ceiling_usdc=4_499) == 4_499
    assert get_charge_usdc(Tokens(1_000, 100), USUAL, ceiling_usdc=9_999) == 4_500


@pytest.mark.parametrize(
    ("affordable_usdc", "choices", "max_tokens"),
    [(4_500, 1, 100), (4_514, 1, 100), (4_515, 1, 101), (4_500, 2, 50), (3_000, 1, 1), (0, 1, 1)],
)
def test_fit_max_tokens__an_amount__pays_for_it_and_not_for_one_more(
    affordable_usdc: int, choices: int, max_tokens: int
) -> None:
    def ceiling(most: int) -> int:
        return get_ceiling_usdc(prompt_bound=1_000, max_tokens=most, choices=choices, price=USUAL)

    found = fit_max_tokens(
        affordable_usdc=affordable_usdc,
        prompt_bound=1_000,
        max_tokens=4_096,
        choices=choices,
        price=USUAL,
    )

    assert found == max_tokens
    assert found == 1 or ceiling(found) <= affordable_usdc < ceiling(found + 1)


def test_fit_max_tokens__free_output_or_enough__what_was_asked_for() -> None:
    for price, affordable_usdc in ((Price(1, 0), 0), (USUAL, 10**9)):
        assert (
            fit_max_tokens(
                affordable_usdc=affordable_usdc,
                prompt_bound=10,
                max_tokens=77,
                choices=1,
                price=price,
            )
            == 77
        )


def test_scale_price__half_of_an_odd_price__rounded_down() -> None:
    assert scale_price(Price(3, 5, 1, 7), 500_000) == Price(1, 2, 0, 3)
    assert scale_price(Price(3, 5), 500_000) == Price(1, 2)


@pytest.mark.parametrize(
    ("cost", "direct", "minimum_pct", "meets"),
    [(50, 100, 50, True), (51, 100, 50, False), (0, 0, 0, False), (100, 100, 0, True)],
)
def test_meets_discount__exactly(cost: int, direct: int, minimum_pct: int, meets: bool) -> None:
    assert meets_discount(cost=cost, direct=direct, minimum_pct=minimum_pct) is meets


def test_discount_pct__rounded_down_to_a_tenth__none_without_a_reference() -> None:
    assert get_discount_pct(cost=1, direct=3) == 66.6
    assert get_discount_pct(cost=1, direct=0) is None


def test_prompt_bound__tools_and_a_short_context__bounded_by_the_context() -> None:
    bare = get_prompt_bound(body_bytes=100, messages=1, has_tools=False)

    assert get_prompt_bound(body_bytes=100, messages=1, has_tools=True) == bare + 1_024
    assert get_prompt_bound(body_bytes=100, messages=1, has_tools=True, context_tokens=50) == 50
