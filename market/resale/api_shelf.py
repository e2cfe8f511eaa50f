"""The connections that are on sale, in memory, and what calls taught about them.

Terms and names come from the ledger and are looked at again and again; a connection that changed
since is refused by the ledger when it is reserved. Health is of this process.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Connection, RowMapping

from ledger.resale.call_records import PeriodTerms, PeriodUse
from ledger.resale.connections import connection_keys, load_connections, load_names
from ledger.resale.periods import load_uses
from market.endpoints.health import WELL, Health, Standing, begin, fail, give_up
from market.endpoints.sealing import Sealer
from market.records.database import Database
from market.resale.call_prices import CallPrice, find_price
from market.resale.connection_terms import ConnectionTerms, parse_terms, read_stored
from market.resale.operations import Operation, TermsRefused
from market.resale.selling_names import sold_under
from market.routing.opened_keys import OpenedKeys
from serving.models.failures import Cause
from serving.models.upstream import Access

log = structlog.get_logger("market")

OVERLAP_S: Final = 5
"""How far back changes are looked for again: clocks and commits are not in one order."""
LATENCIES_KEPT: Final = 101


@dataclass(frozen=True, slots=True)
class SoldConnection:
    """A connection as it is sold."""

    connection_id: str
    owner: str
    name: str
    base_url: str
    payout_address: str
    version: int
    is_approved: bool
    created_at_s: int
    changed_at_s: int
    is_open: bool
    """Enabled, and not suspended."""
    terms: ConnectionTerms

    @property
    def sold_under(self) -> str:
        """The part of a call's path that names it."""
        return sold_under(self.name, self.owner, is_approved=self.is_approved)

    def find_period(self, now_s: int) -> PeriodTerms:
        """Return the period of its quota that ``now_s`` is in."""
        return self.terms.quota.find_period(now_s)

    def find_price(self, operation: Operation, now_s: int) -> CallPrice:
        """Return what a call of an operation costs now."""
        period = self.find_period(now_s)
        return find_price(
            operation,
            self.terms.price,
            # A quota that is never whole again has no beginning but its listing.
            starts_at_s=period.starts_at_s or self.created_at_s,
            ends_at_s=period.ends_at_s,
            now_s=now_s,
        )


