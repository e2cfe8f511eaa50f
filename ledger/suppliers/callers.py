"""Who asks as a supplier: sessions of browsers and API keys, by the hash of what was sent.

Times are Unix seconds. A session ends when it was not used for ``idle_s``, at ``expires_at_s`` at
the latest, and at once when its row is gone.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from ledger.database.engine import is_postgres
from ledger.errors import KeyNotLive, TooMany
from ledger.suppliers.accounts import SupplierRecord, load_supplier
from ledger.tables import SupplierKey, SupplierSession, table_of

_key = table_of(SupplierKey)
_session = table_of(SupplierSession)

KEYS_MAX: Final = 25
"""Live keys of one supplier."""
SESSIONS_MAX: Final = 50
"""Sessions of one account; a further sign-in ends the oldest."""
SEEN_STEP_S: Final = 60
"""How far a session's last use may be ahead of what its row says."""


@dataclass(frozen=True, slots=True)
class SupplierCaller:
    """Who asks, and by what."""

    supplier: SupplierRecord
    session_id: str | None = None
    """None: it asks by an API key."""
    session_hash: str | None = None
    fresh_at_s: int = 0
    """When the password, or a one-time code, was last shown in the session."""
    seen_at_s: int = 0
    key_id: str | None = None
    """None: it asks by a session."""
    scopes: frozenset[str] = frozenset()
    """What the key may do; of a session: nothing is left out, so this is empty."""

    @property
    def supplier_id(self) -> str:
        """The account that asks."""
        return self.supplier.supplier_id


def load_session_caller(
    connection: Connection, session_hash: str, *, idle_s: int, now_s: int
) -> SupplierCaller | None:
    """Return who is signed in by a cookie, or None."""
    query = select(_session).where(
        _session.c.session_hash == session_hash, _is_session_live(idle_s, now_s)
    )
    row = connection.execute(query).mappings().one_or_none()
    supplier = None if row is None else load_supplier(connection, row["supplier_id"])
    if row is None or supplier is None:
        return None
    return SupplierCaller(
        supplier=supplier,
        session_id=row["session_id"],
        session_hash=session_hash,
        fresh_at_s=int(row["fresh_at_s"]),
        seen_at_s=int(row["seen_at_s"]),
    )


def load_key_caller(connection: Connection, key_hash: str, *, now_s: int) -> SupplierCaller | None:
    """Return who holds a live API key, or None."""
    query = select(_key).where(_key.c.key_hash == key_hash, _is_key_live(now_s))
    row = connection.execute(query).mappings().one_or_none()
    supplier = None if row is None else load_supplier(connection, row["supplier_id"])
    if row is None or supplier is None:
        return None
    return SupplierCaller(
        supplier=supplier, key_id=row["key_id"], scopes=frozenset(row["scopes"].split())
    )


def check_caller_live(
    connection: Connection, caller: SupplierCaller, *, idle_s: int, now_s: int
) -> None:
    """Raise ``KeyNotLive`` unless the caller's session or key is live; ending it waits for this
    transaction's end."""
    if caller.key_id is not None:
        query = select(_key.c.key_id).where(_key.c.key_id == caller.key_id, _is_key_live(now_s))
    else:
        query = select(_session.c.session_id).where(
            _session.c.session_hash == caller.session_hash, _is_session_live(idle_s, now_s)
        )
    if is_postgres(connection):
        query = query.with_for_update(read=True)
    if connection.execute(query).one_or_none() is None:
        raise KeyNotLive("the session or key has ended")


def _is_session_live(idle_s: int, now_s: int) -> ColumnElement[bool]:
    return (_session.c.expires_at_s > now_s) & (_session.c.seen_at_s > now_s - idle_s)


def _is_key_live(now_s: int) -> ColumnElement[bool]:
    return _key.c.revoked_at_s.is_(None) & or_(
        _key.c.expires_at_s.is_(None), _key.c.expires_at_s > now_s
    )


# ---------------------------------------------------------------------------------------- sessions


def save_session(
    connection: Connection,
    *,
    session_hash: str,
    session_id: str,
    supplier_id: str,
    user_agent: str,
    expires_at_s: int,
    now_s: int,
) -> None:
    """Begin a session; the oldest end where the account has ``SESSIONS_MAX``."""
    connection.execute(
        insert(_session).values(
            session_hash=session_hash,
            session_id=session_id,
            supplier_id=supplier_id,
            user_agent=user_agent,
            created_at_s=now_s,
            seen_at_s=now_s,
            expires_at_s=expires_at_s,
            fresh_at_s=now_s,
        )
    )
    newest = (
        select(_session.c.session_id)
        .where(_session.c.supplier_id == supplier_id)
        .order_by(_session.c.created_at_s.desc(), _session.c.session_id.desc())
        .limit(SESSIONS_MAX)
    )
    kept = connection.execute(newest).scalars().all()
    connection.execute(
        delete(_session).where(
            _session.c.supplier_id == supplier_id, _session.c.session_id.not_in(kept)
        )
    )


