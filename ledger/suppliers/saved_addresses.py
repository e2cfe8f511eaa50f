"""Suppliers' addresses for payouts. Every function is part of the caller's transaction."""

from dataclasses import dataclass

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


def save_address(
    connection: Connection, saved: SavedAddress, *, is_preferred: bool | None, now_s: int
) -> bool:
    """Save an address, and choose its network where ``is_preferred`` or none was chosen; tell
    whether it is another address than the network's newest.

    The same address again changes nothing of when it counts.
    """
    lock_supplier(connection, saved.supplier_id)
    account = {"supplier_id": saved.supplier_id, "carried_usdc": 0, "settled_day": -1}
    insert_or_ignore(connection, _account, account)
    if is_preferred is not False:
        choose = update(_account).where(_account.c.supplier_id == saved.supplier_id)
        if is_preferred is None:
            choose = choose.where(_account.c.network.is_(None))
        connection.execute(choose.values(network=saved.network))
    newest = load_addresses(connection, saved.supplier_id).get(saved.network, [])
    if newest and newest[-1]["address"] == saved.address:
        return False
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
    return True


def load_addresses(connection: Connection, supplier_id: str) -> dict[str, list[RowMapping]]:
    """Return a supplier's addresses by network, oldest first."""
    found: dict[str, list[RowMapping]] = {}
    query = select(_address).where(_address.c.supplier_id == supplier_id)
    ordered = query.order_by(_address.c.saved_at_s, _address.c.address_id)
    for row in connection.execute(ordered).mappings():
        found.setdefault(row["network"], []).append(row)
    return found


def load_supply_account(connection: Connection, supplier_id: str) -> RowMapping | None:
    """Return what settlement remembers of a supplier, None where it never had to."""
    query = select(_account).where(_account.c.supplier_id == supplier_id)
    return connection.execute(query).mappings().one_or_none()
