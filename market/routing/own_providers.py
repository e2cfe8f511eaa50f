"""Buyers' own providers: asked before the market (``priority``) or after it (``fallback``).

Own providers are not offers: no money is reserved, charged or paid, and no minimum discount holds.
Their addresses are untrusted as sellers' are, and their health is learned in the same way. The list
is read again at intervals; a change made through this process counts at once.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

import orjson
import structlog
from sqlalchemy import Connection

from ledger.selling.own_providers import provider_keys
from ledger.selling.sale_statements import PAID_KEY_ID
from market.endpoints.health import WELL, Health, Standing, begin, fail, give_up
from market.endpoints.sealing import KmsUnavailable, Sealer
from market.errors import invalid_key
from market.metrics import Metrics
from market.records.database import Database
from market.records.jobs import load_providers
from market.records.store import is_key_live
from market.routing.attempts import SERVED, Attempt, Callee, Order
from serving.http.errors import ApiError
from serving.models.failures import Cause, Looped, UpstreamFailure, UpstreamRejected
from serving.models.prices import Tokens
from serving.models.sold import OWN_PROVIDER_HEADER
from serving.models.upstream import Access
from serving.process.aes_gcm import SealBroken
from serving.process.turns import NoPlace

log = structlog.get_logger("market")

T = TypeVar("T")

FEE_USDC: Final = 0
"""What a request to a buyer's own provider costs the buyer here."""

OVERLAP_S: Final = 5
_NOT_ADMITTED: Final = (Standing.BACKING_OFF, Standing.TRIAL_TAKEN)
_MARKET_CODES: Final = frozenset({"model_not_found", "credit_spent", "sellers_failed"})
_OUR_CODES: Final = frozenset({"ledger_unavailable", "overloaded", "kms_unavailable"})


class AskedWhen(StrEnum):
    """When a provider is asked."""

    PRIORITY = "priority"
    FALLBACK = "fallback"


@dataclass(slots=True)
class OwnProvider:
    """A provider as it stands now. ``models`` maps the buyer's names to the provider's."""

    provider_id: str
    account_id: str
    label: str
    base_url: str
    models: Mapping[str, str]
    position: AskedWhen
    is_active: bool
    version: int
    health: Health = WELL
    access: Access | None = None


class Free:
    """The charge of what costs nothing: see ``market.text.metering.SaleCharge``."""

    def __init__(self, request_id: str) -> None:
        self.sale_id = request_id
        self.lease_s = 3_600.0

    async def post(
        self,
        tokens: Tokens,  # noqa: ARG002
        *,
        also: Callable[[Connection], object] | None = None,  # noqa: ARG002
        is_cut: bool = False,  # noqa: ARG002
    ) -> int:
        """Charge nothing."""
        return FEE_USDC

    def get_cost_usdc(self, tokens: Tokens) -> int:  # noqa: ARG002
        """Return what ``post`` charges, in 1e-6 USDC."""
        return FEE_USDC

    async def void(self, reason: str, *, is_seller_failure: bool) -> None:
        """Give nothing back."""

    async def renew(self) -> None:
        """Keep nothing."""


@dataclass(frozen=True, slots=True)
class OwnWon(Generic[T]):
    """What one of the buyer's own providers answered."""

    result: T
    charge: Free
    provider: OwnProvider
    routes: "OwnProviders"
    base: None = None
    is_trusted: bool = True
    offer_id: str = ""

    def end(self, cause: Cause | None = None, *, well: bool = True) -> None:
        """Note how the request ended."""
        self.routes.end(self.provider, cause, well=well)

    def build_headers(self) -> dict[str, str]:
        """Return the headers that tell the buyer of the provider."""
        return {
            OWN_PROVIDER_HEADER: self.provider.provider_id,
            "x-market-reserved-usdc": "0",
        }


