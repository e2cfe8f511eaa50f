"""Payouts, addresses and usage of suppliers, as answers state them."""

from sqlalchemy import RowMapping

from contracts.units import format_usdc
from market.http.supply.payouts.schemas import (
    PayoutSums,
    SupplierPayoutView,
    UsageSums,
)
from market.records.supply_records import PayoutTotals, UsageTotals
from market.suppliers.settling_days import show_day

_AMOUNTS = ("gross", "fee", "network_fee", "carried_in", "net", "carried_out")
_SAME = (
    "payout_id",
    "status",
    "reason",
    "rail",
    "network",
    "asset",
    "address",
    "fee_bps",
    "usd_rate",
    "usd_rate_source",
    "tx_hash",
    "requests",
    "input_tokens",
    "output_tokens",
)


def describe_payout(row: RowMapping) -> SupplierPayoutView:
    """Return a settled day."""
    return SupplierPayoutView.model_validate(
        {
            **{name: row[name] for name in _SAME},
            **{name: format_usdc(int(row[f"{name}_usdc"])) for name in _AMOUNTS},
            "day": show_day(int(row["day"])),
            "sent_at": row["sent_at_s"],
            "created_at": int(row["created_at_s"]),
        }
    )


def describe_totals(totals: PayoutTotals) -> PayoutSums:
    """Return all payouts together."""
    return PayoutSums(
        gross=format_usdc(totals.gross_usdc),
        fee=format_usdc(totals.fee_usdc),
        sent=format_usdc(totals.sent_usdc),
        underway=format_usdc(totals.underway_usdc),
        failed=format_usdc(totals.failed_usdc),
        carried=format_usdc(totals.carried_usdc),
    )


def describe_usage(totals: UsageTotals) -> UsageSums:
    """Return what was sold."""
    return UsageSums(
        requests=totals.requests,
        input_tokens=totals.input_tokens,
        output_tokens=totals.output_tokens,
        gross=format_usdc(totals.gross_usdc),
    )
