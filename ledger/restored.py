"""What a ledger that was restored from a backup must forget before anybody works with it."""

import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, Table, delete, func, select, update

from ledger.database.schema import BATCH_PREFIX_BYTES
from ledger.tables import (
    ChildKey,
    Deployment,
    MarketKey,
    SupplierKey,
    SupplierSession,
    SupplierToken,
    Usage,
    WalletSession,
    Webhook,
    table_of,
)

_deployment = table_of(Deployment)
_usage = table_of(Usage)
_webhook = table_of(Webhook)
_REVOKED: tuple[tuple[str, Table], ...] = (
    ("child keys of positions", table_of(ChildKey)),
    ("keys of sellers and buyers", table_of(MarketKey)),
    ("keys of suppliers", table_of(SupplierKey)),
)
_DELETED: tuple[tuple[str, Table], ...] = (
    ("wallets' sessions", table_of(WalletSession)),
    ("suppliers' sessions", table_of(SupplierSession)),
    ("suppliers' tokens", table_of(SupplierToken)),
)


@dataclass(frozen=True, slots=True)
class OpenUsage:
    """Requests that were open when the backup was made: what they cost is lost."""

    requests: int
    ceiling_usdc: int


def renew_batch_ids(connection: Connection) -> None:
    """Give the ledger new batch ids: those that follow the backup's were used since, on chain."""
    prefix = secrets.token_hex(BATCH_PREFIX_BYTES)
    connection.execute(update(_deployment).values(batch_prefix=prefix, next_batch_number=0))


def end_all_keys(connection: Connection, *, now_s: int) -> dict[str, int]:
    """End every key, session and webhook that can be ended off chain; return how many of each.

    Which of them were ended after the backup is lost, so none may go on. Root keys of positions go
    by the key epoch on chain, and are not concerned.
    """
    ended = {}
    for name, table in _REVOKED:
        live = update(table).where(table.c.revoked_at_s.is_(None)).values(revoked_at_s=now_s)
        ended[name] = connection.execute(live).rowcount
    live = update(_webhook).where(_webhook.c.ended_at_s.is_(None)).values(ended_at_s=now_s)
    ended["webhooks of positions"] = connection.execute(live).rowcount
    for name, table in _DELETED:
        ended[name] = connection.execute(delete(table)).rowcount
    return {name: count for name, count in ended.items() if count}


def load_open_usage(connection: Connection) -> OpenUsage:
    """Return what was reserved; it is voided when its leases end."""
    row = connection.execute(
        select(func.count(), func.coalesce(func.sum(_usage.c.ceiling_usdc), 0)).where(
            _usage.c.state == "reserved"
        )
    ).one()
    return OpenUsage(int(row[0]), int(row[1]))
