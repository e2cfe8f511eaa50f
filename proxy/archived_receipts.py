"""A caller's receipts: of requests in the ledger, and of those that were archived."""

import asyncio
from typing import Any

from proxy.keys.tokens import KeyClaims
from proxy.services import Services
from proxy.store import load_receipt_view


async def load_receipt(
    services: Services, claims: KeyClaims, request_id: str
) -> dict[str, Any] | None:
    """Return a receipt of the caller's; None where it is unknown or somebody else's.

    A root key sees all requests of its position, a child key its own. Raises ``LedgerUnavailable``
    and ``ArchiveDamaged``.
    """
    key_id = claims.key_id if claims.is_child else None
    view = await services.meter.read(
        lambda connection: load_receipt_view(
            connection, request_id, token_id=claims.token_id, key_id=key_id
        )
    )
    if view is not None or services.archive is None:
        return view
    archived = await asyncio.to_thread(services.archive.load_receipt, request_id)
    if archived is None or archived["token_id"] != claims.token_id:
        return None
    return archived if key_id in (None, archived["key_id"]) else None
