"""What an offer's row says that it costs. Pure."""

from collections.abc import Mapping
from typing import Any

from serving.models.prices import Price


def read_price(row: Mapping[Any, Any]) -> Price:
    """Return the price that the row of an offer states, in 1e-6 USDC per 1e6 tokens.

    To be asked only of an offer that is not priced by a multiplier.
    """
    input_price = int(row["price_input_usdc_per_mtok"])
    cached_price = row["price_cached_input_usdc_per_mtok"]
    if cached_price is not None:
        # Two changes at the same time may have left it above: the buyer pays the lesser.
        cached_price = min(int(cached_price), input_price)
    fee_usdc = row["price_per_request_usdc"] or 0
    return Price(input_price, int(row["price_output_usdc_per_mtok"]), cached_price, int(fee_usdc))
