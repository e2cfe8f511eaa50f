"""The invariants of suppliers' money and ceilings, S1 to S4: queries that return what breaks them.

S1: each payout is what its days' sums come to, less its fee; the sums are what the sales say; what
was carried is in the next payout, or still owed. S2: one payout for each supplier and day, and what
a rail has of it is the same. S3: used tokens stay within the quota and are what the sales say, and
no 60 seconds hold more requests than the limit. S4: every sale was reserved while its supplier was
approved.
"""

from collections import defaultdict
from typing import Final

from sqlalchemy import Connection, ScalarSelect, case, func, select

from contracts.units import BPS_ONE, mul_div_up
from ledger.selling.windows import WINDOW_S
from ledger.suppliers.accounts import APPROVED
from ledger.suppliers.settling import DaySum, get_gross_usdc
from ledger.tables import (
    MarketPayout,
    MarketSale,
    SupplierPayout,
    SupplierStatusChange,
    SupplyAccount,
    SupplyDay,
    SupplyOffer,
    table_of,
)

_account = table_of(SupplyAccount)
_change = table_of(SupplierStatusChange)
_day = table_of(SupplyDay)
_offer = table_of(SupplyOffer)
_paid = table_of(MarketPayout)
_payout = table_of(SupplierPayout)
_sale = table_of(MarketSale)

SHOWN_MAX: Final = 100
GRACE_S: Final = 5
"""How long a change of status may have been on its way into the ledger, seconds."""

Mismatch = tuple[str, str, str]
"""The invariant, the subject and what is wrong."""


def find_supply_mismatches(connection: Connection) -> list[Mismatch]:
    """Return what breaks S1 to S4."""
    return [
        *_find_days(connection),
        *_find_payouts(connection),
        *_find_carried(connection),
        *_find_rails(connection),
        *_find_quotas(connection),
        *_find_bursts(connection),
        *_find_unapproved(connection),
    ]


def _find_days(connection: Connection) -> list[Mismatch]:
    """S1: the sums of a day are those of the sales that name it."""
    paid = func.coalesce(_sale.c.prompt_tokens, 0) + func.coalesce(_sale.c.completion_tokens, 0)
    tokens = case((paid > _sale.c.bound_tokens, _sale.c.bound_tokens), else_=paid)
    sold = {
        (str(name), int(bid)): (int(count), int(total))
        for name, bid, count, total in connection.execute(
            select(
                _sale.c.payout_id,
                _sale.c.input_usdc_per_mtok,
                func.count(),
                func.sum(tokens),
            )
            .where(_sale.c.supply_offer_id.is_not(None), _sale.c.state == "posted")
            .group_by(_sale.c.payout_id, _sale.c.input_usdc_per_mtok)
        )
    }
    summed = {
        (f"{offer_id}:{day}", int(bid)): (int(count), int(total))
        for offer_id, day, bid, count, total in connection.execute(
            select(
                _day.c.supply_offer_id,
                _day.c.day,
                _day.c.bid_usdc_per_mtok,
                _day.c.requests,
                _day.c.paid_tokens,
            )
        )
    }
    return [
        ("S1", f"day {name} at {bid}", f"sums say {summed.get((name, bid))}, sales {found}")
        for (name, bid), found in (sold | dict.fromkeys(summed.keys() - sold)).items()
        if summed.get((name, bid)) != found
    ][:SHOWN_MAX]


def _find_payouts(connection: Connection) -> list[Mismatch]:
    """S1: a payout's gross is what its days' sums come to, and its fee is as agreed."""
    sums: dict[str, list[DaySum]] = defaultdict(list)
    rows = connection.execute(
        select(
            _day.c.payout_id,
            _day.c.supply_offer_id,
            _day.c.day,
            _day.c.bid_usdc_per_mtok,
            _day.c.requests,
            _day.c.input_tokens,
            _day.c.output_tokens,
            _day.c.paid_tokens,
        ).where(_day.c.payout_id.is_not(None))
    )
    for payout_id, offer_id, *numbers in rows:
        sums[payout_id].append(DaySum(offer_id, *map(int, numbers)))
    found: list[Mismatch] = []
    payouts = connection.execute(
        select(_payout.c.payout_id, _payout.c.gross_usdc, _payout.c.fee_bps, _payout.c.fee_usdc)
    ).all()
    for payout_id, gross, fee_bps, fee in payouts:
        gross_usdc = get_gross_usdc(sums.pop(payout_id, []))
        fee_usdc = mul_div_up(gross_usdc, int(fee_bps), BPS_ONE)
        if (int(gross), int(fee)) != (gross_usdc, fee_usdc):
            detail = f"gross {gross}, fee {fee}; its days say {gross_usdc}, {fee_usdc}"
            found.append(("S1", f"payout {payout_id}", detail))
    found += [("S1", f"payout {name}", "its days are settled, it is not there") for name in sums]
    return found[:SHOWN_MAX]


def _find_carried(connection: Connection) -> list[Mismatch]:
    """S1: what one payout carries over, the next one takes in; the last one's is owed."""
    carried = {
        str(row[0]): int(row[1])
        for row in connection.execute(select(_account.c.supplier_id, _account.c.carried_usdc))
    }
    owed: dict[str, int] = {}
    found: list[Mismatch] = []
    rows = connection.execute(
        select(
            _payout.c.supplier_id,
            _payout.c.payout_id,
            _payout.c.carried_in_usdc,
            _payout.c.carried_out_usdc,
        ).order_by(_payout.c.supplier_id, _payout.c.day)
    )
    for supplier_id, payout_id, carried_in, carried_out in rows:
        before = owed.get(supplier_id, 0)
        if before != int(carried_in):
            detail = f"takes in {carried_in}, {before} was carried over"
            found.append(("S1", f"payout {payout_id}", detail))
        owed[supplier_id] = int(carried_out)
    found += [
        ("S1", f"supplier {one}", f"owed {amount}, its payouts say {owed.get(one, 0)}")
        for one, amount in carried.items()
        if amount != owed.get(one, 0)
    ]
    return found[:SHOWN_MAX]


