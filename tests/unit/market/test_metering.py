"""What a stream is charged, and what its seller is held to have served."""

from typing import Any, cast

import pytest

from market.text.metering import SaleBooking
from serving.models.counting import Counted
from serving.models.prices import Tokens

COUNTED = Counted(Tokens(20, 10), is_estimated=False)


class Charge:
    """A reservation that is charged 7, or given back."""

    sale_id, lease_s = "s", 60.0

    def __init__(self) -> None:
        self.done: list[str] = []

    async def post(self, _: Tokens, **__: Any) -> int:
        self.done.append("posted")
        return 7

    async def void(self, reason: str, **_: Any) -> None:
        self.done.append(reason)


@pytest.mark.parametrize(
    ("other", "cost_usdc", "done"),
    [
        (None, 7, ["posted", "good"]),
        ("said 'gpt-4o-mini'", 0, ["wrong_model", "said 'gpt-4o-mini'"]),
    ],
)
async def test_post__stream_names_another_model__counts_against_the_offer_and_is_no_good_one(
    other: str | None, cost_usdc: int, done: list[str]
) -> None:
    charge = Charge()

    async def take_mismatch(said: str) -> None:
        charge.done.append(said)

    booking = SaleBooking(
        cast(Any, charge),
        cast(Any, None),
        find_other=lambda: other,
        take_mismatch=take_mismatch,
        take_good=lambda: charge.done.append("good"),
    )

    assert await booking.post(COUNTED) == cost_usdc
    assert charge.done == done
