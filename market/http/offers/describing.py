"""An offer as its seller sees it. Pure."""

from collections.abc import Mapping
from typing import Any

import orjson

from contracts.units import USDC_ONE
from market.endpoints.health import HealthReport
from market.http.offers.schemas import OfferTier, OfferView
from market.pricing.amounts import show_millionths
from market.pricing.media_units import UNITS
from market.pricing.offer_prices import read_stored_tiers
from serving.models.grades import Grade
from serving.models.prices import Price


def describe_offer(
    row: Mapping[Any, Any], health: HealthReport | None, *, provider: str, grade: Grade, day: int
) -> OfferView:
    """Return an offer as its seller sees it. The key is not in it, sealed or not."""
    used_usdc = int(row["day_used_usdc"]) if int(row["day"]) == day else 0
    unit, input_usdc = row["unit"], row["price_input_usdc_per_mtok"]
    per_unit = None
    if unit is not None and input_usdc is not None:
        per_unit = show_millionths(UNITS[unit].to_per_unit_usdc(Price(int(input_usdc), 0)))
    return OfferView.model_validate(
        {
            "id": row["offer_id"],
            "model": row["model"],
            "upstream_model": row["upstream_model"],
            "provider": provider,
            "grade": grade,
            "label": row["label"],
            "seller_base_url": row["seller_base_url"],
            "price_input_per_1m": None if unit else _show(row["price_input_usdc_per_mtok"]),
            "price_output_per_1m": None if unit else _show(row["price_output_usdc_per_mtok"]),
            "price_cached_input_per_1m": _show(row["price_cached_input_usdc_per_mtok"]),
            "price_per_request": _show(row["price_per_request_usdc"]),
            "tiers": describe_stored_tiers(row["price_tiers"]),
            "unit": unit,
            "price_per_unit": per_unit,
            "cost_multiplier": _show(row["cost_multiplier_ppm"]),
            "cap_daily_usd": _show(row["cap_daily_usdc"]),
            "quota_total_usd": _show(row["quota_total_usdc"]),
            "rate_limit_rpm": row["rate_limit_rpm"],
            "quota_resets_at": row["quota_resets_at_s"],
            "floor_pct": row["floor_pct"],
            "payout_address": row["payout_address"],
            "declares": None if row["declares"] is None else orjson.loads(row["declares"]),
            "status": row["status"],
            "suspended_for": row["suspended_for"],
            "used_today_usd": used_usdc / USDC_ONE,
            "used_total_usd": int(row["total_used_usdc"]) / USDC_ONE,
            "created_at": int(row["created_at_s"]),
            "updated_at": int(row["changed_at_s"]),
            "health": health,
        }
    )


def describe_stored_tiers(text: str | None) -> list[OfferTier]:
    """Return the prices of longer prompts that an offer's row has."""
    return [
        OfferTier(
            above_prompt_tokens=above,
            price_input_per_1m=show_millionths(input_price),
            price_output_per_1m=show_millionths(output_price),
            price_cached_input_per_1m=_show(cached_price),
        )
        for above, input_price, output_price, cached_price in read_stored_tiers(text)
    ]


def _show(units: int | None) -> float | None:
    return None if units is None else show_millionths(units)
