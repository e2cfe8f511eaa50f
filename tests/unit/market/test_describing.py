"""An offer's row as its seller sees it."""

from typing import Any

from market.http.offers.describing import describe_offer
from market.http.offers.schemas import OfferTier
from serving.models.grades import Grade

ROW: dict[str, Any] = {
    "offer_id": "of_1",
    "model": "m",
    "upstream_model": "their-m",
    "label": "Theirs",
    "seller_base_url": "https://s.test/v1",
    "price_input_usdc_per_mtok": 12_000_000,
    "price_output_usdc_per_mtok": 48_500_000,
    "price_cached_input_usdc_per_mtok": None,
    "price_per_request_usdc": 600,
    "price_tiers": None,
    "unit": None,
    "cost_multiplier_ppm": None,
    "quota_resets_at_s": None,
    "floor_pct": None,
    "cap_daily_usdc": 5_000_000,
    "quota_total_usdc": None,
    "rate_limit_rpm": 60,
    "declares": None,
    "payout_address": "0xa",
    "status": "active",
    "suspended_for": None,
    "day": 7,
    "day_used_usdc": 250_000,
    "total_used_usdc": 1_250_000,
    "created_at_s": 1,
    "changed_at_s": 2,
}


def test_describe_offer__of_tokens__dollars_and_todays_use() -> None:
    offer = describe_offer(ROW, None, provider="s.test", grade=Grade.OTHER, day=7)

    assert (offer.price_input_per_1m, offer.price_output_per_1m) == (12.0, 48.5)
    assert (offer.price_per_request, offer.price_per_unit) == (0.0006, None)
    assert (offer.cap_daily_usd, offer.quota_total_usd) == (5.0, None)
    assert (offer.used_today_usd, offer.used_total_usd) == (0.25, 1.25)
    assert offer.tiers == []
    assert (offer.provider, offer.label) == ("s.test", "Theirs")


def test_describe_offer__counted_on_an_earlier_day__nothing_used_today() -> None:
    assert (
        describe_offer(ROW, None, provider="s.test", grade=Grade.OTHER, day=8).used_today_usd == 0
    )


def test_describe_offer__of_media__the_price_of_its_unit_alone() -> None:
    # A minute for 0.006 US dollars, kept for a million seconds and rounded down.
    row = {**ROW, "unit": "minute", "price_input_usdc_per_mtok": 100_000_000}

    offer = describe_offer(row, None, provider="s.test", grade=Grade.OTHER, day=7)

    assert (offer.unit, offer.price_per_unit) == ("minute", 0.006)
    assert (offer.price_input_per_1m, offer.price_output_per_1m) == (None, None)


def test_describe_offer__longer_prompts__their_prices() -> None:
    row = {**ROW, "price_tiers": "[[200000, 24000000, 90000000, null], [400000, 1, 2, 1]]"}

    assert describe_offer(row, None, provider="s.test", grade=Grade.OTHER, day=7).tiers == [
        OfferTier(
            above_prompt_tokens=200_000,
            price_input_per_1m=24.0,
            price_output_per_1m=90.0,
            price_cached_input_per_1m=None,
        ),
        OfferTier(
            above_prompt_tokens=400_000,
            price_input_per_1m=1e-6,
            price_output_per_1m=2e-6,
            price_cached_input_per_1m=1e-6,
        ),
    ]
