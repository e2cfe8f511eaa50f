"""Buyers' own providers and their sealed keys. Each function is part of a caller's transaction."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, update

from ledger.errors import TooMany
from ledger.selling.accounts import lock_owner
from ledger.selling.sealed_keys import SealedKey, SealedKeys
from ledger.tables import MarketOwnProvider, MarketOwnProviderKey, table_of

_provider = table_of(MarketOwnProvider)
provider_keys: Final = SealedKeys(table_of(MarketOwnProviderKey), "provider_id")

PROVIDERS_MAX: Final = 25
"""Of one account, that are not deleted."""
PROVIDERS_KEPT_MAX: Final = 500
"""Of one account, with deleted ones that are not purged yet."""


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
    listed, kept = connection.execute(
        select(func.count().filter(_provider.c.status != "deleted"), func.count()).where(
            _provider.c.account_id == provider.account_id
        )
    ).one()
    if listed >= PROVIDERS_MAX:
        raise TooMany(f"{PROVIDERS_MAX} providers are listed")
    if kept >= PROVIDERS_KEPT_MAX:
        raise TooMany(f"{PROVIDERS_KEPT_MAX} providers were made lately")
    values = {
        **asdict(provider),
        "status": "active",
        "version": 0,
        "created_at_s": now_s,
        "changed_at_s": now_s,
    }
    connection.execute(insert(_provider).values(values))
    provider_keys.save(connection, provider.provider_id, sealed)


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
        provider_keys.change(connection, provider_id, sealed)
    return True


def delete_provider(
    connection: Connection, *, provider_id: str, account_id: str, now_s: int
) -> bool:
    """Take a provider down and erase its key; tell whether there is one. Idempotent."""
    is_theirs = _provider.c.account_id == account_id
    return provider_keys.take_down(connection, _provider, provider_id, is_theirs, now_s=now_s)
