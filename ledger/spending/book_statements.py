"""The meter's statements, built once as text from what they read and write.

This is the request path: the driver gets them with bound parameters.
"""

from typing import Final

from ledger.database.row_statements import RowInsert, RowUpdate
from ledger.database.write_sets import WriteSets
from ledger.spending.books import POSITION_COLUMNS
from ledger.spending.children import CHILD_COLUMNS, COUNTERS
from ledger.tables import ChildKey, Position, Usage, table_of
from ledger.tables.usage import CHARGE_COLUMNS, PRICE_COLUMNS, RESERVATION_COLUMNS

_child_key = table_of(ChildKey)
_position = table_of(Position)
_usage = table_of(Usage)

RESERVED: Final = {"state": "reserved"}


INSERT_USAGE: Final = RowInsert(
    _usage, (*RESERVATION_COLUMNS, "reserved_at_s", "lease_expires_at_s", "holder_id"), RESERVED
)
RENEW_USAGE: Final = RowUpdate(_usage, "request_id", ("lease_expires_at_s",), only=RESERVED)
REPRICE_USAGE: Final = RowUpdate(_usage, "request_id", PRICE_COLUMNS, only=RESERVED)
POST_USAGE: Final = RowUpdate(
    _usage,
    "request_id",
    (*CHARGE_COLUMNS, "resolved_at_s"),
    constants={"state": "posted"},
    only=RESERVED,
)
VOID_USAGE: Final = RowUpdate(
    _usage,
    "request_id",
    ("void_reason", "resolved_at_s"),
    constants={"state": "voided"},
    only=RESERVED,
)
DRAW: Final = RowUpdate(_position, "token_id", ("drawn_usdc",), adds=True)
COUNT_CHILD: Final = RowUpdate(_child_key, "key_id", COUNTERS)

WRITES: Final = WriteSets(
    INSERT_USAGE,
    RENEW_USAGE,
    REPRICE_USAGE,
    POST_USAGE,
    VOID_USAGE,
    DRAW,
    COUNT_CHILD,
)

USAGE_READ: Final = (*RESERVATION_COLUMNS, "reserved_at_s", "state", *CHARGE_COLUMNS)
_LOAD_USAGE: Final = f"SELECT {', '.join(USAGE_READ)} FROM usage WHERE request_id"
_LOAD_POSITION: Final = f"SELECT {', '.join(POSITION_COLUMNS)} FROM position WHERE token_id"
_LOAD_CHILD: Final = f"SELECT {', '.join(CHILD_COLUMNS)} FROM child_key WHERE key_id"

LOAD_MIRROR: Final = "SELECT block_timestamp_s, observed_at_s FROM mirror"

SQLITE_LOAD_USAGE: Final = f"{_LOAD_USAGE} = ?"
SQLITE_LOAD_POSITION: Final = f"{_LOAD_POSITION} = ?"
SQLITE_LOAD_CHILD: Final = f"{_LOAD_CHILD} = ?"
SQLITE_COUNT_CHILD: Final = COUNT_CHILD.for_sqlite()

POSTGRES_FIND_TOKENS: Final = (
    "SELECT DISTINCT token_id, key_id FROM usage WHERE request_id = ANY(%s::text[])"
)
POSTGRES_LOAD_USAGE: Final = f"{_LOAD_USAGE} = ANY(%s::text[])"
POSTGRES_PEEK_POSITIONS: Final = f"{_LOAD_POSITION} = ANY(%s::bigint[])"
POSTGRES_LOCK_POSITIONS: Final = f"{POSTGRES_PEEK_POSITIONS} ORDER BY token_id FOR UPDATE"
POSTGRES_LOAD_CHILDREN: Final = f"{_LOAD_CHILD} = ANY(%s::text[])"
POSTGRES_COUNT_CHILD: Final = COUNT_CHILD.for_postgres()
