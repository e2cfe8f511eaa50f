"""The most that a request may cost by a list of prices: how a proxy says it in headers, and how a
market reads it. Pure.

Other upstreams take no notice of these headers.
"""

import re
from collections.abc import Mapping
from typing import Final

from serving.models.price_list import TIERS_MAX
from serving.models.prices import Price
from serving.models.terms import Tiers

INPUT_CEILING: Final = "x-market-max-input-usdc-per-mtok"
OUTPUT_CEILING: Final = "x-market-max-output-usdc-per-mtok"
CACHED_INPUT_CEILING: Final = "x-market-max-cached-input-usdc-per-mtok"
PER_REQUEST_CEILING: Final = "x-market-max-per-request-usdc"
"""Where another ceiling is named and this is not, no fee is let through."""
LONGER_CEILINGS: Final = "x-market-max-longer-prompts"
"""``<above prompt tokens>=<input>/<output>/<cached input>``, ascending, with commas between."""

_LONGER: Final = re.compile(r"([0-9]{1,9})=([0-9]{1,18})/([0-9]{1,18})/([0-9]{1,18})")


def write_ceilings(tiers: Tiers) -> Mapping[str, str]:
    """Return the headers that say that nothing dearer than ``tiers`` may serve."""
    (_, price), *longer = tiers
    headers = {
        INPUT_CEILING: str(price.input_usdc_per_mtok),
        OUTPUT_CEILING: str(price.output_usdc_per_mtok),
        CACHED_INPUT_CEILING: str(price.cached_usdc_per_mtok),
    }
    if price.per_request_usdc:
        headers[PER_REQUEST_CEILING] = str(price.per_request_usdc)
    if longer:
        headers[LONGER_CEILINGS] = ",".join(
            f"{above}={one.input_usdc_per_mtok}/{one.output_usdc_per_mtok}"
            f"/{one.cached_usdc_per_mtok}"
            for above, one in longer
        )
    return headers


def read_longer(text: str) -> Tiers:
    """Return the ceilings of longer prompts that a header states.

    Raises ``ValueError``, whose text says what of the header is wrong.
    """
    tiers: list[tuple[int, Price]] = []
    for part in text.split(","):
        match = _LONGER.fullmatch(part.strip())
        above, *prices = (0, 0, 0, 0) if match is None else map(int, match.groups())
        if above <= (tiers[-1][0] if tiers else 0) or prices[2] > prices[0]:
            raise ValueError(
                "must be a list of <above prompt tokens>=<input>/<output>/<cached input>, ascending"
            )
        tiers.append((above, Price(*prices)))
    if len(tiers) > TIERS_MAX:
        raise ValueError(f"has more than {TIERS_MAX} parts")
    return tuple(tiers)
