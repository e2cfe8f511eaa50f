"""Statements that are compiled once in a process, whatever database of a kind they are for.

An engine keeps what it has compiled. A test has an engine of its own, so each test would compile
every statement that it uses: a twelfth of what a market's test takes.
"""

from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

_KEPT: Final = 5_000
_DIALECTS: Final[tuple[Any, ...]] = (SQLiteDialect_pysqlite, PGDialect_psycopg)


def share_compiled_statements() -> None:
    """Let every engine that is opened from now on share them with the others of its kind.

    All of a kind speak to one version of one database, with the same settings: only the dialect's
    identity keeps one engine's statements from another's.
    """
    caches: dict[type, LRUCache[Any, Any]] = {kind: LRUCache(_KEPT) for kind in _DIALECTS}
    for kind in _DIALECTS:
        kind.__eq__ = lambda self, other: type(self) is type(other)
        kind.__hash__ = lambda self: hash(type(self))
    engines: Any = Engine
    begin = engines.__init__

    def begin_sharing(engine: Engine, *arguments: Any, **options: Any) -> None:
        begin(engine, *arguments, **options)
        engine._compiled_cache = caches.get(type(engine.dialect), engine._compiled_cache)

    engines.__init__ = begin_sharing
