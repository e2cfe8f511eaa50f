"""Sums of what a position's requests used, by what they have in common."""

import re
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Connection, case, cast, func, select, type_coerce
from sqlalchemy.sql.elements import ColumnElement

from contracts.units import SECONDS_PER_DAY, utc_day
from ledger.spending.children import get_month, get_month_start_s
from ledger.tables import Usage, table_of
from proxy.errors import format_time
from proxy.store import UsageQuery
from serving.http.errors import bad_request

_usage = table_of(Usage)

GROUPS_MAX: Final = 1_000
"""The most groups that are listed, the dearest first."""

_METADATA: Final = re.compile(r"metadata\.([A-Za-z0-9_.-]{1,64})")
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
    """
    by = _find_column(connection, group_by)
    cost = func.sum(_usage.c.cost_usdc)
    statement = (
        select(
            by.label("name"),
            func.count().label("requests"),
            func.sum(_usage.c.prompt_tokens).label("prompt_tokens"),
            func.sum(func.coalesce(_usage.c.cached_tokens, 0)).label("cached_tokens"),
            func.sum(_usage.c.completion_tokens).label("completion_tokens"),
            cost.label("cost_usdc"),
        )
        .where(
            _usage.c.token_id == query.token_id,
            _usage.c.reserved_at_s >= query.from_s,
            _usage.c.reserved_at_s < query.to_s,
            _usage.c.cost_usdc.is_not(None),
        )
        .group_by(by)
        .order_by(cost.desc(), by)
        .limit(GROUPS_MAX)
    )
    if query.key_id is not None:
        statement = statement.where(_usage.c.key_id == query.key_id)
    sums = [
        {name: row[name] if name == "name" else int(row[name]) for name in row}
        for row in connection.execute(statement).mappings()
    ]
    if group_by == "day":
        for one in sums:
            one["name"] = format_time(int(one["name"]) * SECONDS_PER_DAY)[:10]
    return sums


def _find_column(connection: Connection, group_by: str) -> ColumnElement[Any]:
    if group_by == "day":
        return cast(_usage.c.reserved_at_s // SECONDS_PER_DAY, BigInteger)
    field = _METADATA.fullmatch(group_by)
    if field is None:
        return _usage.c[_COLUMNS[group_by]]
    is_sqlite = connection.dialect.name == "sqlite"
    labels = type_coerce(_usage.c.labels, JSON) if is_sqlite else cast(_usage.c.labels, JSON)
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
    return int(day_usdc), int(month_usdc), int(all_usdc)
