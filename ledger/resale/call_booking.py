"""Calls of APIs: reserving quota and money, posting what was counted, or giving both back.

A call is one attempt of one connection at one request: **reserve** the most units and money that it
can take, then **post** what it did take or **void** it. Quota and money are reserved in one
transaction, by the statements that check them. A call's price and payee are those of its
reservation. Every row stays: together they are the audit log. ::

    reserved ──post──► posted ──planned──► part of a payout
        └──void / lease ran out──► voided

Locks are taken in this order: ``api_call``, ``market_account``, ``api_period``, each ascending by
id. Amounts are in 1e-6 USDC. Every function takes the connection of an open write transaction; what
raises has written nothing only where the caller rolls back, as ``ledger.database.writer`` does.
``call_sets`` decides the same for many calls at once.
"""

from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, insert, select, text, update

from ledger.kept_answers import find_work_in
from ledger.resale.call_records import (
    NO_TRACE,
    CallDenial,
    CallFigures,
    CallRefused,
    CallResolved,
    CallTrace,
    NewCall,
    PeriodTerms,
    PeriodUse,
)
from ledger.resale.periods import is_current, reserve_units, resolve_units, settle_period
from ledger.selling.leases import lock_lapsed
from ledger.selling.sale_statements import (
    CHANGE_ACCOUNT,
    FREE_USDC,
    KEY_IS_LIVE,
    PAID_KEY_ID,
    RESERVE_CREDIT,
    RESERVE_PAID,
)
from ledger.tables import CALL_RESERVED, ApiCall, MarketAccount, table_of

_account = table_of(MarketAccount)
_call = table_of(ApiCall)

find_called: Final = find_work_in(_call)
"""Returns what has become of a call, by its request; None where all of it was given back."""


def reserve_call(
    connection: Connection,
    call: NewCall,
    *,
    now_s: int,
    lease_expires_at_s: int,
    holder_id: str | None = None,
) -> PeriodUse:
    """Reserve a call's money and units.

    Raises ``CallRefused`` with the first reason that applies; then nothing may be kept of it.
    """
    assert call.ceiling_usdc >= 0
    assert call.units_max >= 0
    _reserve_credit(connection, call, now_s=now_s)
    use = reserve_units(connection, call, now_s=now_s)
    if use is None:
        is_on_sale = is_current(connection, call.connection_id, call.version)
        raise CallRefused(CallDenial.QUOTA_SOLD if is_on_sale else CallDenial.CONNECTION_CHANGED)
    row = asdict(call)
    period = row.pop("period")
    del row["version"]
    connection.execute(
        insert(_call).values(
            **row,
            call_id=call.call_id,
            period_starts_at_s=period["starts_at_s"],
            state="reserved",
            is_api_failure=False,
            reserved_at_s=now_s,
            lease_expires_at_s=lease_expires_at_s,
            holder_id=holder_id,
        )
    )
    return use


def _reserve_credit(connection: Connection, call: NewCall, *, now_s: int) -> None:
    values: dict[str, Any] = {"account": call.account_id, "ceiling": call.ceiling_usdc}
    is_paid = call.key_id == PAID_KEY_ID
    if not is_paid:
        values |= {"key": call.key_id, "now": now_s}
    statement = RESERVE_PAID if is_paid else RESERVE_CREDIT
    if connection.execute(statement, values).scalar_one_or_none() is not None:
        return
    free = select(FREE_USDC).where(_account.c.account_id == call.account_id)
    if not is_paid:
        free = free.where(KEY_IS_LIVE)
    available = connection.execute(free, values).scalar_one_or_none()
    if available is None:
        raise CallRefused(CallDenial.KEY_REVOKED)
    raise CallRefused(CallDenial.CREDIT_SPENT, int(available))


def post_call(
    connection: Connection,
    call_id: str,
    figures: CallFigures,
    *,
    period: PeriodTerms,
    trace: CallTrace,
    own_units: int = 0,
    now_s: int,
) -> PeriodUse | None:
    """Charge a reserved call; None where the same post was written before.

    ``own_units``: what a call of the owner's own took of the quota.

    Raises ``CallResolved`` where it was voided, was posted otherwise or is unknown, and
    ``ValueError`` for figures that do not add up.
    """
    check_call_sum(figures)
    row = connection.execute(
        update(_call)
        .where(_call.c.call_id == call_id, _call.c.state == "reserved")
        .values(
            **asdict(figures),
            state="posted",
            status=trace.status,
            api_ms=trace.api_ms,
            whole_ms=trace.whole_ms,
            resolved_at_s=now_s,
        )
        .returning(
            _call.c.account_id, _call.c.connection_id, _call.c.ceiling_usdc, _call.c.units_max
        )
    ).one_or_none()
    if row is None:
        _check_posted(connection, call_id, figures)
        return None
    account_id, connection_id, ceiling_usdc, units_max = row
    connection.execute(
        CHANGE_ACCOUNT,
        {"account": account_id, "freed": ceiling_usdc, "spent": figures.cost_usdc},
    )
    use = resolve_units(
        connection,
        connection_id,
        period.starts_at_s,
        freed_units=units_max,
        sold_units=figures.units,
        own_units=own_units,
    )
    if trace.remaining_units is None and not own_units:
        return use
    return _settle(connection, connection_id, period, trace, now_s=now_s) or use