class ApiShelf:
    """All connections, by the name that they are sold under. ``refresh`` keeps it current."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._keys = OpenedKeys(database, sealer, connection_keys)
        self._clock = clock
        self._by_id: dict[str, SoldConnection] = {}
        self._by_name: dict[str, list[SoldConnection]] = {}
        self._names: set[tuple[str, str]] = set()
        self._health: dict[str, Health] = {}
        self._uses: dict[str, PeriodUse] = {}
        self._latencies_ms: dict[str, list[int]] = {}
        self._looked_at_s: int | None = None
        self._lock = asyncio.Lock()

    # ------------------------------------------------------------------------------ what is on sale

    async def refresh(self) -> None:
        """Look for changes. Raises ``LedgerUnavailable``."""
        async with self._lock:
            since_s = None if self._looked_at_s is None else self._looked_at_s - OVERLAP_S
            now_s = self._database.now_s()

            def load(connection: Connection) -> tuple[list[RowMapping], set[tuple[str, str]]]:
                rows = load_connections(connection, changed_since_s=since_s)
                return rows, load_names(connection)

            rows, names = await self._database.read(load)
            self._looked_at_s = now_s
            if rows or names != self._names:
                self._names = names
                for row in rows:
                    self._take(row)
                self._index()
            # What other processes sold and gave back, and what a change of the terms left.
            periods = {
                one.connection_id: one.find_period(now_s).starts_at_s
                for one in self._by_id.values()
                if one.is_open
            }
            self._uses = await self._database.read(lambda c: load_uses(c, periods))

    def _take(self, row: RowMapping) -> None:
        connection_id = row["connection_id"]
        if row["status"] == "deleted":
            self._by_id.pop(connection_id, None)
            self._keys.forget(connection_id)
            return
        try:
            terms = parse_terms(read_stored(row))
        except TermsRefused as error:
            # Written by a version that allowed more.
            log.error("connection_unreadable", connection_id=connection_id, error=str(error))
            self._by_id.pop(connection_id, None)
            return
        self._keys.forget(connection_id, but_version=int(row["version"]))
        known = self._by_id.get(connection_id)
        if known is not None and known.version != row["version"]:
            self._health.pop(connection_id, None)
        self._by_id[connection_id] = SoldConnection(
            connection_id=connection_id,
            owner=row["owner"],
            name=row["name"],
            base_url=row["base_url"],
            payout_address=row["payout_address"],
            version=int(row["version"]),
            is_approved=(row["name"], row["owner"]) in self._names,
            created_at_s=int(row["created_at_s"]),
            changed_at_s=int(row["changed_at_s"]),
            is_open=row["status"] == "enabled" and row["suspended_for"] is None,
            terms=terms,
        )

    def _index(self) -> None:
        by_name: dict[str, list[SoldConnection]] = {}
        for connection in self._by_id.values():
            if not connection.is_open:
                continue
            own_name = sold_under(connection.name, connection.owner, is_approved=False)
            by_name.setdefault(own_name, []).append(connection)
            if (connection.name, connection.owner) in self._names:
                by_name.setdefault(connection.name, []).append(connection)
        self._by_name = by_name

    @property
    def products(self) -> Mapping[str, list[SoldConnection]]:
        """What is on sale by the name that it is called by, each connection once."""
        found: dict[str, list[SoldConnection]] = {}
        for name, connections in sorted(self._by_name.items()):
            if name.startswith("~") and any(
                (one.name, one.owner) in self._names for one in connections
            ):
                continue
            found[name] = connections
        return found

    @property
    def approved_names(self) -> set[str]:
        """The names that an owner was approved for."""
        return {name for name, _ in self._names}

    def is_approved(self, name: str, owner: str) -> bool:
        """Tell whether an owner sells under an API's own name."""
        return (name, owner) in self._names

    def list_sold(self, name: str) -> list[SoldConnection]:
        """Return the connections that are sold under a name."""
        return self._by_name.get(name, [])

    def list_open(self) -> list[SoldConnection]:
        """Return the connections that are on sale."""
        return [one for one in self._by_id.values() if one.is_open]

    def find(self, connection_id: str) -> SoldConnection | None:
        """Return a connection that is not deleted, on sale or not."""
        return self._by_id.get(connection_id)

    async def open_access(self, connection: SoldConnection) -> Access:
        """Return a connection's credential. Raises ``SealBroken``, ``KmsUnavailable``."""
        return await self._keys.open(
            connection.connection_id,
            connection.version,
            connection.base_url,
            tenant=connection.owner,
        )

    # --------------------------------------------------------------------------- what calls taught

    def note_use(self, use: PeriodUse | None) -> None:
        """Note what the ledger says of a period."""
        if use is not None:
            self._uses[use.connection_id] = use

    def get_left(self, connection: SoldConnection, now_s: int) -> int:
        """Return how many units can still be sold, as far as this process has seen."""
        period = connection.find_period(now_s)
        use = self._find_use(connection, period)
        return period.base_units if use is None else use.left_units

    def has_left(self, connection: SoldConnection, units: int, now_s: int) -> bool:
        """Tell whether a call of so many units can be sold, as far as this process has seen."""
        period = connection.find_period(now_s)
        use = self._find_use(connection, period)
        return (
            units <= period.base_units if use is None else use.has_left(units, period, now_s=now_s)
        )

    def _find_use(self, connection: SoldConnection, period: PeriodTerms) -> PeriodUse | None:
        use = self._uses.get(connection.connection_id)
        return None if use is None or use.starts_at_s != period.starts_at_s else use

    def get_standing(self, connection_id: str) -> Standing:
        """Return what may be sent to a connection now."""
        return self._health.get(connection_id, WELL).get_standing(self._clock())

    def get_health(self, connection_id: str) -> Health:
        """Return the health of a connection."""
        return self._health.get(connection_id, WELL)

    def get_rest_s(self, connection_id: str) -> float:
        """Return for how many seconds nothing is sent to a connection."""
        health = self._health.get(connection_id, WELL)
        return max(0.0, health.rests_until_s - self._clock()) if health.failures else 0.0

    def begin(self, connection_id: str) -> None:
        """Note that a call is on its way: to one that is not well, it is the trial."""
        health = self._health.get(connection_id)
        if health is not None:
            self._health[connection_id] = begin(health, now_s=self._clock())

    def give_up(self, connection_id: str) -> None:
        """Note that a call said nothing of the connection."""
        health = self._health.get(connection_id)
        if health is not None:
            self._health[connection_id] = give_up(health)

    def succeed(self, connection_id: str, api_ms: int) -> None:
        """Note that a connection answered."""
        self._health.pop(connection_id, None)
        kept = self._latencies_ms.setdefault(connection_id, [])
        kept.append(api_ms)
        del kept[:-LATENCIES_KEPT]

    def fail(self, connection_id: str, cause: Cause, retry_after_s: float | None) -> None:
        """Note that a connection failed."""
        self._health[connection_id] = fail(
            self._health.get(connection_id, WELL),
            cause,
            now_s=self._clock(),
            jitter=random.random(),
            retry_after_s=retry_after_s,
        )

    def heal(self, connection_id: str) -> None:
        """Forget what failed: the owner has tried the connection, and it answered."""
        self._health.pop(connection_id, None)

    def get_p50_ms(self, connection_id: str) -> int | None:
        """Return the median of what the API took lately, in milliseconds."""
        kept = sorted(self._latencies_ms.get(connection_id, ()))
        return kept[len(kept) // 2] if kept else None

    def list_standings(self) -> list[Standing]:
        """Return how the connections on sale are doing."""
        return [self.get_standing(id_) for id_, one in self._by_id.items() if one.is_open]
