"""Forgetting what suppliers and strangers left behind, a few rows at a time."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, delete, or_, select

from ledger.suppliers.applying import purge_applications, purge_tokens
from ledger.suppliers.throttles import purge_throttles
from ledger.tables import (
    OutboxMail,
    SupplierKey,
    SupplierSession,
    table_of,
)

_key = table_of(SupplierKey)
_mail = table_of(OutboxMail)
_session = table_of(SupplierSession)

Forget = Callable[[Connection, int, int], int]
"""Takes the connection, ``before_s`` and ``limit``; returns how many rows went."""


def forget_sessions(connection: Connection, before_s: int, limit: int) -> int:
    """Forget sessions that ended, or were used last, before ``before_s``."""
    old = (
        select(_session.c.session_hash)
        .where(or_(_session.c.expires_at_s < before_s, _session.c.seen_at_s < before_s))
        .limit(limit)
    )
    return connection.execute(delete(_session).where(_session.c.session_hash.in_(old))).rowcount


def forget_keys(connection: Connection, before_s: int, limit: int) -> int:
    """Forget keys that were revoked or expired before ``before_s``."""
    old = (
        select(_key.c.key_id)
        .where(or_(_key.c.revoked_at_s < before_s, _key.c.expires_at_s < before_s))
        .limit(limit)
    )
    return connection.execute(delete(_key).where(_key.c.key_id.in_(old))).rowcount


def forget_mails(connection: Connection, before_s: int, limit: int) -> int:
    """Forget mails of before ``before_s`` that wait no more; those that happen once stay."""
    old = (
        select(_mail.c.mail_id)
        .where(
            _mail.c.created_at_s < before_s,
            _mail.c.state != "waiting",
            _mail.c.once_key.is_(None),
        )
        .limit(limit)
    )
    return connection.execute(delete(_mail).where(_mail.c.mail_id.in_(old))).rowcount


FORGET: Final[tuple[Forget, ...]] = (
    purge_tokens,
    purge_throttles,
    purge_applications,
    forget_sessions,
    forget_keys,
    forget_mails,
)