def check_call_sum(figures: CallFigures) -> None:
    """Raise ``ValueError`` for figures that do not add up."""
    if figures.cost_usdc != figures.earning_usdc + figures.fee_usdc:
        raise ValueError(f"a cost of {figures.cost_usdc} is not the sum of its parts")


def _check_posted(connection: Connection, call_id: str, figures: CallFigures) -> None:
    row = (
        connection.execute(select(_call).where(_call.c.call_id == call_id)).mappings().one_or_none()
    )
    is_same = row is not None and all(row[name] == value for name, value in asdict(figures).items())
    if row is None or row["state"] != "posted" or not is_same:
        raise CallResolved(f"call {call_id} is {'unknown' if row is None else row['state']}")


def void_call(
    connection: Connection,
    call_id: str,
    *,
    reason: str,
    is_api_failure: bool,
    period: PeriodTerms,
    lost_units: int = 0,
    own_units: int = 0,
    trace: CallTrace = NO_TRACE,
    now_s: int,
) -> PeriodUse | None:
    """Give a whole reservation back; None where it had been given back.

    ``lost_units``: what the API counts all the same; ``own_units``: of an owner's call. Raises
    ``CallResolved`` where the call was posted or is unknown.
    """
    row = connection.execute(
        update(_call)
        .where(_call.c.call_id == call_id, _call.c.state == "reserved")
        .values(
            state="voided",
            void_reason=reason,
            is_api_failure=is_api_failure,
            status=trace.status,
            api_ms=trace.api_ms,
            whole_ms=trace.whole_ms,
            resolved_at_s=now_s,
        )
        .returning(
            _call.c.account_id, _call.c.connection_id, _call.c.ceiling_usdc, _call.c.units_max
        )
    ).one_or_none()
    if row is None:
        state = connection.execute(
            select(_call.c.state).where(_call.c.call_id == call_id)
        ).scalar_one_or_none()
        if state != "voided":
            raise CallResolved(f"call {call_id} is {state or 'unknown'}")
        return None
    account_id, connection_id, ceiling_usdc, units_max = row
    connection.execute(CHANGE_ACCOUNT, {"account": account_id, "freed": ceiling_usdc, "spent": 0})
    use = resolve_units(
        connection,
        connection_id,
        period.starts_at_s,
        freed_units=units_max,
        lost_units=lost_units,
        own_units=own_units,
    )
    if trace.remaining_units is None and not lost_units and not own_units:
        return use
    return _settle(connection, connection_id, period, trace, now_s=now_s) or use


def _settle(
    connection: Connection,
    connection_id: str,
    period: PeriodTerms,
    trace: CallTrace,
    *,
    now_s: int,
) -> PeriodUse | None:
    return settle_period(
        connection, connection_id, period, remaining_units=trace.remaining_units, now_s=now_s
    )


def sweep_calls(connection: Connection, *, now_s: int, limit: int = 1_000) -> int:
    """Void at most ``limit`` reservations whose lease has run out; return how many were found."""
    is_expired = and_(text(CALL_RESERVED), _call.c.lease_expires_at_s <= now_s)
    return _void_found(connection, is_expired, "lease_expired", now_s=now_s, limit=limit)


def void_calls_of(connection: Connection, holder_id: str, *, now_s: int, limit: int) -> int:
    """Void at most ``limit`` reservations of a dead process; return how many were found."""
    is_its = and_(text(CALL_RESERVED), _call.c.holder_id == holder_id)
    return _void_found(connection, is_its, "process_died", now_s=now_s, limit=limit)


def _void_found(
    connection: Connection, which: ColumnElement[bool], reason: str, *, now_s: int, limit: int
) -> int:
    found = lock_lapsed(connection, _call, _call.c.call_id, which, limit)
    if not found:
        return 0
    voided = connection.execute(
        update(_call)
        .where(_call.c.call_id.in_(found), _call.c.state == "reserved")
        .values(state="voided", void_reason=reason, is_api_failure=False, resolved_at_s=now_s)
        .returning(
            _call.c.account_id,
            _call.c.ceiling_usdc,
            _call.c.connection_id,
            _call.c.period_starts_at_s,
            _call.c.units_max,
        )
    ).all()
    for account_id, ceiling_usdc, *_ in sorted(voided, key=lambda row: str(row[0])):
        connection.execute(
            CHANGE_ACCOUNT, {"account": account_id, "freed": ceiling_usdc, "spent": 0}
        )
    for _, _, connection_id, starts_at_s, units_max in sorted(voided, key=lambda row: row[2:4]):
        resolve_units(connection, connection_id, starts_at_s, freed_units=units_max)
    return len(found)
