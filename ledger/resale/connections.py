"""Connections to APIs, their sealed credentials and names. Each function is part of a caller's
transaction."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from contracts.errors import Rejected
from ledger.database.statements import insert_or_ignore
from ledger.errors import TooMany
from ledger.resale.periods import PERIOD_MONEY
from ledger.selling.accounts import lock_owner
from ledger.selling.sealed_keys import SealedKey, SealedKeys
from ledger.tables import (
    ApiCall,
    ApiConnection,
    ApiConnectionKey,
    ApiFlag,
    ApiName,
    MarketAccount,
    table_of,
)

_account = table_of(MarketAccount)
_call = table_of(ApiCall)
_connection = table_of(ApiConnection)
_flag = table_of(ApiFlag)
_key = table_of(ApiConnectionKey)
_name = table_of(ApiName)
connection_keys: Final = SealedKeys(_key, "connection_id")

CONNECTIONS_MAX: Final = 50
"""Of one owner, that are not deleted."""
CONNECTIONS_KEPT_MAX: Final = 500
"""Of one owner, with deleted ones."""


class ConnectionChanged(Rejected):
    """The connection is at another version than the change was made from."""


class NameTaken(Rejected):
    """The owner has another connection of this name."""


@dataclass(frozen=True, slots=True)
class NewConnection:
    """A connection to be stored. ``terms`` is JSON."""

    connection_id: str
    owner: str
    name: str
    base_url: str
    terms: str
    payout_address: str


def save_connection(
    connection: Connection, new: NewConnection, sealed: SealedKey, *, now_s: int
) -> None:
    """Store a connection with its sealed credential, on sale.

    Raises ``TooMany`` above ``CONNECTIONS_MAX``, ``NameTaken``.
    """
    lock_owner(connection, "seller", new.owner)
    is_theirs = _connection.c.owner == new.owner
    listed, kept = connection.execute(
        select(func.count().filter(_connection.c.status != "deleted"), func.count()).where(
            is_theirs
        )
    ).one()
    if listed >= CONNECTIONS_MAX:
        raise TooMany(f"{CONNECTIONS_MAX} connections are listed")
    if kept >= CONNECTIONS_KEPT_MAX:
        raise TooMany(f"{CONNECTIONS_KEPT_MAX} connections were made")
    taken = select(_connection.c.connection_id).where(
        is_theirs, _connection.c.name == new.name, _connection.c.status != "deleted"
    )
    if connection.execute(taken).one_or_none() is not None:
        raise NameTaken(f"there is a connection {new.name!r}")
    connection.execute(
        insert(_connection).values(
            **asdict(new), status="enabled", version=0, created_at_s=now_s, changed_at_s=now_s
        )
    )
    connection_keys.save(connection, new.connection_id, sealed)


def change_connection(
    connection: Connection,
    *,
    connection_id: str,
    owner: str,
    changes: Mapping[str, Any],
    version: int | None = None,
    sealed: SealedKey | None = None,
    now_s: int,
) -> bool:
    """Change a connection of an owner's, and its sealed credential; tell whether there is one.

    Raises ``ConnectionChanged`` where it is not at ``version`` any more; then nothing was written.
    """
    is_theirs = (
        (_connection.c.connection_id == connection_id)
        & (_connection.c.owner == owner)
        & (_connection.c.status != "deleted")
    )
    is_it = is_theirs if version is None else is_theirs & (_connection.c.version == version)
    changed = connection.execute(
        update(_connection)
        .where(is_it)
        .values(**changes, version=_connection.c.version + 1, changed_at_s=now_s)
    )
    if changed.rowcount != 1:
        there = select(_connection.c.version).where(is_theirs)
        if connection.execute(there).scalar_one_or_none() is not None:
            raise ConnectionChanged(f"connection {connection_id} was changed meanwhile")
        return False
    if sealed is not None:
        connection_keys.change(connection, connection_id, sealed)
    return True


def delete_connection(
    connection: Connection, *, connection_id: str, owner: str, now_s: int
) -> bool:
    """Take a connection down and erase its credential; tell whether there is one. Idempotent."""
    is_theirs = _connection.c.owner == owner
    return connection_keys.take_down(connection, _connection, connection_id, is_theirs, now_s=now_s)


def suspend_connection(
    connection: Connection, connection_id: str, *, reason: str, now_s: int
) -> None:
    """Take a connection off sale until its owner enables it again. Idempotent."""
    connection.execute(
        update(_connection)
        .where(_connection.c.connection_id == connection_id, _connection.c.suspended_for.is_(None))
        .values(suspended_for=reason, version=_connection.c.version + 1, changed_at_s=now_s)
    )


def approve_name(connection: Connection, *, name: str, owner: str, now_s: int) -> None:
    """Let an owner sell under an API's own name. Idempotent."""
    insert_or_ignore(connection, _name, {"name": name, "owner": owner, "approved_at_s": now_s})
    _touch(connection, owner, now_s=now_s)


