"""A supplier's payouts and usage as lines for accountants: names, order and spelling. Pure.

Times are ISO in UTC. Amounts are decimal texts with six decimals of the asset that is named, those
that end in ``_usd`` in US dollars at the rate of the line, rounded down.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from contracts.units import SECONDS_PER_DAY, format_usdc
from market.suppliers.settling_days import show_day, show_time

PAYOUT_COLUMNS: Final = (
    "period_start_utc",
    "period_end_utc",
    "payout_id",
    "status",
    "rail",
    "network",
    "asset",
    "address",
    "gross",
    "fee_bps",
    "fee",
    "network_fee",
    "net",
    "usd_rate",
    "usd_rate_source",
    "usd_rate_at",
    "gross_usd",
    "net_usd",
    "tx_hash",
    "sent_at_utc",
    "requests",
    "input_tokens",
    "output_tokens",
    "supplier_legal_name",
    "registration_number",
)

USAGE_COLUMNS: Final = (
    "day",
    "offer_id",
    "bid_price_per_1m_usdt",
    "requests",
    "input_tokens",
    "output_tokens",
    "payout_id",
)


def build_payout_line(
    row: Mapping[Any, Any], *, legal_name: str | None, registration_number: str | None
) -> dict[str, Any]:
    """Return a payout by the columns' names."""
    gross_usdc, net_usdc = int(row["gross_usdc"]), int(row["net_usdc"])
    rate = row["usd_rate"]
    return {
        "period_start_utc": show_time(int(row["first_day"]) * SECONDS_PER_DAY),
        "period_end_utc": show_time((int(row["day"]) + 1) * SECONDS_PER_DAY),
        "payout_id": row["payout_id"],
        "status": row["status"],
        "rail": row["rail"],
        "network": row["network"],
        "asset": row["asset"],
        "address": row["address"],
        "gross": format_usdc(gross_usdc),
        "fee_bps": int(row["fee_bps"]),
        "fee": format_usdc(int(row["fee_usdc"])),
        "network_fee": format_usdc(int(row["network_fee_usdc"])),
        "net": format_usdc(net_usdc),
        "usd_rate": rate,
        "usd_rate_source": row["usd_rate_source"],
        "usd_rate_at": show_time(row["usd_rate_at_s"]),
        "gross_usd": to_usd(gross_usdc, rate),
        "net_usd": to_usd(net_usdc, rate),
        "tx_hash": row["tx_hash"],
        "sent_at_utc": show_time(row["sent_at_s"]),
        "requests": int(row["requests"]),
        "input_tokens": int(row["input_tokens"]),
        "output_tokens": int(row["output_tokens"]),
        "supplier_legal_name": legal_name,
        "registration_number": registration_number,
    }


def build_usage_line(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what one offer sold in a day at one bid, by the columns' names."""
    return {
        "day": show_day(int(row["day"])),
        "offer_id": row["supply_offer_id"],
        "bid_price_per_1m_usdt": format_usdc(int(row["bid_usdc_per_mtok"])),
        "requests": int(row["requests"]),
        "input_tokens": int(row["input_tokens"]),
        "output_tokens": int(row["output_tokens"]),
        "payout_id": row["payout_id"],
    }


def to_usd(amount_usdc: int, rate: str) -> str:
    """Return an amount of 1e-6 at a rate, as dollars with six decimals, rounded down."""
    return format_usdc(int(Decimal(amount_usdc) * Decimal(rate)))
