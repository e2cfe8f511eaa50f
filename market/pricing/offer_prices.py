"""What an offer's row says that it costs. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from serving.models.prices import Price
from serving.models.terms import Tiers

StoredTier = tuple[int, int, int, int | None]
"""(more than this many prompt tokens, input, output, cached input), in 1e-6 USDC per 1e6 tokens."""


def write_tiers(tiers: Sequence[StoredTier]) -> str:
    """Return the prices of longer prompts as an offer's row has them."""
    return json.dumps(tiers, separators=(",", ":"))


def read_stored_tiers(text: str | None) -> list[StoredTier]:
    """Return the prices of longer prompts that a row has, ascending."""
    return [] if text is None else [tuple(tier) for tier in json.loads(text)]


def read_tiers(row: Mapping[Any, Any]) -> Tiers:
    """Return the prices that the row of an offer states, by the length of the prompt.

    To be asked only of an offer that is not priced by a multiplier. The fee of a request is the
    same at every length.
    """
    fee_usdc = int(row["price_per_request_usdc"] or 0)
    input_price = int(row["price_input_usdc_per_mtok"])
    output_price = int(row["price_output_usdc_per_mtok"])
    cached_price = row["price_cached_input_usdc_per_mtok"]
    if cached_price is not None:
        # Older markets let two changes at once leave it above: the buyer pays the lesser.
        cached_price = min(int(cached_price), input_price)
    tiers = [(0, Price(input_price, output_price, cached_price, fee_usdc))]
    for above, input_price, output_price, cached_price in read_stored_tiers(row["price_tiers"]):
        tiers.append((above, Price(input_price, output_price, cached_price, fee_usdc)))
    return tuple(tiers)
