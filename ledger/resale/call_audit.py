"""Invariants R1 to R3 of resold calls, as queries that return what breaks them."""

from sqlalchemy import Connection, case, func, select

from ledger.tables import ApiCall, ApiPeriod, table_of

_call = table_of(ApiCall)
_period = table_of(ApiPeriod)


def find_call_mismatches(connection: Connection) -> list[tuple[str, str, str]]:
    """Return what breaks R1, R2 or R3, as (invariant, subject, detail)."""
    return [
        *_find_oversold(connection),
        *_find_charged_wrongly(connection),
        *_find_splits(connection),
    ]


def _find_oversold(connection: Connection) -> list[tuple[str, str, str]]:
    """R1: sold + reserved in flight <= for sale; and both are what the calls say."""
    reserved = case((_call.c.state == "reserved", _call.c.units_max), else_=0)
    sums = (
        select(
            _call.c.connection_id,
            _call.c.period_starts_at_s,
            func.sum(func.coalesce(_call.c.units, 0)).label("sold"),
            func.sum(reserved).label("reserved"),
        )
        .group_by(_call.c.connection_id, _call.c.period_starts_at_s)
        .subquery()
    )
    is_its = (sums.c.connection_id == _period.c.connection_id) & (
        sums.c.period_starts_at_s == _period.c.starts_at_s
    )
    rows = connection.execute(
        select(
            _period.c.connection_id,
            _period.c.starts_at_s,
            _period.c.for_sale_units,
            _period.c.sold_units,
            _period.c.reserved_units,
            func.coalesce(sums.c.sold, 0),
            func.coalesce(sums.c.reserved, 0),
        ).outerjoin(sums, is_its)
    )
    return [
        (
            "R1",
            f"connection {row[0]}, period {row[1]}",
            f"{row[3]} sold and {row[4]} reserved of {row[2]}, calls say {row[5]} and {row[6]}",
        )
        for row in rows
        if (int(row[3]), int(row[4])) != (int(row[5]), int(row[6]))
        or int(row[3]) + int(row[4]) > int(row[2])
    ]


def _find_charged_wrongly(connection: Connection) -> list[tuple[str, str, str]]:
    """R2: a request is charged once, and only where the API answered."""
    twice = connection.execute(
        select(_call.c.request_id, func.count())
        .where(_call.c.state == "posted")
        .group_by(_call.c.request_id)
        .having(func.count() > 1)
        .limit(100)
    ).all()
    unanswered = connection.execute(
        select(_call.c.call_id)
        .where(_call.c.state == "posted", _call.c.status.is_(None))
        .limit(100)
    ).scalars()
    return [
        *(("R2", f"request {request_id}", f"charged {count} times") for request_id, count in twice),
        *(("R2", f"call {call_id}", "charged without an answer") for call_id in unanswered),
    ]


def _find_splits(connection: Connection) -> list[tuple[str, str, str]]:
    """R3: owners' pay + fees = what consumers paid, to the unit."""
    sums = [
        func.coalesce(func.sum(column), 0)
        for column in (_call.c.cost_usdc, _call.c.earning_usdc, _call.c.fee_usdc)
    ]
    row = connection.execute(select(*sums).where(_call.c.state == "posted")).one()
    cost, earning, fee = (int(value) for value in row)
    if cost == earning + fee:
        return []
    return [("R3", "calls", f"consumers paid {cost}, owners got {earning}, the fee was {fee}")]
