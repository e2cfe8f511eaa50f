"""How much of a period of an API's quota is sold, and how much may be.

What is for sale is what the terms leave (quota less reserve less buffer), less what the owner has
used beyond the reserve, less what the API counted and nobody paid for, less what was sold of the
same time under other terms. It is never lowered below what is sold and reserved, so that R1 stands
in the table's own constraint.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from sqlalchemy import BigInteger, Connection, RowMapping, bindparam, func, select, tuple_, update

from ledger.database.statements import insert_or_ignore
from ledger.resale.call_records import TRIAL_S, NewCall, PeriodTerms, PeriodUse
from ledger.tables import ApiCall, ApiConnection, ApiPeriod, table_of

_call = table_of(ApiCall)
_connection = table_of(ApiConnection)
_period = table_of(ApiPeriod)

PERIOD_MONEY: Final = {
    "revenue_usdc": _call.c.cost_usdc - _call.c.transaction_fee_usdc,
    "earning_usdc": _call.c.earning_usdc,
    "fee_usdc": _call.c.fee_usdc - _call.c.transaction_fee_usdc,
}
"""What a call came to: ``revenue = earning + fee``. What its consumer paid for the transaction of
its own payment is in none of them: it is nothing that the owner sold."""
KEYS_MAX: Final = 400
"""How many periods one statement looks for."""

_UNITS: Final = bindparam("units", type_=BigInteger)
_COLUMNS: Final = (
    _period.c.connection_id,
    _period.c.starts_at_s,
    _period.c.for_sale_units,
    _period.c.sold_units,
    _period.c.reserved_units,
    _period.c.own_units,
    _period.c.lost_units,
    _period.c.carried_units,
    _period.c.read_at_s,
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
        own_units=_period.c.own_units + bindparam("own", type_=BigInteger),
    )
    .returning(*_COLUMNS)
)


def reserve_units(connection: Connection, call: NewCall, *, now_s: int) -> PeriodUse | None:
    """Reserve a call's units of the period that it falls into; None where they are not there."""
    values = {
        "its_connection": call.connection_id,
        "its_start": call.period.starts_at_s,
        "at_version": call.version,
        "units": call.units_max,
    }
    row = connection.execute(_RESERVE, values).one_or_none()
    if row is None and (
        open_period(connection, call.connection_id, call.period)
        or _allow_trial(connection, call, now_s=now_s)
    ):
        row = connection.execute(_RESERVE, values).one_or_none()
    return None if row is None else PeriodUse(*row)


def _allow_trial(connection: Connection, call: NewCall, *, now_s: int) -> bool:
    """Let one call through where only the API's own count, an hour old, says that none is left.

    Where the API has never said what remains, the owner's use is our own exact count: none passes.

    The count may have been of the API's last period, and nothing but a call corrects it.
    """
    terms = call.period
    here = _period.c.sold_units + _period.c.reserved_units
    others = _period.c.lost_units + _period.c.carried_units
    changed = connection.execute(
        update(_period)
        .where(
            _period.c.connection_id == call.connection_id,
            _period.c.starts_at_s == terms.starts_at_s,
            _period.c.own_units > terms.reserved_units,
            _period.c.read_at_s > 0,
            _period.c.read_at_s <= now_s - TRIAL_S,
            here + others + call.units_max <= terms.base_units,
            here + call.units_max > _period.c.for_sale_units,
        )
        .values(for_sale_units=here + call.units_max, read_at_s=now_s)
    )
    return bool(changed.rowcount)


def is_current(connection: Connection, connection_id: str, version: int) -> bool:
    """Tell whether a connection is on sale at exactly this version."""
    values = {"its_connection": connection_id, "at_version": version}
    return bool(connection.execute(select(IS_CURRENT), values).scalar_one())


def open_period(connection: Connection, connection_id: str, period: PeriodTerms) -> bool:
    """Open a period; tell whether it was not open. Idempotent.

    What was sold of the same time under other terms is not sold again.
    """
    carried = _count_carried(connection, connection_id, period)
    values = {
        "connection_id": connection_id,
        "starts_at_s": period.starts_at_s,
        "ends_at_s": period.ends_at_s,
        "for_sale_units": max(0, period.base_units - carried),
        "sold_units": 0,
        "reserved_units": 0,
        "own_units": 0,
        "lost_units": 0,
        "carried_units": carried,
        "read_at_s": 0,
    }
    return insert_or_ignore(connection, _period, values)


def change_period(
    connection: Connection, connection_id: str, period: PeriodTerms, *, now_s: int
) -> PeriodUse | None:
    """Bring a connection's periods in line with changed terms; return the present one's use.

    A change of the terms renews no quota: periods of the former terms end now, and what they sold
    of the present one's time counts there. None: nothing was ever sold.
    """
    others = (_period.c.connection_id == connection_id) & (
        _period.c.starts_at_s != period.starts_at_s
    )
    used = _period.c.sold_units + _period.c.reserved_units
    connection.execute(
        update(_period)
        .where(others, _period.c.ends_at_s > now_s)
        # What it had left is for sale in the present one: it has not lapsed.
        .values(ends_at_s=now_s, for_sale_units=used)
    )
    its = (_period.c.connection_id == connection_id) & (_period.c.starts_at_s == period.starts_at_s)
    carried = _count_carried(connection, connection_id, period)
    if carried:
        open_period(connection, connection_id, period)
    connection.execute(
        update(_period).where(its).values(ends_at_s=period.ends_at_s, carried_units=carried)
    )
    return settle_period(connection, connection_id, period, now_s=now_s)


