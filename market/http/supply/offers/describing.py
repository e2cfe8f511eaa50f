"""A supplier's offer as its supplier sees it. The key is not in it, sealed or not."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.units import format_usdc
from market.http.supply.offers.schemas import SupplyOfferView
from market.services import Services


def describe_supply_offer(
    services: Services,
    row: Mapping[Any, Any],
    listings: Sequence[Mapping[Any, Any]],
    *,
    is_approved: bool,
) -> SupplyOfferView:
    """Return an offer; that of a supplier who is not approved is ``suspended``."""
    probe = None
    if row["probe_report"] is not None:
        models = json.loads(row["probe_report"])
        ok = all(one["ok"] for one in models)
        probe = {"ok": ok, "probed_at": row["probed_at_s"], "models": models}
    return SupplyOfferView.model_validate(
        {
            "id": row["supply_offer_id"],
            "provider_type": row["provider_type"],
            "base_url": row["base_url"],
            "model_list": json.loads(row["model_list"]),
            "bid_price_per_1m_usdt": format_usdc(int(row["bid_usdc_per_mtok"])),
            "rate_limit_rpm": row["rate_limit_rpm"],
            "quota_total": row["quota_tokens"],
            "quota_used": int(row["used_tokens"]),
            "quota_reserved": int(row["reserved_tokens"]),
            "legal_basis": row["legal_basis"],
            "status": row["status"] if is_approved else "suspended",
            "is_probe_due": row["probe_due_s"] is not None,
            "probe": probe,
            "models": [
                {
                    "model": one["model"],
                    "offer_id": one["offer_id"],
                    "suspended_for": one["suspended_for"],
                    "health": services.book.find_health(one["offer_id"]),
                }
                for one in listings
            ],
            "created_at": int(row["created_at_s"]),
            "updated_at": int(row["changed_at_s"]),
        },
        from_attributes=True,
    )
