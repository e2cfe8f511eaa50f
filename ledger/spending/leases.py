"""Reservations that a dead process left: found by their leases or by their holder, and voided."""

from collections import defaultdict

from sqlalchemy import ColumnElement, Connection, select, update

from ledger.chain.drawn import change_drawn
from ledger.database.locks import lock_positions
from ledger.spending.book_storage import load_children, save_children
from ledger.tables import Usage, table_of

_usage = table_of(Usage)


def sweep_leases(connection: Connection, *, now_s: int, limit: int = 1_000) -> int:
    """Void at most ``limit`` reservations whose lease ran out; return how many.

    The process of an expired reservation is dead: a live process renews or resolves it in time. A
    reservation that is renewed or resolved meanwhile is left alone.
    """
    is_expired = (_usage.c.state == "reserved") & (_usage.c.lease_expires_at_s <= now_s)
    return _void(connection, is_expired, "lease_expired", now_s=now_s, limit=limit)


def void_usage_of(connection: Connection, holder_id: str, *, now_s: int, limit: int) -> int:
    """Void at most ``limit`` reservations of a dead process; return how many."""
    is_its = (_usage.c.state == "reserved") & (_usage.c.holder_id == holder_id)
    return _void(connection, is_its, "process_died", now_s=now_s, limit=limit)


def _void(
    connection: Connection, which: ColumnElement[bool], reason: str, *, now_s: int, limit: int
) -> int:
    found = connection.execute(
        select(_usage.c.request_id, _usage.c.token_id)
        .where(which)
        .order_by(_usage.c.lease_expires_at_s)
        .limit(limit)
    ).all()
    if not found:
        return 0
    lock_positions(connection, [token_id for _, token_id in found])
    voided = connection.execute(
        update(_usage)
        .where(_usage.c.request_id.in_([request_id for request_id, _ in found]), which)
        .values(state="voided", resolved_at_s=now_s, void_reason=reason)
        .returning(
            _usage.c.token_id, _usage.c.ceiling_usdc, _usage.c.key_id, _usage.c.reserved_at_s
        )
    ).all()
    freed_usdc: dict[int, int] = defaultdict(int)
    children = load_children(connection, [key_id for _, _, key_id, _ in voided])
    for token_id, ceiling_usdc, key_id, reserved_at_s in voided:
        freed_usdc[token_id] += ceiling_usdc
        if key_id in children:
            children[key_id].resolve(ceiling_usdc, reserved_at_s=reserved_at_s)
    change_drawn(connection, {token_id: -amount for token_id, amount in freed_usdc.items()})
    save_children(connection, children.values())
    return len(voided)
