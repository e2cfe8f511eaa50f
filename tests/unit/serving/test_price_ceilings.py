"""Price ceilings in headers: a proxy writes them, a market reads the same back."""

import pytest

from serving.models.price_ceilings import (
    CACHED_INPUT_CEILING,
    INPUT_CEILING,
    LONGER_CEILINGS,
    OUTPUT_CEILING,
    PER_REQUEST_CEILING,
    read_longer,
    write_ceilings,
)
from serving.models.price_list import TIERS_MAX
from serving.models.prices import Price


def test_write_ceilings__one_price__no_fee_and_no_longer_prompts() -> None:
    assert write_ceilings(((0, Price(10, 20)),)) == {
        INPUT_CEILING: "10",
        OUTPUT_CEILING: "20",
        CACHED_INPUT_CEILING: "10",
    }


def test_write_ceilings__fee_and_longer_prompts__each_in_its_header() -> None:
    tiers = ((0, Price(10, 20, 5, 600)), (200_000, Price(30, 40, 15)), (400_000, Price(50, 60)))

    headers = write_ceilings(tiers)

    assert headers[PER_REQUEST_CEILING] == "600"
    assert headers[LONGER_CEILINGS] == "200000=30/40/15,400000=50/60/50"
    assert read_longer(headers[LONGER_CEILINGS]) == (
        (200_000, Price(30, 40, 15)),
        (400_000, Price(50, 60, 50)),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "200000",
        "200000=1/2",
        "200000=1/2/3",  # cached input dearer than input
        "0=1/2/1",
        "5=1/2/1,5=1/2/1",
        "9=1/2/1,5=1/2/1",
        "5=1/-2/1",
        "5=1/2/1,",
        f"5={10**18}/2/1",
    ],
)
def test_read_longer__malformed_or_not_ascending__says_the_form(text: str) -> None:
    with pytest.raises(ValueError, match="ascending"):
        read_longer(text)


def test_read_longer__too_many__refused() -> None:
    text = ", ".join(f"{above}=1/2/1" for above in range(1, TIERS_MAX + 2))

    with pytest.raises(ValueError, match="more than"):
        read_longer(text)
    assert len(read_longer(text.rpartition(",")[0])) == TIERS_MAX
