"""Sums of what a position's requests used, by what they have in common."""

import re
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Connection,
    Select,
    Table,
    case,
    cast,
    func,
    select,
    type_coerce,
    union_all,
)
from sqlalchemy.sql.elements import ColumnElement

from contracts.units import SECONDS_PER_DAY, utc_day
from ledger.spending.archived_sums import load_archived_days
from ledger.spending.children import get_month, get_month_start_s
from ledger.tables import Usage, UsageDay, table_of
from proxy.errors import format_time
from proxy.store import UsageQuery
from serving.http.errors import bad_request

_day = table_of(UsageDay)
_usage = table_of(Usage)

GROUPS_MAX: Final = 1_000
"""The most groups that are listed, the dearest first."""

_METADATA: Final = re.compile(r"metadata\.([A-Za-z0-9_.-]{1,64})")
_SUMMED: Final = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "cost_usdc")
_COLUMNS: Final = {"user": "end_user", "model": "model", "key": "key_id"}


def check_grouping(group_by: str) -> str:
    """Return what to group by. Raises 400 for what nothing is grouped by."""
    if group_by in _COLUMNS or group_by == "day" or _METADATA.fullmatch(group_by) is not None:
        return group_by
    message = "'group_by' must be user, model, key, day or metadata.<name>."
    raise bad_request("invalid_group", message, param="group_by")


def load_sums(connection: Connection, query: UsageQuery, group_by: str) -> list[dict[str, Any]]:
    """Return the sums of what was charged, the dearest group first. Amounts in 1e-6 USDC.

    Requests that were not charged are not among them. A group of None has those without a name.
    Of archived requests there are whole UTC days only: a day counts where it begins.
    """
    sources = union_all(
        _sum_rows(connection, query, group_by), _sum_archived(connection, query, group_by)
    ).subquery()
    cost = func.sum(sources.c.cost_usdc)
    statement = (
        select(sources.c.name, *(func.sum(sources.c[name]).label(name) for name in _SUMMED))
        .group_by(sources.c.name)
        .order_by(cost.desc(), sources.c.name)
        .limit(GROUPS_MAX)
    )
    sums = [
        {name: row[name] if name == "name" else int(row[name]) for name in row}
        for row in connection.execute(statement).mappings()
    ]
    if group_by == "day":
        for one in sums:
            one["name"] = format_time(int(one["name"]) * SECONDS_PER_DAY)[:10]
    return sums


def _sum_rows(connection: Connection, query: UsageQuery, group_by: str) -> Select[Any]:
    day = cast(_usage.c.reserved_at_s // SECONDS_PER_DAY, BigInteger)
    by = _find_column(connection, _usage, group_by, day)
    statement = select(
        by.label("name"),
        func.count().label("requests"),
        func.sum(_usage.c.prompt_tokens).label("prompt_tokens"),
        func.sum(func.coalesce(_usage.c.cached_tokens, 0)).label("cached_tokens"),
        func.sum(_usage.c.completion_tokens).label("completion_tokens"),
        func.sum(_usage.c.cost_usdc).label("cost_usdc"),
    ).where(
        _usage.c.token_id == query.token_id,
        _usage.c.reserved_at_s >= query.from_s,
        _usage.c.reserved_at_s < query.to_s,
        _usage.c.cost_usdc.is_not(None),
    )
    if query.key_id is not None:
        statement = statement.where(_usage.c.key_id == query.key_id)
    return statement.group_by(by)


def _sum_archived(connection: Connection, query: UsageQuery, group_by: str) -> Select[Any]:
    """Return the sums of the archived days that begin within the query's time."""
    by = _find_column(connection, _day, group_by, _day.c.day)
    begins_s = _day.c.day * SECONDS_PER_DAY
    statement = select(
        by.label("name"), *(func.sum(_day.c[name]).label(name) for name in _SUMMED)
    ).where(_day.c.token_id == query.token_id, begins_s >= query.from_s, begins_s < query.to_s)
    if query.key_id is not None:
        statement = statement.where(_day.c.key_id == query.key_id)
    return statement.group_by(by)


def _find_column(
    connection: Connection, table: Table, group_by: str, day: ColumnElement[Any]
) -> ColumnElement[Any]:
    if group_by == "day":
        return day
    field = _METADATA.fullmatch(group_by)
    if field is None:
        column: ColumnElement[Any] = table.c[_COLUMNS[group_by]]
        return column
    is_sqlite = connection.dialect.name == "sqlite"
    labels = type_coerce(table.c.labels, JSON) if is_sqlite else cast(table.c.labels, JSON)
    named: ColumnElement[Any] = labels[field[1]].as_string()
    return named


def load_spent(
    connection: Connection, *, token_id: int, key_id: str | None, now_s: int
) -> tuple[int, int, int]:
    """Return what was charged in this UTC day, in this UTC month and in all, in 1e-6 USDC.

    ``key_id``: of this key alone; None: of all keys of the position.
    """
    day_s = utc_day(now_s) * SECONDS_PER_DAY
    month_s = get_month_start_s(get_month(utc_day(now_s)))
    cost = _usage.c.cost_usdc

    def sum_since(start_s: int) -> ColumnElement[Any]:
        return func.coalesce(func.sum(case((_usage.c.reserved_at_s >= start_s, cost), else_=0)), 0)

    statement = select(sum_since(day_s), sum_since(month_s), sum_since(0)).where(
        _usage.c.token_id == token_id, cost.is_not(None)
    )
    if key_id is not None:
        statement = statement.where(_usage.c.key_id == key_id)
    day_usdc, month_usdc, all_usdc = connection.execute(statement).one()
    # Archived usage is never of this month.
    archived = load_archived_days(connection, token_id=token_id, key_id=key_id)
    return int(day_usdc), int(month_usdc), int(all_usdc) + sum(archived.values())