def note_seen(connection: Connection, session_hash: str, *, now_s: int) -> None:
    """Note that a session was used. Never moves the time back."""
    connection.execute(
        update(_session)
        .where(_session.c.session_hash == session_hash, _session.c.seen_at_s < now_s)
        .values(seen_at_s=now_s)
    )


def note_fresh(connection: Connection, session_hash: str, *, now_s: int) -> None:
    """Note that the password, or a one-time code, was shown in a session."""
    connection.execute(
        update(_session)
        .where(_session.c.session_hash == session_hash)
        .values(fresh_at_s=now_s, seen_at_s=now_s)
    )


def load_sessions(
    connection: Connection, supplier_id: str, *, idle_s: int, now_s: int
) -> list[RowMapping]:
    """Return an account's live sessions, newest first; never their hashes."""
    columns = ("session_id", "user_agent", "created_at_s", "seen_at_s", "expires_at_s")
    query = select(*(_session.c[name] for name in columns)).where(
        _session.c.supplier_id == supplier_id, _is_session_live(idle_s, now_s)
    )
    return list(connection.execute(query.order_by(_session.c.session_id.desc())).mappings())


def end_session(connection: Connection, *, supplier_id: str, session_id: str) -> bool:
    """End one of an account's sessions; tell whether there was one."""
    ended = connection.execute(
        delete(_session).where(
            _session.c.supplier_id == supplier_id, _session.c.session_id == session_id
        )
    )
    return ended.rowcount == 1


def end_by_hash(connection: Connection, session_hash: str) -> None:
    """End the session of a cookie, whosever it is. Idempotent."""
    connection.execute(delete(_session).where(_session.c.session_hash == session_hash))


def end_sessions(connection: Connection, supplier_id: str, *, but: str | None = None) -> int:
    """End an account's sessions, ``but`` the one with this id; return how many."""
    is_theirs = _session.c.supplier_id == supplier_id
    if but is not None:
        is_theirs = is_theirs & (_session.c.session_id != but)
    return connection.execute(delete(_session).where(is_theirs)).rowcount


# -------------------------------------------------------------------------------------------- keys


def save_supplier_key(
    connection: Connection,
    *,
    key_id: str,
    key_hash: str,
    supplier_id: str,
    label: str,
    scopes: frozenset[str],
    expires_at_s: int | None,
    now_s: int,
) -> None:
    """Store a new key. Raises ``TooMany`` where ``KEYS_MAX`` are live. The account is locked."""
    live = connection.execute(
        select(func.count()).where(_key.c.supplier_id == supplier_id, _is_key_live(now_s))
    ).scalar_one()
    if live >= KEYS_MAX:
        raise TooMany(f"{KEYS_MAX} keys are live")
    connection.execute(
        insert(_key).values(
            key_id=key_id,
            key_hash=key_hash,
            supplier_id=supplier_id,
            label=label,
            scopes=" ".join(sorted(scopes)),
            created_at_s=now_s,
            expires_at_s=expires_at_s,
        )
    )


def load_supplier_keys(connection: Connection, supplier_id: str) -> list[RowMapping]:
    """Return an account's keys, oldest first; never their hashes."""
    columns = ("key_id", "label", "scopes", "created_at_s", "expires_at_s", "revoked_at_s")
    query = select(*(_key.c[name] for name in columns)).where(_key.c.supplier_id == supplier_id)
    return list(connection.execute(query.order_by(_key.c.key_id)).mappings())


def revoke_new_keys(connection: Connection, supplier_id: str, *, since_s: int, now_s: int) -> None:
    """Revoke an account's keys that were made since ``since_s``."""
    connection.execute(
        update(_key)
        .where(
            _key.c.supplier_id == supplier_id,
            _key.c.created_at_s >= since_s,
            _key.c.revoked_at_s.is_(None),
        )
        .values(revoked_at_s=now_s)
    )


def revoke_supplier_key(
    connection: Connection, *, supplier_id: str, key_id: str, now_s: int
) -> bool:
    """Revoke a key for good; tell whether the account has it. Idempotent."""
    changed = connection.execute(
        update(_key)
        .where(_key.c.supplier_id == supplier_id, _key.c.key_id == key_id)
        .values(revoked_at_s=func.coalesce(_key.c.revoked_at_s, now_s))
    )
    return changed.rowcount == 1
