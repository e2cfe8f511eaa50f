"""Invariants R1 to R4 of resold calls, as queries that return what breaks them.

The terms that a call was reserved under are in its own row: price, fee, what counts.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    String,
    and_,
    case,
    cast,
    func,
    literal,
    not_,
    or_,
    select,
)

from contracts.units import BPS_ONE
from ledger.tables import ApiCall, ApiConnection, ApiConnectionKey, ApiPeriod, table_of

SHOWN_MAX: Final = 100
_call = table_of(ApiCall)
_connection = table_of(ApiConnection)
_key = table_of(ApiConnectionKey)
_period = table_of(ApiPeriod)


def find_call_mismatches(connection: Connection) -> list[tuple[str, str, str]]:
    """Return what breaks R1 to R4, as (invariant, subject, detail)."""
    return [
        *_find_oversold(connection),
        *_find_sold_again(connection),
        *_find_charged_wrongly(connection),
        *_find_splits(connection),
        *_find_credentials(connection),
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


def _find_sold_again(connection: Connection) -> list[tuple[str, str, str]]:
    """R1: what was sold of the same time under other terms is not for sale again."""
    other = _period.alias()
    rows = connection.execute(
        select(
            _period.c.connection_id,
            _period.c.starts_at_s,
            _period.c.carried_units,
            func.sum(other.c.sold_units),
        )
        .join(
            other,
            (other.c.connection_id == _period.c.connection_id)
            & (other.c.starts_at_s != _period.c.starts_at_s)
            & (other.c.starts_at_s < _period.c.ends_at_s)
            & (other.c.ends_at_s > _period.c.starts_at_s)
            # Those that ended first: their terms were changed.
            & (other.c.ends_at_s < _period.c.ends_at_s),
        )
        .group_by(_period.c.connection_id, _period.c.starts_at_s, _period.c.carried_units)
        .having(func.sum(other.c.sold_units) > _period.c.carried_units)
        .limit(SHOWN_MAX)
    )
    return [
        (
            "R1",
            f"connection {row[0]}, period {row[1]}",
            f"{row[3]} units of its time were sold before, {row[2]} of them are counted",
        )
        for row in rows
    ]


def _counts() -> ColumnElement[bool]:
    """Whether a call's status is one that its operation charges for."""
    listed = literal(",") + _call.c.count_on + ","
    whole = cast(_call.c.status, String)
    kind = cast(_call.c.status // 100, String) + "xx"
    return or_(listed.like(literal("%,") + whole + ",%"), listed.like(literal("%,") + kind + ",%"))


def _find_charged_wrongly(connection: Connection) -> list[tuple[str, str, str]]:
    """R2: a request is charged once, at its own price, and just where its answer counts."""
    twice = connection.execute(
        select(_call.c.request_id, func.count())
        .where(_call.c.state == "posted")
        .group_by(_call.c.request_id)
        .having(func.count() > 1)
        .limit(SHOWN_MAX)
    ).all()
    is_posted, is_voided = _call.c.state == "posted", _call.c.state == "voided"
    priced = case((_call.c.is_flat, _call.c.price_usdc), else_=_call.c.price_usdc * _call.c.units)
    kinds = (
        ("charged without an answer", and_(is_posted, _call.c.status.is_(None))),
        (
            "charged for an answer that does not count",
            and_(is_posted, _call.c.status.is_not(None), not_(_counts())),
        ),
        (
            "not charged for an answer that counts",
            and_(is_voided, not_(_call.c.is_api_failure), _call.c.status.is_not(None), _counts()),
        ),
        (
            "not charged at its price",
            and_(is_posted, _call.c.cost_usdc != priced + _call.c.transaction_fee_usdc),
        ),
    )
    found = [
        ("R2", f"request {request_id}", f"charged {count} times") for request_id, count in twice
    ]
    for detail, breaks in kinds:
        ids = connection.execute(select(_call.c.call_id).where(breaks).limit(SHOWN_MAX)).scalars()
        found += [("R2", f"call {call_id}", detail) for call_id in ids]
    return found


def _find_splits(connection: Connection) -> list[tuple[str, str, str]]:
    """R3: owner's pay + fee = what the consumer paid, each call at its own fee, to the unit."""
    price = _call.c.cost_usdc - _call.c.transaction_fee_usdc
    # Rounded down: both operands are whole and not negative.
    earning = cast(price * (BPS_ONE - _call.c.fee_bps), BigInteger) // BPS_ONE
    rows = connection.execute(
        select(
            _call.c.call_id,
            _call.c.cost_usdc,
            _call.c.earning_usdc,
            _call.c.fee_usdc,
            earning,
        )
        .where(
            _call.c.state == "posted",
            or_(
                _call.c.earning_usdc != earning,
                _call.c.earning_usdc + _call.c.fee_usdc != _call.c.cost_usdc,
            ),
        )
        .limit(SHOWN_MAX)
    )
    return [
        (
            "R3",
            f"call {row[0]}",
            f"of {row[1]} the owner got {row[2]} and the platform {row[3]}; due were {row[4]}",
        )
        for row in rows
    ]


def _find_credentials(connection: Connection) -> list[tuple[str, str, str]]:
    """R4, as far as rows show it: a credential is sealed or gone, and in no other column."""
    kept = connection.execute(
        select(_connection.c.connection_id)
        .join(_key, _key.c.connection_id == _connection.c.connection_id)
        .where(_connection.c.status == "deleted")
        .limit(SHOWN_MAX)
    ).scalars()
    stated = connection.execute(
        select(_connection.c.connection_id)
        .where(_connection.c.terms.like('%"api\\_key":%', escape="\\"))
        .limit(SHOWN_MAX)
    ).scalars()
    return [
        *(("R4", f"connection {id_}", "deleted, and its credential is kept") for id_ in kept),
        *(("R4", f"connection {id_}", "its terms hold a credential") for id_ in stated),
    ]
