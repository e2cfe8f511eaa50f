"""An offer as the ledger keeps it, for tests below HTTP."""

from typing import Final

from ledger.selling.offers import NewOffer

SELLER: Final = "0x" + "5e" * 20


def make_offer(offer_id: str = "o") -> NewOffer:
    """Return a new offer of the seller: fixed prices, no cap, no quota."""
    return NewOffer(
        offer_id=offer_id,
        seller=SELLER,
        model="m",
        upstream_model="m",
        label="",
        seller_base_url="https://s.example",
        price_input_usdc_per_mtok=1,
        price_output_usdc_per_mtok=1,
        cost_multiplier_ppm=None,
        cap_daily_usdc=None,
        quota_total_usdc=None,
        rate_limit_rpm=None,
        payout_address=SELLER,
        idempotency_key=None,
        request_digest=None,
    )