def _find_rails(connection: Connection) -> list[Mismatch]:
    """S2: what the keeper was given for a payout is that payout, once it was submitted."""
    rows = connection.execute(
        select(_payout.c.payout_id, _payout.c.status, _payout.c.net_usdc, _paid.c.amount_usdc)
        .outerjoin(_paid, _paid.c.payout_id == _payout.c.payout_id)
        .where(
            (_payout.c.rail == "chain")
            # Of a restored ledger, what the keeper was never given waits for an operator's word.
            & (_payout.c.status.in_(("submitted", "sending")) | (_payout.c.tries > 0))
            & _payout.c.status.in_(("submitted", "sending", "sent", "needs_operator"))
            & _paid.c.amount_usdc.is_distinct_from(_payout.c.net_usdc)
            | (_payout.c.status.in_(("carried", "pending")) | (_payout.c.rail != "chain"))
            & _paid.c.payout_id.is_not(None)
        )
        .limit(SHOWN_MAX)
    )
    return [
        ("S2", f"payout {payout_id}", f"{status}, net {net}; the keeper has {amount}")
        for payout_id, status, net, amount in rows
    ]


def _find_quotas(connection: Connection) -> list[Mismatch]:
    """S3: an offer's counters are what its sales say, and within its quota."""
    counted = func.coalesce(_sale.c.prompt_tokens, 0) + func.coalesce(_sale.c.completion_tokens, 0)
    paid = case((counted > _sale.c.bound_tokens, _sale.c.bound_tokens), else_=counted)
    used = case((_sale.c.state == "posted", paid), else_=0)
    reserved = case((_sale.c.state == "reserved", _sale.c.bound_tokens), else_=0)
    sums = (
        select(
            _sale.c.supply_offer_id,
            func.sum(used).label("used"),
            func.sum(reserved).label("reserved"),
        )
        .where(_sale.c.supply_offer_id.is_not(None))
        .group_by(_sale.c.supply_offer_id)
        .subquery()
    )
    rows = connection.execute(
        select(
            _offer.c.supply_offer_id,
            _offer.c.used_tokens,
            _offer.c.reserved_tokens,
            func.coalesce(sums.c.used, 0),
            func.coalesce(sums.c.reserved, 0),
            _offer.c.quota_tokens,
        ).outerjoin(sums, sums.c.supply_offer_id == _offer.c.supply_offer_id)
    )
    found: list[Mismatch] = []
    for offer_id, *numbers, quota in rows:
        counters, sales = tuple(map(int, numbers[:2])), tuple(map(int, numbers[2:]))
        if counters != sales:
            detail = f"used and reserved {counters} tokens, its sales say {sales}"
            found.append(("S3", f"supply offer {offer_id}", detail))
        if quota is not None and sum(sales) > int(quota):
            detail = f"{sum(sales)} tokens of a quota of {quota}"
            found.append(("S3", f"supply offer {offer_id}", detail))
    return found[:SHOWN_MAX]


def _find_bursts(connection: Connection) -> list[Mismatch]:
    """S3: no 60 seconds hold more requests of an offer than its limit.

    The limit is the one of now: only what was reserved since the offer's last change is held
    against it.
    """
    window = func.count().over(
        partition_by=_sale.c.supply_offer_id,
        order_by=_sale.c.reserved_at_s,
        range_=(1 - WINDOW_S, 0),
    )
    counted = (
        select(
            _sale.c.supply_offer_id,
            _sale.c.reserved_at_s,
            window.label("requests"),
            _offer.c.rate_limit_rpm,
        )
        .join(_offer, _offer.c.supply_offer_id == _sale.c.supply_offer_id)
        .where(_offer.c.rate_limit_rpm.is_not(None), _sale.c.reserved_at_s > _offer.c.changed_at_s)
        .subquery()
    )
    rows = connection.execute(
        select(counted).where(counted.c.requests > counted.c.rate_limit_rpm).limit(SHOWN_MAX)
    )
    return [
        ("S3", f"supply offer {offer_id}", f"{count} requests in the minute to {at_s}, of {limit}")
        for offer_id, at_s, count, limit in rows
    ]


def _find_unapproved(connection: Connection) -> list[Mismatch]:
    """S4: a sale's supplier was approved when it was reserved, or up to 5 s before."""

    def status_at(later_s: int) -> ScalarSelect[str]:
        return (
            select(_change.c.kyb_status)
            .where(
                _change.c.supplier_id == _sale.c.seller,
                _change.c.at_s <= _sale.c.reserved_at_s + later_s,
            )
            .order_by(_change.c.at_s.desc(), _change.c.change_id.desc())
            .limit(1)
            .scalar_subquery()
        )

    rows = connection.execute(
        select(_sale.c.sale_id, _sale.c.seller)
        .where(
            _sale.c.supply_offer_id.is_not(None),
            status_at(0).is_distinct_from(APPROVED),
            status_at(-GRACE_S).is_distinct_from(APPROVED),
        )
        .limit(SHOWN_MAX)
    )
    return [
        ("S4", f"sale {sale_id}", f"supplier {supplier_id} was not approved")
        for sale_id, supplier_id in rows
    ]
