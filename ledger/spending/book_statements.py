"""The meter's statements as text, for each database."""

from typing import Final

from ledger.spending.books import FIGURES, POSITION_COLUMNS, RESERVATION_COLUMNS
from ledger.spending.children import CHILD_COLUMNS, COUNTERS

_POSITION: Final = ", ".join(POSITION_COLUMNS)
_USAGE: Final = ", ".join((*RESERVATION_COLUMNS, "reserved_at_s", "state", *FIGURES))
_INSERTED: Final = ", ".join((*RESERVATION_COLUMNS, "reserved_at_s", "lease_expires_at_s", "state"))

_LOAD_MIRROR: Final = "SELECT block_timestamp_s, observed_at_s FROM mirror"

_SQLITE_LOAD_USAGE: Final = f"SELECT {_USAGE} FROM usage WHERE request_id = ?"
_SQLITE_LOAD_POSITION: Final = f"SELECT {_POSITION} FROM position WHERE token_id = ?"
_SQLITE_INSERT: Final = (
    f"INSERT INTO usage ({_INSERTED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'reserved')"
)
_SQLITE_POST: Final = (
    "UPDATE usage SET state = 'posted', cost_usdc = ?2, prompt_tokens = ?3, completion_tokens = ?4,"
    " cached_tokens = ?5, resolved_at_s = ?6 WHERE request_id = ?1 AND state = 'reserved'"
)
_SQLITE_VOID: Final = (
    "UPDATE usage SET state = 'voided', void_reason = ?2, resolved_at_s = ?3"
    " WHERE request_id = ?1 AND state = 'reserved'"
)
_SQLITE_RENEW: Final = (
    "UPDATE usage SET lease_expires_at_s = ?2 WHERE request_id = ?1 AND state = 'reserved'"
)
_SQLITE_DRAW: Final = "UPDATE position SET drawn_usdc = drawn_usdc + ?2 WHERE token_id = ?1"

_CHILD: Final = ", ".join(CHILD_COLUMNS)
_SQLITE_LOAD_CHILD: Final = f"SELECT {_CHILD} FROM child_key WHERE key_id = ?"
_SQLITE_COUNT: Final = (
    f"UPDATE child_key SET {', '.join(f'{name} = ?{n}' for n, name in enumerate(COUNTERS, 2))}"
    " WHERE key_id = ?1"
)

# Every row here is named by its key. Without this, and without IS TRUE below, the planner of a
# young table may read all of it, or all that ever was reserved, for a few of its rows.
_POSTGRES_PLAN_BY_KEY: Final = (
    "SELECT set_config('enable_hashjoin', 'off', true),"
    " set_config('enable_mergejoin', 'off', true), set_config('enable_seqscan', 'off', true)"
)
_POSTGRES_FIND_TOKENS: Final = (
    "SELECT DISTINCT token_id, key_id FROM usage WHERE request_id = ANY(%s::text[])"
)
_POSTGRES_LOAD_USAGE: Final = f"SELECT {_USAGE} FROM usage WHERE request_id = ANY(%s::text[])"
_POSTGRES_PEEK_POSITIONS: Final = (
    f"SELECT {_POSITION} FROM position WHERE token_id = ANY(%s::bigint[])"
)
_POSTGRES_LOAD_POSITIONS: Final = f"{_POSTGRES_PEEK_POSITIONS} ORDER BY token_id FOR UPDATE"
_POSTGRES_LOAD_CHILDREN: Final = f"SELECT {_CHILD} FROM child_key WHERE key_id = ANY(%s::text[])"
_POSTGRES_INSERT: Final = (
    f"INSERT INTO usage ({_INSERTED}) SELECT *, 'reserved' FROM unnest(%s::text[], %s::bigint[],"
    " %s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[],"
    " %s::bigint[], %s::bigint[], %s::bigint[]) ON CONFLICT DO NOTHING"
)
_POSTGRES_POST: Final = (
    "UPDATE usage SET state = 'posted', cost_usdc = new.cost, prompt_tokens = new.prompt,"
    " completion_tokens = new.completion, cached_tokens = new.cached, resolved_at_s = new.at_s"
    " FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],"
    " %s::bigint[]) AS new (id, cost, prompt, completion, cached, at_s)"
    " WHERE usage.request_id = new.id AND (usage.state = 'reserved') IS TRUE"
)
_POSTGRES_VOID: Final = (
    "UPDATE usage SET state = 'voided', void_reason = new.reason, resolved_at_s = new.at_s"
    " FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS new (id, reason, at_s)"
    " WHERE usage.request_id = new.id AND (usage.state = 'reserved') IS TRUE"
)
_POSTGRES_RENEW: Final = (
    "UPDATE usage SET lease_expires_at_s = new.expires_at_s"
    " FROM unnest(%s::text[], %s::bigint[]) AS new (id, expires_at_s)"
    " WHERE usage.request_id = new.id AND (usage.state = 'reserved') IS TRUE"
)
_POSTGRES_DRAW: Final = (
    "UPDATE position SET drawn_usdc = position.drawn_usdc + new.change"
    " FROM unnest(%s::bigint[], %s::bigint[]) AS new (id, change) WHERE position.token_id = new.id"
)

_POSTGRES_COUNT: Final = (
    f"UPDATE child_key SET {', '.join(f'{name} = new.{name}' for name in COUNTERS)}"
    f" FROM unnest(%s::text[]{', %s::bigint[]' * len(COUNTERS)}) AS new (id, {', '.join(COUNTERS)})"
    " WHERE child_key.key_id = new.id"
)

_SQLITE_WRITES: Final = (
    _SQLITE_INSERT,
    _SQLITE_RENEW,
    _SQLITE_POST,
    _SQLITE_VOID,
    _SQLITE_DRAW,
    _SQLITE_COUNT,
)
_POSTGRES_WRITES: Final = (
    _POSTGRES_INSERT,
    _POSTGRES_RENEW,
    _POSTGRES_POST,
    _POSTGRES_VOID,
    _POSTGRES_DRAW,
    _POSTGRES_COUNT,
)
