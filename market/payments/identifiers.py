"""The extension ``payment-identifier`` of x402: a payer's own name for a request. Pure.

A payment is public once it has settled; its identifier is not. So the same identifier, for the same
request, is answered again and charged once, and a stranger who has seen the payment gets nothing.
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final

import orjson

EXTENSION: Final = "payment-identifier"
HEADER_MAX: Final = 16_384
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_-]{16,128}")


def find_identifier(header: str) -> str | None:
    """Return the identifier in a payment's header; None where it has none that can be one."""
    if len(header) > HEADER_MAX:
        return None
    try:
        stated: Any = orjson.loads(b64decode(header, validate=True))
    except ValueError:
        return None
    for name in ("extensions", EXTENSION, "info", "id"):
        stated = stated.get(name) if isinstance(stated, Mapping) else None
    is_one = isinstance(stated, str) and _IDENTIFIER.fullmatch(stated) is not None
    return str(stated) if is_one else None
