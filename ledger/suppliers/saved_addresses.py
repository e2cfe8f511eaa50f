"""Suppliers' addresses for payouts. Every function is part of the caller's transaction."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, RowMapping, insert, select, update

from ledger.database.statements import insert_or_ignore
from ledger.suppliers.accounts import lock_supplier
from ledger.tables import SupplyAccount, SupplyAddress, table_of

_account = table_of(SupplyAccount)
_address = table_of(SupplyAddress)


@dataclass(frozen=True, slots=True)
class SavedAddress:
    """An address of a network, as it counts or will count."""

    address_id: str
    supplier_id: str
    network: str
    address: str
    counts_from_s: int


class Saved(StrEnum):
    """What saving an address did."""

    NOTHING = "nothing"
    """It counts already, or will: nothing changed."""
    NETWORK = "network"
    """Payouts go by another network from now on."""
    ADDRESS = "address"
    """Another address counts later."""
    CANCELLED = "cancelled"
    """It counts already; another one that was to count later never will."""


def save_address(
    connection: Connection, saved: SavedAddress, *, is_preferred: bool | None, now_s: int
) -> Saved:
    """Save an address, and choose its network where ``is_preferred`` or none was chosen; tell what
    changed.

    Whatever was to count later on the network never will. The address that is to count later, said
    again, changes nothing of when it does.
    """
    lock_supplier(connection, saved.supplier_id)
    account = {"supplier_id": saved.supplier_id, "carried_usdc": 0, "settled_day": -1}
    insert_or_ignore(connection, _account, account)
    has_moved = False
    if is_preferred is not False:
        choose = update(_account).where(
            _account.c.supplier_id == saved.supplier_id,
            _account.c.network.is_distinct_from(saved.network),
        )
        if is_preferred is None:
            choose = choose.where(_account.c.network.is_(None))
        has_moved = connection.execute(choose.values(network=saved.network)).rowcount == 1
    rows = load_addresses(connection, saved.supplier_id).get(saved.network, [])
    counting = [row["address"] for row in rows if int(row["counts_from_s"]) <= now_s]
    if rows and rows[-1]["address"] == saved.address:
        return Saved.NETWORK if has_moved else Saved.NOTHING
    cancel_pending_addresses(connection, saved.supplier_id, networks=(saved.network,), now_s=now_s)
    if counting and counting[-1] == saved.address:
        return Saved.CANCELLED
    connection.execute(
        insert(_address).values(
            address_id=saved.address_id,
            supplier_id=saved.supplier_id,
            network=saved.network,
            address=saved.address,
            saved_at_s=now_s,
            counts_from_s=saved.counts_from_s,
        )
    )
    return Saved.ADDRESS


def cancel_pending_addresses(
    connection: Connection, supplier_id: str, *, networks: Collection[str], now_s: int
) -> list[str]:
    """Have addresses that do not count yet never count; return their networks.

    Where the chosen network has none then, payouts go by one that has an address that counts.
    """
    cancelled = connection.execute(
        update(_address)
        .where(
            _address.c.supplier_id == supplier_id,
            _address.c.network.in_(networks),
            _address.c.cancelled_at_s.is_(None),
            _address.c.counts_from_s > now_s,
        )
        .values(cancelled_at_s=now_s)
        .returning(_address.c.network)
    ).scalars()
    return sorted({str(network) for network in cancelled})


def choose_counting_network(connection: Connection, supplier_id: str, *, now_s: int) -> None:
    """Have payouts go by a network whose address counts, where the chosen one has no address."""
    account = load_supply_account(connection, supplier_id)
    saved = load_addresses(connection, supplier_id)
    if account is None or saved.get(account["network"] or ""):
        return
    counting = [
        (int(rows[-1]["counts_from_s"]), network)
        for network, rows in saved.items()
        if int(rows[-1]["counts_from_s"]) <= now_s
    ]
    network = max(counting)[1] if counting else None
    connection.execute(
        update(_account).where(_account.c.supplier_id == supplier_id).values(network=network)
    )


def load_addresses(connection: Connection, supplier_id: str) -> dict[str, list[RowMapping]]:
    """Return a supplier's addresses by network, oldest first; none that were cancelled."""
    found: dict[str, list[RowMapping]] = {}
    query = select(_address).where(
        _address.c.supplier_id == supplier_id, _address.c.cancelled_at_s.is_(None)
    )
    ordered = query.order_by(_address.c.saved_at_s, _address.c.address_id)
    for row in connection.execute(ordered).mappings():
        found.setdefault(row["network"], []).append(row)
    return found


@dataclass(frozen=True, slots=True)
class AddressNow:
    """What payouts by a network go to now."""

    address: str | None
    """None: no address counts yet."""
    later_from_s: int | None
    """When another one counts; None: none is saved."""


def load_addresses_now(
    connection: Connection, supplier_ids: Collection[str], *, now_s: int
) -> dict[tuple[str, str], AddressNow]:
    """Return what counts now of each supplier and network: the newest address that does."""
    rows = connection.execute(
        select(_address)
        .where(_address.c.supplier_id.in_(supplier_ids), _address.c.cancelled_at_s.is_(None))
        .order_by(_address.c.saved_at_s, _address.c.address_id)
    ).mappings()
    found: dict[tuple[str, str], AddressNow] = {}
    for row in rows:
        key, from_s = (row["supplier_id"], row["network"]), int(row["counts_from_s"])
        before = found.get(key, AddressNow(None, None))
        if from_s <= now_s:
            found[key] = AddressNow(row["address"], before.later_from_s)
        else:
            found[key] = AddressNow(before.address, from_s)
    return found


def load_supply_account(connection: Connection, supplier_id: str) -> RowMapping | None:
    """Return what settlement remembers of a supplier, None where it never had to."""
    query = select(_account).where(_account.c.supplier_id == supplier_id)
    return connection.execute(query).mappings().one_or_none()
