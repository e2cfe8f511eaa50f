"""What an owner signs for a key by the reference: an EIP-191 text and its time.

Whether the wallet signed it: ``contracts.signatures``.
"""

from typing import Final

from contracts.signatures import (
    ERC1271_MAGIC,
    ERC6492_SUFFIX,
    SIGNATURE_BYTES_MAX,
    Counterfactual,
    SignatureChecker,
    parse_signature,
    recover_signer,
    unwrap_counterfactual,
)

__all__ = [
    "ERC1271_MAGIC",
    "ERC6492_SUFFIX",
    "SIGNATURE_BYTES_MAX",
    "TIMESTAMP_TOLERANCE_MS",
    "Counterfactual",
    "SignatureChecker",
    "build_key_message",
    "is_timestamp_current",
    "parse_signature",
    "recover_signer",
    "unwrap_counterfactual",
]

TIMESTAMP_TOLERANCE_MS: Final = 5 * 60 * 1_000


def build_key_message(*, token_id: int, timestamp_ms: int) -> str:
    """Return the exact text that the owner signs."""
    return f"Issue Current API key for token {token_id} at {timestamp_ms}"


def is_timestamp_current(timestamp_ms: int, *, now_ms: int) -> bool:
    """Tell whether a signature's time is within five minutes of ours, either way."""
    return abs(now_ms - timestamp_ms) <= TIMESTAMP_TOLERANCE_MS
