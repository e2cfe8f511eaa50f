"""Connections and their figures, as answers state them."""

from sqlalchemy import RowMapping

from market.http.resale.schemas import ConnectionStatus, ConnectionView, FlagView
from market.resale.call_wishes import PREFIX
from market.resale.connection_terms import ConnectionTerms, parse_terms, read_stored
from market.resale.owning import PeriodStatus
from market.resale.selling_names import sold_under
from market.services import Services


def describe_connection(services: Services, row: RowMapping) -> ConnectionView:
    """Return a connection as its owner sees it."""
    terms = parse_terms(read_stored(row))
    shelf = services.api_calls.shelf
    id_, name, owner = row["connection_id"], row["name"], row["owner"]
    called = sold_under(name, owner, is_approved=shelf.is_approved(name, owner))
    credential = terms.credential
    return ConnectionView(
        id=id_,
        name=name,
        sold_under=called,
        url=f"{services.public_url}{PREFIX}{called}",
        base_url=row["base_url"],
        credential=credential.kind + (f": {credential.name}" if credential.name else ""),
        operations=[one.name for one in terms.operations],
        status=row["status"],
        suspended_for=row["suspended_for"],
        health=shelf.get_standing(id_),
        rests_s=round(shelf.get_rest_s(id_), 1),
        price_usdc=terms.price.usdc,
        floor_price_usdc=terms.price.floor_usdc,
        payout_address=row["payout_address"],
        version=int(row["version"]),
        created_at=int(row["created_at_s"]),
        updated_at=int(row["changed_at_s"]),
    )


def describe_status(
    row: RowMapping, terms: ConnectionTerms, status: PeriodStatus
) -> ConnectionStatus:
    """Return the figures of the present period."""
    figures = status.figures
    return ConnectionStatus(
        id=row["connection_id"],
        name=row["name"],
        unit=terms.quota.unit,
        starts_at=status.period.starts_at_s,
        resets_at=status.period.ends_at_s,
        days_to_reset=figures.days_to_reset,
        quota=figures.quota_units,
        reserved=figures.reserved_units,
        buffer=figures.buffer_units,
        for_sale=figures.for_sale_units,
        sold=figures.sold_units,
        own_use=figures.own_units,
        left=figures.left_units,
        revenue_usdc=figures.revenue_usdc,
        your_share_usdc=figures.earning_usdc,
        fee_usdc=figures.fee_usdc,
        subscription_usdc=figures.subscription_usdc,
        net_usdc=figures.net_usdc,
        source_price_usdc=terms.source_price_usdc,
        warnings=status.warnings,
        flags=[
            FlagView(
                account_id=flag["account_id"],
                reason=flag["reason"],
                detail=flag["detail"],
                flagged_at=int(flag["flagged_at_s"]),
            )
            for flag in status.flags
        ],
    )
