"""What a market says that it charged, read from headers and from the record of a request."""

from typing import Any

import pytest

from serving.models.sold import (
    COST_USDC_MAX,
    Sale,
    read_cost,
    read_cost_header,
    read_sale,
    read_sale_id,
)


@pytest.mark.parametrize(
    ("value", "cost_usdc"),
    [
        (0, 0),
        (COST_USDC_MAX, COST_USDC_MAX),
        (COST_USDC_MAX + 1, None),
        (-1, None),
        (True, None),
        (1.0, None),
        ("1", None),
        (None, None),
    ],
)
def test_read_cost__only_a_whole_amount__is_one(value: Any, cost_usdc: int | None) -> None:
    assert read_cost(value) == cost_usdc


@pytest.mark.parametrize(
    ("headers", "cost_usdc"),
    [
        ({}, None),
        ({"x-market-cost-usdc": "130"}, 130),
        ({"x-market-cost-usdc": "-1"}, None),
        ({"x-market-cost-usdc": "1.5"}, None),
        ({"x-market-cost-usdc": "\u0663"}, None),
        ({"x-market-cost-usdc": "9" * 19}, None),
        ({"x-market-cost-usdc": "1" * 400}, None),
        ({"x-market-cost-usdc": "0", "x-market-own-provider": "pr_1"}, None),
    ],
)
def test_read_cost_header__of_a_sale_only(headers: dict[str, str], cost_usdc: int | None) -> None:
    assert read_cost_header(headers.get) == cost_usdc


@pytest.mark.parametrize(
    ("headers", "sale_id"),
    [
        ({"x-request-id": "req_1-A", "x-market-offer": "of_1"}, "req_1-A"),
        ({"x-request-id": "req_1"}, None),
        ({"x-market-offer": "of_1"}, None),
        ({"x-request-id": "", "x-market-offer": "of_1"}, None),
        ({"x-request-id": "../keys", "x-market-offer": "of_1"}, None),
        ({"x-request-id": "a" * 65, "x-market-offer": "of_1"}, None),
    ],
)
def test_read_sale_id__fits_into_a_path__or_none(
    headers: dict[str, str], sale_id: str | None
) -> None:
    assert read_sale_id(headers.get) == sale_id


@pytest.mark.parametrize(
    ("record", "sale"),
    [
        ({"cost_usdc": 5, "prompt_tokens": 3, "completion_tokens": 2}, Sale(5, 3, 2)),
        ({"cost_usdc": 0, "prompt_tokens": None}, Sale(0, 0, 0)),
        ({"cost_usdc": None, "prompt_tokens": 3}, None),
        ({}, None),
        ({"cost_usdc": 5, "prompt_tokens": -1}, None),
        ({"cost_usdc": 5, "completion_tokens": 1.5}, None),
        ({"cost_usdc": 5, "completion_tokens": 2**80}, None),
    ],
)
def test_read_sale__settled_and_sensible__or_none(
    record: dict[str, Any], sale: Sale | None
) -> None:
    assert read_sale(record) == sale
