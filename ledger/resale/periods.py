"""How much of a period of an API's quota is sold, and how much may be.

What is for sale is what the terms leave (quota less reserve less buffer), less what the owner has
used beyond the reserve, less what the API counted and nobody paid for. It is never lowered below
what is sold and reserved, so that R1 stands in the table's own constraint.
"""

from typing import Any, Final

from sqlalchemy import BigInteger, Connection, bindparam, select, update

from ledger.database.statements import insert_or_ignore
from ledger.resale.call_records import NewCall, PeriodTerms, PeriodUse
from ledger.tables import ApiConnection, ApiPeriod, table_of

_connection = table_of(ApiConnection)
_period = table_of(ApiPeriod)

_UNITS: Final = bindparam("units", type_=BigInteger)
_COLUMNS: Final = (
    _period.c.connection_id,
    _period.c.starts_at_s,
    _period.c.for_sale_units,
    _period.c.sold_units,
    _period.c.reserved_units,
    _period.c.own_units,
    _period.c.lost_units,
)
_IS_IT: Final = (_period.c.connection_id == bindparam("its_connection")) & (
    _period.c.starts_at_s == bindparam("its_start", type_=BigInteger)
)
IS_CURRENT: Final = (
    select(_connection.c.connection_id)
    .where(
        _connection.c.connection_id == bindparam("its_connection"),
        _connection.c.version == bindparam("at_version", type_=BigInteger),
        _connection.c.status == "enabled",
        _connection.c.suspended_for.is_(None),
    )
    .exists()
)
_RESERVE: Final = (
    update(_period)
    .where(
        _IS_IT,
        _period.c.sold_units + _period.c.reserved_units + _UNITS <= _period.c.for_sale_units,
        IS_CURRENT,
    )
    .values(reserved_units=_period.c.reserved_units + _UNITS)
    .returning(*_COLUMNS)
)
_RESOLVE: Final = (
    update(_period)
    .where(_IS_IT)
    .values(
        reserved_units=_period.c.reserved_units - bindparam("freed", type_=BigInteger),
        sold_units=_period.c.sold_units + bindparam("sold", type_=BigInteger),
        lost_units=_period.c.lost_units + bindparam("lost", type_=BigInteger),
    )
    .returning(*_COLUMNS)
)


def reserve_units(connection: Connection, call: NewCall) -> PeriodUse | None:
    """Reserve a call's units of the period that it falls into; None where they are not there."""
    values = {
        "its_connection": call.connection_id,
        "its_start": call.period.starts_at_s,
        "at_version": call.version,
        "units": call.units_max,
    }
    row = connection.execute(_RESERVE, values).one_or_none()
    if row is None and open_period(connection, call.connection_id, call.period):
        row = connection.execute(_RESERVE, values).one_or_none()
    return None if row is None else PeriodUse(*row)


def is_current(connection: Connection, connection_id: str, version: int) -> bool:
    """Tell whether a connection is on sale at exactly this version."""
    values = {"its_connection": connection_id, "at_version": version}
    return bool(connection.execute(select(IS_CURRENT), values).scalar_one())


def open_period(connection: Connection, connection_id: str, period: PeriodTerms) -> bool:
    """Open a period; tell whether it was not open. Idempotent."""
    values = {
        "connection_id": connection_id,
        "starts_at_s": period.starts_at_s,
        "ends_at_s": period.ends_at_s,
        "for_sale_units": period.base_units,
        "sold_units": 0,
        "reserved_units": 0,
        "own_units": 0,
        "lost_units": 0,
    }
    return insert_or_ignore(connection, _period, values)


def resolve_units(
    connection: Connection,
    connection_id: str,
    starts_at_s: int,
    *,
    freed_units: int,
    sold_units: int = 0,
    lost_units: int = 0,
) -> PeriodUse:
    """Turn reserved units into sold ones, lost ones, or neither."""
    values = {
        "its_connection": connection_id,
        "its_start": starts_at_s,
        "freed": freed_units,
        "sold": sold_units,
        "lost": lost_units,
    }
    return PeriodUse(*connection.execute(_RESOLVE, values).one())


def settle_period(
    connection: Connection,
    connection_id: str,
    period: PeriodTerms,
    *,
    remaining_units: int | None = None,
) -> PeriodUse | None:
    """Bring what is for sale in line with the terms and with what the API says that remains.

    Calls in flight may be in the API's count or not: they are taken for counted, so that the owner
    is never said to have used what consumers did. ``own_units`` only grows. None: nothing of the
    period was ever sold, so there is no row.
    """
    row = connection.execute(
        select(*_COLUMNS).where(_IS_IT).with_for_update(),
        {"its_connection": connection_id, "its_start": period.starts_at_s},
    ).one_or_none()
    if row is None:
        return None
    use = PeriodUse(*row)
    here = use.sold_units + use.reserved_units
    own_units = use.own_units
    if remaining_units is not None:
        counted = period.quota_units - remaining_units
        own_units = max(own_units, min(counted, period.quota_units) - here - use.lost_units)
    beyond = max(0, own_units - period.reserved_units)
    for_sale = max(here, period.base_units - beyond - use.lost_units)
    values: dict[str, Any] = {
        "own_units": own_units,
        "for_sale_units": for_sale,
        "ends_at_s": period.ends_at_s,
    }
    is_it = (_period.c.connection_id == connection_id) & (
        _period.c.starts_at_s == period.starts_at_s
    )
    connection.execute(update(_period).where(is_it).values(**values))
    return PeriodUse(
        connection_id,
        period.starts_at_s,
        for_sale,
        use.sold_units,
        use.reserved_units,
        own_units,
        use.lost_units,
    )


def load_periods(connection: Connection, connection_id: str, *, limit: int) -> list[PeriodUse]:
    """Return the newest periods of a connection, newest first."""
    rows = connection.execute(
        select(*_COLUMNS)
        .where(_period.c.connection_id == connection_id)
        .order_by(_period.c.starts_at_s.desc())
        .limit(limit)
    )
    return [PeriodUse(*row) for row in rows]