class OwnProviders:
    """All buyers' own providers, by account. ``refresh`` keeps them current."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._metrics = metrics
        self._clock = clock
        self._by_account: dict[str, dict[str, OwnProvider]] = {}
        self._looked_at_s: int | None = None

    async def refresh(self) -> None:
        """Read what changed since the last look; all of it the first time."""
        since_s, now_s = self._looked_at_s, self._database.now_s()
        rows = await self._database.read(
            lambda connection: load_providers(connection, changed_since_s=since_s)
        )
        for row in rows:
            self._put(row)
        self._looked_at_s = now_s - OVERLAP_S

    def _put(self, row: Mapping[Any, Any]) -> None:
        account = self._by_account.setdefault(row["account_id"], {})
        known = account.pop(row["provider_id"], None)
        if row["status"] != "deleted":
            # A change may have mended what was wrong, and may be another key.
            is_same = known is not None and known.version == row["version"]
            account[row["provider_id"]] = (
                known
                if is_same and known is not None
                else OwnProvider(
                    provider_id=row["provider_id"],
                    account_id=row["account_id"],
                    label=row["label"],
                    base_url=row["base_url"],
                    models=orjson.loads(row["models"]),
                    position=AskedWhen(row["position"]),
                    is_active=row["status"] == "active",
                    version=int(row["version"]),
                )
            )
        if not account:
            del self._by_account[row["account_id"]]

    def find(
        self, account_id: str, model: str, position: AskedWhen | None = None
    ) -> Sequence[OwnProvider]:
        """Return an account's active providers of a model, oldest first."""
        account = self._by_account.get(account_id)
        if account is None:
            return ()
        return [
            account[provider_id]
            for provider_id in sorted(account)
            if account[provider_id].is_active
            and model in account[provider_id].models
            and position in (None, account[provider_id].position)
        ]

    def look_at(self, own: OwnProvider) -> Standing:
        """Return what may be sent to a provider now."""
        return own.health.get_standing(self._clock())

    def get_standing(self, account_id: str, provider_id: str) -> Standing | None:
        """Return how a provider stands, None where it is not known."""
        own = self._by_account.get(account_id, {}).get(provider_id)
        return None if own is None else own.health.get_standing(self._clock())

    async def run(
        self, order: Order, position: AskedWhen, attempt: Attempt[T]
    ) -> OwnWon[T] | UpstreamRejected | None:
        """Return the first provider's answer, the first refusal where all refuse or fail, or None
        where there is no provider, or none that said anything."""
        rejected: UpstreamRejected | None = None
        model = order.asks[0].model
        found = self.find(order.buyer.owner, model, position)
        if found:
            await self._check_live(order.buyer.key_id)
        for own in found:
            if own.health.get_standing(self._clock()) in _NOT_ADMITTED:
                continue
            own.health = begin(own.health, now_s=self._clock())
            try:
                access = await self._open_access(own)
                result = await attempt(Callee(access, own.models[model], is_own=True))
            except UpstreamFailure as failure:
                self._metrics.observe_own_provider(failure.cause)
                if isinstance(failure, Looped):
                    self.end(own, well=False)
                else:
                    self.end(own, failure.cause, retry_after_s=failure.retry_after_s)
            except UpstreamRejected as error:
                self._metrics.observe_own_provider("rejected")
                self.end(own, well=False)
                rejected = rejected or error
            except NoPlace:
                self._metrics.observe_own_provider("other")
                self.end(own, well=False)
            except (SealBroken, KmsUnavailable) as error:
                log.error("key_not_opened", provider_id=own.provider_id, error=str(error))
                self.end(own, well=False)
            except BaseException:
                self._metrics.observe_own_provider("other")
                self.end(own, well=False)
                raise
            else:
                self._metrics.observe_own_provider(SERVED)
                return OwnWon(result, Free(order.request_id), own, self)
        return rejected

    async def _check_live(self, key_id: str) -> None:
        """Raise 401 for a key that was revoked since it was last seen: nothing is reserved here
        that would look at it."""
        if key_id == PAID_KEY_ID:
            return
        now_s = self._database.now_s()
        if not await self._database.read(lambda c: is_key_live(c, key_id, now_s=now_s)):
            raise invalid_key()

    def end(
        self,
        own: OwnProvider,
        cause: Cause | None = None,
        *,
        well: bool = True,
        retry_after_s: float | None = None,
    ) -> None:
        """Note how a request to a provider ended."""
        if cause is None:
            own.health = WELL if well else give_up(own.health)
            return
        own.health = fail(
            own.health,
            cause,
            now_s=self._clock(),
            jitter=random.random(),
            retry_after_s=retry_after_s,
        )
        log.info("own_provider_failed", provider_id=own.provider_id, cause=cause)

    async def _open_access(self, own: OwnProvider) -> Access:
        if own.access is None:
            sealed = await self._database.read(
                lambda connection: provider_keys.load(connection, own.provider_id)
            )
            if sealed is None:
                raise SealBroken("the provider's key was erased")
            opened = await asyncio.to_thread(self._sealer.open, sealed, offer_id=own.provider_id)
            own.access = Access(own.base_url, opened, tenant=own.account_id)
        return own.access


def is_market_failure(error: ApiError) -> bool:
    """Tell whether the market could not serve, so that a buyer's own fallback is asked."""
    if error.code in _OUR_CODES:
        return False
    return error.code in _MARKET_CODES or error.status == 503
