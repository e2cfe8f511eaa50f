"""Payouts, addresses and usage of suppliers, as answers state them."""

from collections.abc import Mapping, Sequence

from sqlalchemy import RowMapping

from contracts.units import format_usdc
from ledger.suppliers.settlement import SettlementTerms
from market.http.supply.payouts.schemas import (
    PayoutAddressView,
    PayoutSums,
    SupplierPayoutView,
    UsageSums,
)
from market.records.supply_records import PayoutTotals, UsageTotals
from market.suppliers.payout_addresses import Network
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


def describe_networks(
    saved: Mapping[str, Sequence[RowMapping]],
    preferred: str | None,
    terms: SettlementTerms,
    *,
    now_s: int,
) -> list[PayoutAddressView]:
    """Return all networks, with the address that counts now and the one that counts later."""
    views = []
    for network in Network:
        rows = saved.get(network, ())
        counting = [row for row in rows if int(row["counts_from_s"]) <= now_s]
        pending = rows[-1] if rows and int(rows[-1]["counts_from_s"]) > now_s else None
        travels = terms.networks[network]
        views.append(
            PayoutAddressView.model_validate(
                {
                    "network": network,
                    "asset": travels.asset,
                    "rail": travels.rail,
                    "minimum": format_usdc(travels.minimum_usdc),
                    "address": counting[-1]["address"] if counting else None,
                    "pending_address": None if pending is None else pending["address"],
                    "pending_counts_at": None if pending is None else pending["counts_from_s"],
                    "is_preferred": network == preferred,
                }
            )
        )
    return views
