"""Browsers in which a wallet is signed in: opened, found, listed and ended.

The cookie itself is not stored, only its hash. Times are Unix seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, insert, select

from ledger.tables import WalletSession as WalletSessionRow
from ledger.tables import table_of

SESSIONS_MAX: Final = 20
"""Live sessions of one wallet; a further one ends the oldest."""
USER_AGENT_MAX: Final = 200

_session = table_of(WalletSessionRow)
_COLUMNS: Final = (
    _session.c.session_id,
    _session.c.address,
    _session.c.user_agent,
    _session.c.created_at_s,
    _session.c.expires_at_s,
)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A live session, without what signs it in."""

    session_id: str
    address: str
    user_agent: str
    created_at_s: int
    expires_at_s: int


def open_session(connection: Connection, session_hash: str, session: SignedIn) -> None:
    """Store a new session; the wallet's oldest beyond ``SESSIONS_MAX`` end."""
    connection.execute(
        insert(_session).values(
            session_hash=session_hash,
            session_id=session.session_id,
            address=session.address,
            user_agent=session.user_agent[:USER_AGENT_MAX],
            created_at_s=session.created_at_s,
            expires_at_s=session.expires_at_s,
        )
    )
    newest_first = (_session.c.created_at_s.desc(), _session.c.session_id.desc())
    surplus = connection.execute(
        select(_session.c.session_id)
        .where(_session.c.address == session.address)
        .order_by(*newest_first)
        .offset(SESSIONS_MAX)
        .limit(SESSIONS_MAX)
    ).scalars()
    connection.execute(delete(_session).where(_session.c.session_id.in_(list(surplus))))


def find_session(connection: Connection, session_hash: str, *, now_s: int) -> SignedIn | None:
    """Return the live session of a cookie's hash, or None."""
    row = connection.execute(
        select(*_COLUMNS).where(
            _session.c.session_hash == session_hash, _session.c.expires_at_s > now_s
        )
    ).one_or_none()
    return None if row is None else SignedIn(**row._asdict())


def list_sessions(connection: Connection, address: str, *, now_s: int) -> Sequence[SignedIn]:
    """Return a wallet's live sessions, newest first."""
    rows = connection.execute(
        select(*_COLUMNS)
        .where(_session.c.address == address, _session.c.expires_at_s > now_s)
        .order_by(_session.c.created_at_s.desc(), _session.c.session_id.desc())
    )
    return [SignedIn(**row._asdict()) for row in rows]


def end_session(connection: Connection, address: str, session_id: str) -> bool:
    """End a session of a wallet's, at once and for good; False where it has no such session."""
    return (
        connection.execute(
            delete(_session).where(
                _session.c.address == address, _session.c.session_id == session_id
            )
        ).rowcount
        == 1
    )


def forget_sessions(connection: Connection, *, now_s: int) -> int:
    """Forget sessions that have expired; return how many."""
    return connection.execute(delete(_session).where(_session.c.expires_at_s <= now_s)).rowcount
