"""Refusing a pooler that hands a session to others between transactions.

Leadership is a lock of a session, revocations are heard by a session, and time-outs are set for a
session. Behind a pooler in transaction mode none of them holds: two processes lead at once, and
nobody notices. In session mode, or without a pooler, all of them do.
"""

from typing import Any, Final

import psycopg
from sqlalchemy import Engine

from ledger.database.engine import is_postgres, open_session, translated
from ledger.errors import SessionsShared

ROUNDS: Final = 3
"""How often to look: another client may take the connection that would have betrayed a pooler."""


def check_sessions(engine: Engine) -> None:
    """Raise ``SessionsShared`` where the server's sessions are not ours alone.

    Two connections that are open at once have different servers at their ends, and keep them.
    """
    if not is_postgres(engine):
        return
    first = open_session(engine)
    try:
        second = open_session(engine)
        try:
            with translated():
                for _ in range(ROUNDS):
                    _compare(first, second)
        finally:
            second.close()
    finally:
        first.close()


def _compare(first: psycopg.Connection[Any], second: psycopg.Connection[Any]) -> None:
    before = _get_backend(first)
    with second.transaction():
        # A pooler in transaction mode hands the server that the first one has just used to the
        # second, and another to the first.
        others = _get_backend(second)
        after = _get_backend(first)
    if others == before or after != before:
        raise SessionsShared(
            "the database is behind a pooler in transaction mode, which breaks leadership,"
            " revocations and time-outs: connect directly, or set the pooler to session mode"
        )


def _get_backend(session: psycopg.Connection[Any]) -> int:
    row = session.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])
