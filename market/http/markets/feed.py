"""The market's events as answers show them."""

from typing import Any, Final

from sqlalchemy import RowMapping

from market.http.markets.schemas import Event, OfferEvent, SaleEvent
from market.http.offers.describing import describe_stored_tiers
from market.identity.provider_names import ProviderNames
from market.listing.feed import FeedCursor
from market.pricing.amounts import show_millionths
from market.pricing.media_units import UNITS
from serving.models.prices import Price

_TOKEN_PRICES: Final = ("input", "output", "cached_input")


def describe_event(cursor: FeedCursor, row: RowMapping, names: ProviderNames) -> Event:
    """Return one event of the feed."""
    return _describe_sale(cursor, row) if cursor.is_sale else _describe_offer(row, names)


def _describe_sale(cursor: FeedCursor, row: RowMapping) -> SaleEvent:
    unit = row["unit"]
    return SaleEvent(
        at=cursor.at_s,
        model=row["model"],
        endpoint=row["endpoint"],
        offer_id=row["offer_id"],
        prompt_tokens=row["prompt_tokens"] if unit is None else None,
        completion_tokens=row["completion_tokens"] if unit is None else None,
        cached_tokens=row["cached_tokens"] if unit is None else None,
        base=None if unit is None else UNITS[unit].base,
        quantity=None if unit is None else row["prompt_tokens"],
        cost_usdc=int(row["cost_usdc"]),
    )


def _describe_offer(row: RowMapping, names: ProviderNames) -> OfferEvent:
    is_new = row["version"] == 0 and row["changed_at_s"] == row["created_at_s"]
    deleted = row["status"] == "deleted"
    return OfferEvent(
        event="offer_deleted" if deleted else "offer_listed" if is_new else "offer_changed",
        at=int(row["changed_at_s"]),
        model=row["model"],
        offer_id=row["offer_id"],
        provider=names.find_provider(row["seller_base_url"]),
        label=row["label"],
        status=row["status"],
        **_describe_price(row),
    )


def _describe_price(row: RowMapping) -> dict[str, Any]:
    unit, multiplier_ppm = row["unit"], row["cost_multiplier_ppm"]
    shown: dict[str, Any] = {
        "price_input_per_1m": None,
        "price_output_per_1m": None,
        "price_cached_input_per_1m": None,
        "price_per_request": None,
        "tiers": [],
        "unit": unit,
        "price_per_unit": None,
        "cost_multiplier": None,
    }
    if multiplier_ppm is not None:
        return shown | {"cost_multiplier": show_millionths(multiplier_ppm)}
    if unit is not None:
        price = Price(int(row["price_input_usdc_per_mtok"]), 0)
        return shown | {"price_per_unit": show_millionths(UNITS[unit].to_per_unit_usdc(price))}
    fee_usdc = row["price_per_request_usdc"]
    shown["price_per_request"] = None if fee_usdc is None else show_millionths(int(fee_usdc))
    shown["tiers"] = describe_stored_tiers(row["price_tiers"])
    return shown | {
        f"price_{side}_per_1m": None if units is None else show_millionths(int(units))
        for side in _TOKEN_PRICES
        for units in (row[f"price_{side}_usdc_per_mtok"],)
    }