def _count_carried(connection: Connection, connection_id: str, period: PeriodTerms) -> int:
    """Return what other periods of a connection took of this one's time, in units."""
    taken = _period.c.sold_units + _period.c.reserved_units + _period.c.lost_units
    query = select(func.coalesce(func.sum(taken), 0)).where(
        _period.c.connection_id == connection_id,
        _period.c.starts_at_s != period.starts_at_s,
        _period.c.starts_at_s < period.ends_at_s,
        _period.c.ends_at_s > period.starts_at_s,
    )
    return int(connection.execute(query).scalar_one())


def resolve_units(
    connection: Connection,
    connection_id: str,
    starts_at_s: int,
    *,
    freed_units: int,
    sold_units: int = 0,
    lost_units: int = 0,
    own_units: int = 0,
) -> PeriodUse:
    """Turn reserved units into sold ones, lost ones, or neither; add what the owner has used."""
    values = {
        "its_connection": connection_id,
        "its_start": starts_at_s,
        "freed": freed_units,
        "sold": sold_units,
        "lost": lost_units,
        "own": own_units,
    }
    return PeriodUse(*connection.execute(_RESOLVE, values).one())


def settle_period(
    connection: Connection,
    connection_id: str,
    period: PeriodTerms,
    *,
    remaining_units: int | None = None,
    now_s: int,
) -> PeriodUse | None:
    """Bring what is for sale in line with the terms and with what the API says that remains.

    Calls in flight may be in the API's count or not: they are taken for counted, so that the owner
    is never said to have used what consumers did. The API's last word counts, not its lowest: one
    that was said of its former period is corrected by the next. None: nothing of the period was
    ever sold, so there is no row.
    """
    row = connection.execute(
        select(*_COLUMNS).where(_IS_IT).with_for_update(),
        {"its_connection": connection_id, "its_start": period.starts_at_s},
    ).one_or_none()
    if row is None:
        return None
    use = count_remaining(PeriodUse(*row), period, remaining_units=remaining_units, now_s=now_s)
    is_it = (_period.c.connection_id == connection_id) & (
        _period.c.starts_at_s == period.starts_at_s
    )
    values = {name: getattr(use, name) for name in ("for_sale_units", "own_units", "read_at_s")}
    connection.execute(update(_period).where(is_it).values(**values))
    return use


def count_remaining(
    use: PeriodUse, period: PeriodTerms, *, remaining_units: int | None, now_s: int
) -> PeriodUse:
    """Return a period's use with what is for sale by its terms and by the API's own count.

    ``remaining_units``: what the API says that remains of the quota; None: it has not said.
    """
    here = use.sold_units + use.reserved_units
    others = use.lost_units + use.carried_units
    own_units, read_at_s = use.own_units, use.read_at_s
    if remaining_units is not None:
        counted = period.quota_units - min(remaining_units, period.quota_units)
        own_units, read_at_s = max(0, counted - here - others), now_s
    beyond = max(0, own_units - period.reserved_units)
    for_sale = max(here, period.base_units - beyond - others)
    return replace(use, for_sale_units=for_sale, own_units=own_units, read_at_s=read_at_s)


def load_uses(connection: Connection, periods: Mapping[str, int]) -> dict[str, PeriodUse]:
    """Return how much is used of a period of each connection, by its start; untouched: no entry."""
    found: dict[str, PeriodUse] = {}
    keys = list(periods.items())
    for first in range(0, len(keys), KEYS_MAX):
        chunk = keys[first : first + KEYS_MAX]
        rows = connection.execute(
            select(*_COLUMNS).where(
                tuple_(_period.c.connection_id, _period.c.starts_at_s).in_(chunk)
            )
        )
        found |= {str(row[0]): PeriodUse(*row) for row in rows}
    return found


def load_periods(connection: Connection, connection_id: str, *, limit: int) -> list[PeriodUse]:
    """Return the newest periods of a connection, newest first."""
    rows = connection.execute(
        select(*_COLUMNS)
        .where(_period.c.connection_id == connection_id)
        .order_by(_period.c.starts_at_s.desc())
        .limit(limit)
    )
    return [PeriodUse(*row) for row in rows]


def load_owner_periods(connection: Connection, owner: str, *, limit: int) -> list[RowMapping]:
    """Return the newest periods of all connections of an owner, newest first, with their money."""
    money = (
        select(
            _call.c.connection_id,
            _call.c.period_starts_at_s,
            *(func.sum(part).label(name) for name, part in PERIOD_MONEY.items()),
        )
        .where(_call.c.owner == owner, _call.c.state == "posted")
        .group_by(_call.c.connection_id, _call.c.period_starts_at_s)
        .subquery()
    )
    is_its = (money.c.connection_id == _period.c.connection_id) & (
        money.c.period_starts_at_s == _period.c.starts_at_s
    )
    query = (
        select(
            _period,
            _connection.c.name,
            _connection.c.terms,
            *(func.coalesce(money.c[name], 0).label(name) for name in PERIOD_MONEY),
        )
        .join(_connection, _connection.c.connection_id == _period.c.connection_id)
        .outerjoin(money, is_its)
        .where(_connection.c.owner == owner)
        .order_by(_period.c.starts_at_s.desc(), _period.c.connection_id)
        .limit(limit)
    )
    return list(connection.execute(query).mappings())
