"""Which API keys were issued. A key itself is an HMAC and is stored nowhere."""

from sqlalchemy import Connection

from ledger.metering import insert_or_ignore
from ledger.tables import ApiKey, table_of

_api_key = table_of(ApiKey)


def save_issued_key(
    connection: Connection, *, key_id: str, token_id: int, key_epoch: int, now_s: int
) -> None:
    """Record that a key was issued. Again is harmless."""
    values = {
        "key_id": key_id,
        "token_id": token_id,
        "key_epoch": key_epoch,
        "issued_at_s": now_s,
    }
    insert_or_ignore(connection, _api_key, values)
