"""The list of a caller's requests: what is asked for, and the pages it comes in."""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from proxy.keys.tokens import KeyClaims
from proxy.store import UsageQuery
from serving.http.errors import bad_request

PAGE_MAX: Final = 1_000
PAGE_DEFAULT: Final = 100
TIME_MAX_S: Final = 253_402_300_800  # the year 10000

_SECONDS: Final = re.compile(r"[0-9]{1,12}")
_CURSOR: Final = re.compile(r"([0-9]{1,18}) ([0-9a-f-]{1,64})")


def parse_query(claims: KeyClaims, parameters: Mapping[str, str]) -> UsageQuery:
    """Return what the query string asks for. Raises ``RequestRejected`` (400), naming the field.

    A root key sees all requests of its position, a child key its own.
    """
    from_s = _parse_time("from", parameters, default_s=0)
    to_s = _parse_time("to", parameters, default_s=TIME_MAX_S)
    if from_s > to_s:
        raise bad_request("invalid_range", "'from' is after 'to'.", param="from")
    cursor = parameters.get("cursor")
    return UsageQuery(
        token_id=claims.token_id,
        from_s=from_s,
        to_s=to_s,
        before=None if cursor is None else _parse_cursor(cursor),
        limit=_parse_limit(parameters),
        key_id=claims.key_id if claims.is_child else None,
    )


def _parse_time(name: str, parameters: Mapping[str, str], *, default_s: int) -> int:
    """Return Unix seconds from a number of them, a date or an ISO 8601 time (UTC by default)."""
    text = parameters.get(name)
    if text is None:
        return default_s
    if _SECONDS.fullmatch(text) is not None:
        return min(int(text), TIME_MAX_S)
    try:
        # In a query string a plus sign reads as a space.
        parsed = datetime.fromisoformat(text.replace(" ", "+"))
        if parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=UTC)
        return max(0, int(parsed.timestamp()))
    except (ValueError, OverflowError):
        message = f"'{name}' must be Unix seconds, a date or an ISO 8601 time."
        raise bad_request("invalid_time", message, param=name) from None


def _parse_limit(parameters: Mapping[str, str]) -> int:
    text = parameters.get("limit", str(PAGE_DEFAULT))
    if _SECONDS.fullmatch(text) is None or not 1 <= int(text) <= PAGE_MAX:
        message = f"'limit' must be a whole number from 1 to {PAGE_MAX}."
        raise bad_request("invalid_limit", message, param="limit")
    return int(text)


def build_cursor(entry: Mapping[str, Any]) -> str:
    """Return the cursor that continues after ``entry``."""
    text = f"{entry['reserved_at_s']} {entry['request_id']}"
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _parse_cursor(cursor: str) -> tuple[int, str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except ValueError:
        text = ""
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise bad_request("invalid_cursor", "'cursor' is not one of ours.", param="cursor")
    return int(match[1]), match[2]
