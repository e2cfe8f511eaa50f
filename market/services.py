"""What the handlers work with: built once, in the application's lifespan."""

import asyncio
from dataclasses import dataclass

from ledger.market import SealedKey
from market.authentication import Authenticator
from market.book import Book
from market.database import Database
from market.dialing import Dialer
from market.provider import Provider
from market.sealing import Sealer
from market.serving import Serving


@dataclass(frozen=True)
class Services:
    """Everything that lives as long as the application runs."""

    authenticator: Authenticator
    book: Book
    database: Database
    dialer: Dialer
    provider: Provider
    sealer: Sealer
    serving: Serving
    secret: bytes
    allow_loopback: bool
    body_bytes_max: int
    body_timeout_s: float

    async def seal(self, api_key: str, offer_id: str) -> SealedKey:
        """Return a provider key sealed for one offer. Raises ``KmsUnavailable``."""
        return await asyncio.to_thread(self.sealer.seal, api_key, offer_id=offer_id)

    def __repr__(self) -> str:
        return "Services(…)"
