"""What the keeper spends on gas in a day, by kind and by account, and what it leaves alone.

A day is UTC's, by the number of days since 1970. Amounts are 1e-6 USDC. Every function takes the
connection of an open transaction.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from contracts.units import SECONDS_PER_DAY
from ledger.database.engine import is_postgres
from ledger.database.statements import LOOKUP_SIZE, chunks
from ledger.tables import KeeperDay, table_of

_day = table_of(KeeperDay)

WHOLE_KIND: Final = ""
"""The account of all that a kind has spent, and of what it left alone."""
DAYS_KEPT: Final = 400
"""For so many days a kind's figures are kept, in days; those of accounts for two."""
ACCOUNT_DAYS_KEPT: Final = 2

_FIGURES: Final = ("gas_usdc", "left_items", "left_usdc")


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """The items of a kind that were left alone because they cost more than they bring."""

    items: int
    brings_usdc: int


def note_gas(
    connection: Connection,
    kind: str,
    accounts: Sequence[str],
    *,
    cost_usdc: int,
    now_s: int,
    funds: Sequence[str] = (),
    marks: Sequence[str] = (),
) -> None:
    """Count what a transaction has cost, in equal parts for its accounts, rounded up.

    ``funds`` are further accounts that have all of it, ``marks`` such that have a part each.
    """
    costs_usdc = Counter(dict.fromkeys((WHOLE_KIND, *funds), cost_usdc))
    for account in (*accounts, *marks):
        costs_usdc[account] += -(-cost_usdc // max(1, len(accounts)))
    _add(
        connection,
        [_figures(kind, account, gas_usdc=usdc) for account, usdc in sorted(costs_usdc.items())],
        now_s=now_s,
    )


def note_left(connection: Connection, left: Mapping[str, LeftAlone], *, now_s: int) -> None:
    """Count items that were left alone, by kind."""
    rows = [
        _figures(kind, WHOLE_KIND, left_items=one.items, left_usdc=one.brings_usdc)
        for kind, one in sorted(left.items())
    ]
    _add(connection, rows, now_s=now_s)


def _figures(kind: str, account: str, **figures: int) -> dict[str, Any]:
    return {"kind": kind, "account": account, **dict.fromkeys(_FIGURES, 0), **figures}


def _add(connection: Connection, rows: Sequence[dict[str, Any]], *, now_s: int) -> None:
    """Add figures to the day's; at most one row for each kind and account."""
    dialect = postgresql if is_postgres(connection) else sqlite
    for some in chunks(rows, LOOKUP_SIZE):
        day = now_s // SECONDS_PER_DAY
        statement = dialect.insert(_day).values([{"day": day, **row} for row in some])
        added = {name: _day.c[name] + statement.excluded[name] for name in _FIGURES}
        connection.execute(
            statement.on_conflict_do_update(index_elements=["day", "kind", "account"], set_=added)
        )


def load_gas(connection: Connection, *, now_s: int) -> dict[tuple[str, str], int]:
    """Return what was spent since the day began (1e-6 USDC), by kind and account."""
    rows = connection.execute(
        select(_day.c.kind, _day.c.account, _day.c.gas_usdc).where(
            _day.c.day == now_s // SECONDS_PER_DAY
        )
    )
    return {(str(kind), str(account)): int(gas_usdc) for kind, account, gas_usdc in rows}


def load_left(connection: Connection, *, since_s: int) -> dict[str, LeftAlone]:
    """Return what each kind has left alone since the beginning of the day of ``since_s``."""
    rows = connection.execute(
        select(_day.c.kind, func.sum(_day.c.left_items), func.sum(_day.c.left_usdc))
        .where(_day.c.day >= since_s // SECONDS_PER_DAY, _day.c.account == WHOLE_KIND)
        .group_by(_day.c.kind)
    )
    return {str(kind): LeftAlone(int(items), int(usdc)) for kind, items, usdc in rows if items}


def drop_days(connection: Connection, *, now_s: int) -> None:
    """Forget accounts' figures of days that are over, and kinds' of more than a year ago."""
    today = now_s // SECONDS_PER_DAY
    connection.execute(
        delete(_day).where(
            (_day.c.day <= today - DAYS_KEPT)
            | ((_day.c.day <= today - ACCOUNT_DAYS_KEPT) & (_day.c.account != WHOLE_KIND))
        )
    )
