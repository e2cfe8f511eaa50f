"""What was sold of capacity that expires, and what lapsed, as a seller reads it."""

from typing import Final

from sqlalchemy import Connection, RowMapping

from ledger.resale.periods import load_owner_periods
from ledger.selling.lapses import load_expiring, load_lapses
from market.http.earnings.schemas import Capacity, ConnectionCapacity, OfferCapacity
from market.resale.connection_terms import parse_unit

SHOWN_MAX: Final = 200


def load_capacity(connection: Connection, seller: str, *, now_s: int) -> Capacity:
    """Return a seller's capacity that expires or has expired."""
    expiring = load_expiring(connection, seller, now_s=now_s)
    lapsed = load_lapses(connection, seller, limit=SHOWN_MAX)
    periods = load_owner_periods(connection, seller, limit=SHOWN_MAX)
    return Capacity(
        offers=[
            *(_describe_expiring(row) for row in expiring),
            *(_describe_lapsed(row) for row in lapsed),
        ],
        connections=[_describe_period(row, now_s=now_s) for row in periods],
    )


def _describe_expiring(row: RowMapping) -> OfferCapacity:
    return OfferCapacity(
        offer_id=row["offer_id"],
        model=row["model"],
        starts_at=int(row["falls_from_s"]),
        resets_at=int(row["quota_resets_at_s"]),
        quota_usdc=int(row["quota_total_usdc"]),
        sold_usdc=int(row["total_used_usdc"]),
        lapsed_usdc=None,
    )


def _describe_lapsed(row: RowMapping) -> OfferCapacity:
    return OfferCapacity(
        offer_id=row["offer_id"],
        model=row["model"],
        starts_at=int(row["starts_at_s"]),
        resets_at=int(row["resets_at_s"]),
        quota_usdc=int(row["quota_usdc"]),
        sold_usdc=int(row["sold_usdc"]),
        lapsed_usdc=int(row["lapsed_usdc"]),
    )


def _describe_period(row: RowMapping, *, now_s: int) -> ConnectionCapacity:
    sold, for_sale = int(row["sold_units"]), int(row["for_sale_units"])
    is_over = int(row["ends_at_s"]) <= now_s
    return ConnectionCapacity(
        connection_id=row["connection_id"],
        name=row["name"],
        unit=parse_unit(row["terms"]),
        starts_at=int(row["starts_at_s"]),
        ends_at=int(row["ends_at_s"]),
        for_sale=for_sale,
        sold=sold,
        own_use=int(row["own_units"]),
        lapsed=for_sale - sold if is_over else None,
        revenue_usdc=int(row["revenue_usdc"]),
        your_share_usdc=int(row["earning_usdc"]),
        fee_usdc=int(row["fee_usdc"]),
    )
