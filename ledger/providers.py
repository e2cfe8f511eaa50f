"""Buyers' own providers and their sealed keys. Each function is part of a caller's transaction."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, select, update

from ledger.engine import is_postgres
from ledger.errors import TooMany
from ledger.market_keys import lock_owner
from ledger.offers import SealedKey
from ledger.tables import MarketProvider, MarketProviderKey, table_of

_provider = table_of(MarketProvider)
_provider_key = table_of(MarketProviderKey)

PROVIDERS_MAX: Final = 25
"""Of one account, that are not deleted."""


@dataclass(frozen=True, slots=True)
class NewProvider:
    """A provider to be stored. ``models`` is JSON: the buyer's names to the provider's."""

    provider_id: str
    account_id: str
    label: str
    base_url: str
    models: str
    position: str


def save_provider(
    connection: Connection, provider: NewProvider, sealed: SealedKey, *, now_s: int
) -> None:
    """Store a provider with its sealed key. Raises ``TooMany`` above ``PROVIDERS_MAX``."""
    lock_owner(connection, "buyer", provider.account_id)
    listed = connection.execute(
        select(func.count()).where(
            _provider.c.account_id == provider.account_id, _provider.c.status != "deleted"
        )
    ).scalar_one()
    if listed >= PROVIDERS_MAX:
        raise TooMany(f"{PROVIDERS_MAX} providers are listed")
    values = {
        **asdict(provider),
        "status": "active",
        "version": 0,
        "created_at_s": now_s,
        "changed_at_s": now_s,
    }
    connection.execute(insert(_provider).values(values))
    connection.execute(
        insert(_provider_key).values(provider_id=provider.provider_id, **asdict(sealed))
    )


def change_provider(
    connection: Connection,
    *,
    provider_id: str,
    account_id: str,
    changes: Mapping[str, Any],
    sealed: SealedKey | None,
    now_s: int,
) -> bool:
    """Change a provider of an account's, and its sealed key; tell whether there is one."""
    changed = connection.execute(
        update(_provider)
        .where(
            _provider.c.provider_id == provider_id,
            _provider.c.account_id == account_id,
            _provider.c.status != "deleted",
        )
        .values(**changes, version=_provider.c.version + 1, changed_at_s=now_s)
    )
    if changed.rowcount != 1:
        return False
    if sealed is not None:
        connection.execute(
            update(_provider_key)
            .where(_provider_key.c.provider_id == provider_id)
            .values(**asdict(sealed))
        )
    return True


def delete_provider(
    connection: Connection, *, provider_id: str, account_id: str, now_s: int
) -> bool:
    """Take a provider down and erase its key; tell whether there is one. Again is harmless.

    On SQLite the erased bytes are overwritten with zeros; ``scrub`` empties the log of writes.
    """
    if not is_postgres(connection):
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    changed = connection.execute(
        update(_provider)
        .where(_provider.c.provider_id == provider_id, _provider.c.account_id == account_id)
        .values(status="deleted", version=_provider.c.version + 1, changed_at_s=now_s)
    )
    if changed.rowcount != 1:
        return False
    connection.execute(delete(_provider_key).where(_provider_key.c.provider_id == provider_id))
    return True


def replace_provider_key(
    connection: Connection, *, provider_id: str, before: SealedKey, after: SealedKey
) -> bool:
    """Put a key that was wrapped anew in place of ``before``; tell whether that was still there."""
    changed = connection.execute(
        update(_provider_key)
        .where(
            _provider_key.c.provider_id == provider_id,
            _provider_key.c.wrapped_key == before.wrapped_key,
            _provider_key.c.ciphertext == before.ciphertext,
        )
        .values(**asdict(after))
    )
    return changed.rowcount == 1
