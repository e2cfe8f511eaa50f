"""What an owner signs for a key by the reference: an EIP-191 text and its time.

Whether the wallet signed the text: ``contracts.signature_checker``.
"""

from hashlib import sha256
from typing import Final

PAST_TOLERANCE_MS: Final = 5 * 60 * 1_000
"""How old a signature may be."""
AHEAD_TOLERANCE_MS: Final = 30 * 1_000
"""How far a wallet's clock may be ahead of ours."""


def build_key_message(*, token_id: int, timestamp_ms: int) -> str:
    """Return the exact text that the owner signs."""
    return f"Issue Current API key for token {token_id} at {timestamp_ms}"


def build_key_nonce(text: str) -> str:
    """Return what is kept of a text that was used, so that it is used once."""
    return f"text:{sha256(text.encode()).hexdigest()}"


def is_timestamp_current(timestamp_ms: int, *, now_ms: int) -> bool:
    """Tell whether a signature is at most five minutes old, and at most 30 s ahead of us."""
    return -PAST_TOLERANCE_MS <= timestamp_ms - now_ms <= AHEAD_TOLERANCE_MS


def is_before_revocation(signed_at_ms: int, *, revoked_at_s: int, now_s: float) -> bool:
    """Tell whether something was signed before the second of the block that revoked all keys.

    A block up to 30 s ahead of our clock counts as every other: a wallet's clock may be ahead by as
    much. A block further ahead, as only development chains have, gives no order.
    """
    is_ordered = revoked_at_s * 1_000 <= now_s * 1_000 + AHEAD_TOLERANCE_MS
    return is_ordered and signed_at_ms < revoked_at_s * 1_000
