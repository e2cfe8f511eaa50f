"""Who may serve the requests of a position's keys, as their owner has set it.

The policies themselves are read by ``serving.dialects.policy``; here they are texts.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from ledger.database.locks import lock_positions
from ledger.database.statements import insert_or_ignore
from ledger.spending.keys import UnknownChild
from ledger.tables import ChildKey, KeyPolicy, table_of

ALL_KEYS = ""
"""In place of a child key's id: every key of the position."""

_child_key = table_of(ChildKey)
_policy = table_of(KeyPolicy)


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A policy as it was set last."""

    token_id: int
    key_id: str
    """The child key's; ``ALL_KEYS`` for the whole position."""
    policy: str | None
    """None: it was lifted."""


def save_policy(connection: Connection, stored: StoredPolicy, *, now_s: int) -> None:
    """Set or lift a policy. Raises ``UnknownChild`` where the position has no such live key."""
    lock_positions(connection, [stored.token_id])
    if stored.key_id != ALL_KEYS:
        is_live = (
            (_child_key.c.key_id == stored.key_id)
            & (_child_key.c.token_id == stored.token_id)
            & _child_key.c.revoked_at_s.is_(None)
        )
        if connection.execute(select(_child_key.c.key_id).where(is_live)).one_or_none() is None:
            raise UnknownChild(f"no child key {stored.key_id}")
    values = {
        "token_id": stored.token_id,
        "key_id": stored.key_id,
        "policy": stored.policy,
        "changed_at_s": now_s,
    }
    if insert_or_ignore(connection, _policy, values):
        return
    is_it = (_policy.c.token_id == stored.token_id) & (_policy.c.key_id == stored.key_id)
    connection.execute(
        update(_policy).where(is_it).values(policy=stored.policy, changed_at_s=now_s)
    )


def load_policies(connection: Connection, *, changed_since_s: int | None) -> list[StoredPolicy]:
    """Return the policies that were set or lifted since a time; None: all that stand."""
    columns = (_policy.c.token_id, _policy.c.key_id, _policy.c.policy)
    query = select(*columns).where(
        _policy.c.policy.is_not(None)
        if changed_since_s is None
        else _policy.c.changed_at_s >= changed_since_s
    )
    return [StoredPolicy(*row) for row in connection.execute(query)]
