"""Suppliers' addresses for payouts, as answers state them."""

from collections.abc import Mapping, Sequence

from sqlalchemy import RowMapping

from contracts.units import format_usdc
from ledger.suppliers.settlement import SettlementTerms
from market.http.supply.addresses.schemas import PayoutAddressView
from market.suppliers.payout_addresses import Network


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