def revoke_name(connection: Connection, *, name: str, owner: str, now_s: int) -> bool:
    """Take an approval back; tell whether there was one."""
    is_it = (_name.c.name == name) & (_name.c.owner == owner)
    gone = connection.execute(delete(_name).where(is_it)).rowcount == 1
    _touch(connection, owner, now_s=now_s)
    return gone


def _touch(connection: Connection, owner: str, *, now_s: int) -> None:
    """Markets look for changed connections."""
    connection.execute(
        update(_connection).where(_connection.c.owner == owner).values(changed_at_s=now_s)
    )


def load_names(connection: Connection) -> set[tuple[str, str]]:
    """Return every approved pair of name and owner."""
    return {
        (str(name), str(owner))
        for name, owner in connection.execute(select(_name.c.name, _name.c.owner))
    }


def load_connections(
    connection: Connection, *, owner: str | None = None, changed_since_s: int | None = None
) -> list[RowMapping]:
    """Return connections, oldest first: an owner's, the changed ones (also deleted), or all."""
    query = select(_connection)
    if changed_since_s is None:
        query = query.where(_connection.c.status != "deleted")
    else:
        query = query.where(_connection.c.changed_at_s >= changed_since_s)
    if owner is not None:
        query = query.where(_connection.c.owner == owner)
    return list(connection.execute(query.order_by(_connection.c.connection_id)).mappings())


CALL_COLUMNS: Final = (
    "call_id",
    "reserved_at_s",
    "account_id",
    "operation",
    "state",
    "status",
    "units",
    "price_usdc",
    "cost_usdc",
    "earning_usdc",
    "fee_usdc",
    "void_reason",
    "api_ms",
    "whole_ms",
    "payout_id",
)
"""The columns of a call that its connection's owner sees."""


def load_calls(
    connection: Connection, connection_id: str, *, after: str, limit: int
) -> list[RowMapping]:
    """Return a connection's calls after the id ``after``, oldest first."""
    return list(
        connection.execute(
            select(*(_call.c[name] for name in CALL_COLUMNS))
            .where(_call.c.connection_id == connection_id, _call.c.call_id > after)
            .order_by(_call.c.call_id)
            .limit(limit)
        ).mappings()
    )


@dataclass(frozen=True, slots=True)
class PeriodMoney:
    """What came of the calls of one period, see ``PERIOD_MONEY``. Amounts in 1e-6 USDC."""

    calls: int
    units: int
    revenue_usdc: int
    earning_usdc: int
    fee_usdc: int


def load_period_money(
    connection: Connection, connection_id: str, *, starts_at_s: int
) -> PeriodMoney:
    """Return the sums of a period's posted calls."""
    sums = (func.coalesce(func.sum(part), 0) for part in (_call.c.units, *PERIOD_MONEY.values()))
    row = connection.execute(
        select(func.count(), *sums).where(
            _call.c.connection_id == connection_id,
            _call.c.period_starts_at_s == starts_at_s,
            _call.c.state == "posted",
        )
    ).one()
    return PeriodMoney(*(int(value) for value in row))


def save_flag(
    connection: Connection,
    *,
    connection_id: str,
    account_id: str,
    reason: str,
    detail: str,
    now_s: int,
) -> None:
    """Note why a consumer is slowed down; the first of each reason stays. Idempotent."""
    insert_or_ignore(
        connection,
        _flag,
        {
            "connection_id": connection_id,
            "account_id": account_id,
            "reason": reason,
            "detail": detail,
            "flagged_at_s": now_s,
        },
    )


def load_flags(connection: Connection, connection_id: str, *, limit: int) -> list[RowMapping]:
    """Return the flags of a connection's consumers, newest first."""
    query = select(_flag).where(_flag.c.connection_id == connection_id)
    return list(
        connection.execute(query.order_by(_flag.c.flagged_at_s.desc()).limit(limit)).mappings()
    )
