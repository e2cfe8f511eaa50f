"""What an owner signs for a key by the reference: an EIP-191 text and its time.

Whether the wallet signed the text: ``contracts.signature_checker``.
"""

from typing import Final

TIMESTAMP_TOLERANCE_MS: Final = 5 * 60 * 1_000


def build_key_message(*, token_id: int, timestamp_ms: int) -> str:
    """Return the exact text that the owner signs."""
    return f"Issue Current API key for token {token_id} at {timestamp_ms}"


def is_timestamp_current(timestamp_ms: int, *, now_ms: int) -> bool:
    """Tell whether a signature's time is within five minutes of ours, either way."""
    return abs(now_ms - timestamp_ms) <= TIMESTAMP_TOLERANCE_MS
