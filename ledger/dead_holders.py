"""What a dead process leased, over all wings: freed in short transactions, again harmless."""

from functools import partial
from typing import Final

from sqlalchemy import Connection, Engine

from ledger.database.clock import LedgerClock
from ledger.database.engine import write_until_through
from ledger.database.heartbeat import Heartbeat
from ledger.payments.claims import release_claims_of
from ledger.resale.call_booking import void_calls_of
from ledger.selling.sales import void_sales_of
from ledger.spending.leases import void_usage_of

AT_ONCE: Final = 1_000
"""Leases that are freed in one transaction."""


def build_heartbeat(engine: Engine, *, role: str, clock: LedgerClock) -> Heartbeat:
    """Return what shows that this process lives, and frees what others left that do not."""
    return Heartbeat(engine, role=role, clock=clock, free=partial(free_leases_of, engine))


def free_leases_of(engine: Engine, holder_id: str, now_s: int) -> int:
    """Free everything that a holder reserved or claimed; return how many leases that were.

    ``now_s`` is the ledger's clock. Raises ``LedgerUnavailable``; what was freed by then stays so.
    """

    def usage(connection: Connection) -> int:
        return void_usage_of(connection, holder_id, now_s=now_s, limit=AT_ONCE)

    def sales(connection: Connection) -> int:
        return void_sales_of(connection, holder_id, now_s=now_s, limit=AT_ONCE)

    def calls(connection: Connection) -> int:
        return void_calls_of(connection, holder_id, now_s=now_s, limit=AT_ONCE)

    def claims(connection: Connection) -> int:
        return release_claims_of(connection, holder_id, now_s=now_s)

    freed = 0
    # Claims last: a claim stands for as long as a sale or a call of its request does.
    for free in (usage, sales, calls, claims):
        while count := write_until_through(engine, free):
            freed += count
    return freed
