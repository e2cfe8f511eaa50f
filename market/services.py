"""What the handlers work with: built once, in the application's lifespan."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import Connection
from starlette.requests import Request

from ledger.errors import KeyNotLive
from ledger.selling.accounts import check_key_live
from ledger.selling.sealed_keys import SealedKey
from market.chain_watch import ChainWatch
from market.endpoints.client import SellerClient
from market.endpoints.sealing import KmsUnavailable, Sealer
from market.errors import invalid_key
from market.evidence.live_watch import LiveWatch
from market.identity.authentication import Authenticator
from market.identity.keys import Role
from market.listing.model_names import ListingRules
from market.media.artifacts import Artifacts
from market.media.job_following import JobFollower
from market.media.jobs import Jobs
from market.media.serving import MediaServing
from market.metrics import Metrics
from market.payments.paywall import Paywall
from market.payments.withdrawing import Withdrawing
from market.records.database import Database
from market.records.store import KeyHolder
from market.resale.api_calls import ApiCalls
from market.resale.repeated_calls import RepeatedCalls
from market.routing.book import Book
from market.suppliers.supplier_services import SupplierServices
from market.suppliers.supply_services import SupplyServices
from market.text.serving import Serving
from serving.http.errors import unavailable
from serving.http.kept_lists import KeptLists
from serving.http.limits import Limits
from serving.models.dialing import Dialer

T = TypeVar("T")


@dataclass(frozen=True)
class Services:
    """Everything that lives as long as the application runs."""

    authenticator: Authenticator
    book: Book
    database: Database
    dialer: Dialer
    metrics: Metrics
    media: MediaServing
    artifacts: Artifacts
    jobs: Jobs
    job_follower: JobFollower
    seller_client: SellerClient
    sealer: Sealer
    serving: Serving
    secrets: tuple[bytes, ...]
    origin: str
    """Scheme, host and port of our own pages."""
    """Every live secret; the first one signs."""
    chain_id: int
    """The chain that payouts are sent on."""
    allow_loopback: bool
    listing_rules: ListingRules
    unpayable: frozenset[str]
    """Addresses (lower case) that no seller can be paid at."""
    public_url: str
    body_bytes_max: int
    body_timeout_s: float
    upload_bytes_max: int
    limits: Limits
    suppliers: SupplierServices
    supply: SupplyServices
    api_calls: ApiCalls
    repeated_calls: RepeatedCalls
    withdrawing: Withdrawing
    chain_watch: ChainWatch
    live_watch: LiveWatch | None = None
    """Looks at what sellers report; None where that is switched off."""
    lists: KeptLists = field(default_factory=KeptLists)
    paywall: Paywall | None = None
    """Takes payments by request; None where that is switched off."""

    def note_metrics(self) -> None:
        """Bring the gauges of this process up to date."""
        self.metrics.note(
            in_flight=self.serving.in_flight.count,
            open_jobs=self.job_follower.open_jobs,
            standings=self.book.standings(),
            connections=self.api_calls.shelf.list_standings(),
        )

    async def seal(self, api_key: str, offer_id: str) -> SealedKey:
        """Return a provider key sealed for one offer, own provider or connection. Raises 503."""
        try:
            return await asyncio.to_thread(self.sealer.seal, api_key, offer_id=offer_id)
        except KmsUnavailable as error:
            message = "The key cannot be sealed just now, so it is not taken."
            raise unavailable("kms_unavailable", message) from error

    async def identify(
        self, authorization: str | None, role: Role, *, for_sale: bool = False
    ) -> KeyHolder:
        """Return who holds the bearer key, and count its request.

        ``for_sale``: the key may have been revoked a moment ago, because what follows looks at it
        again: a reservation, or ``OwnProviders.run``. Raises 401, 429 and ``LedgerUnavailable``.
        """
        holder = await self.authenticator.authenticate(authorization, role, for_sale=for_sale)
        self.limits.take_request(holder.key_id)
        return holder

    async def read_body(
        self, request: Request, holder: KeyHolder, *, bytes_max: int | None = None
    ) -> bytes:
        """Return the body of a key holder's request; ``bytes_max``: its own bound. Raises
        ``ApiError``."""
        return await self.limits.read_body(
            request.scope,
            request.receive,
            self,
            holder.owner,
            is_proven=holder.is_proven,
            bytes_max=bytes_max,
        )

    async def write_as(self, holder: KeyHolder, call: Callable[[Connection], T]) -> T:
        """Write what a key's holder asks for, if the key is still live in that transaction.

        Raises 401, and what ``Database.write`` raises.
        """
        now_s = self.database.now_s()

        def write(connection: Connection) -> T:
            check_key_live(connection, holder.key_id, now_s=now_s)
            return call(connection)

        try:
            return await self.database.write(write)
        except KeyNotLive:
            raise invalid_key() from None

    def __repr__(self) -> str:
        return "Services(…)"
