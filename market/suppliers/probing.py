"""The probe of a supplier's offer: one "ping" to each of its models, of 16 output tokens at most.

It is made after an offer is listed, after its key or address changed, on resuming after failures,
and when its supplier asks. What it found is written down: for each model whether it answered, how
fast, and if not, why. Any process may make it; a claim in the ledger keeps the others away.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import orjson
import structlog
from sqlalchemy import Connection, RowMapping

from contracts.errors import Retryable
from ledger.selling.offers import offer_keys
from ledger.suppliers.supply_offers import load_listings
from ledger.suppliers.supply_probes import note_probe, take_due_probe
from market.endpoints.client import SellerClient
from market.endpoints.sealing import KmsUnavailable, Sealer
from market.metrics import Metrics
from market.records.database import Database
from market.routing.book import Book
from market.text.answered import AnswerCheck
from serving.dialects.endpoints import Endpoint, name_limit
from serving.models.failures import Cause, UpstreamFailure, UpstreamRejected
from serving.models.provider_answers import Holder, find_failure, is_answer
from serving.models.upstream import Access
from serving.process.aes_gcm import SealBroken
from serving.process.turns import NoPlace

log = structlog.get_logger("market")

PROBE_TOKENS: Final = 16
PROBE_TIMEOUT_S: Final = 30.0
PROBES_AT_ONCE: Final = 4
"""Models of one offer that are pinged at the same time."""
OFFERS_AT_ONCE: Final = 8
"""Offers that a process probes at the same time."""
OFFERS_OF_ONE_AT_ONCE: Final = 2
"""Those of one supplier among them: however many slow endpoints it lists, others are probed."""
LOOK_S: Final = 1.0
"""How long what became due meanwhile waits while probes are being made, seconds."""
CLAIM_S: Final = 900
"""How long a process may take for one offer: all its models, each in its time."""
PROBE_REST_S: Final = 10
"""How long a supplier waits between two probes that it asks for."""
DETAIL_MAX: Final = 200


class Prober:
    """Makes the probes that are due."""

    def __init__(
        self,
        database: Database,
        book: Book,
        sealer: Sealer,
        client: SellerClient,
        answer_check: AnswerCheck,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._book = book
        self._sealer = sealer
        self._client = client
        self._check = answer_check
        self._metrics = metrics
        self._clock = clock

    async def probe_due(self) -> int:
        """Make all probes that are due, and that become due meanwhile; return of how many offers.

        A slow endpoint holds its own place only, and each supplier has few of the places. Raises
        ``LedgerUnavailable`` where the ledger fails while no probe runs.
        """
        probing: dict[asyncio.Task[None], str] = {}
        made = 0
        try:
            while True:
                while len(probing) < OFFERS_AT_ONCE:
                    try:
                        row = await self._take(probing.values())
                    except Retryable as refused:
                        if not probing:
                            raise
                        # Those that run go on: were they cut off, their claims would outlast them.
                        log.warning("probes_not_taken", error=repr(refused))
                        break
                    if row is None:
                        break
                    probing[asyncio.create_task(self._probe(row))] = str(row["supplier_id"])
                    made += 1
                if not probing:
                    return made
                done, _ = await asyncio.wait(
                    probing, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    supplier_id = probing.pop(task)
                    if (error := task.exception()) is not None:
                        # It is probed again when the claim has ended.
                        log.error("probe_broke", supplier_id=supplier_id, error=repr(error))
        finally:
            for task in probing:
                task.cancel()
            await asyncio.gather(*probing, return_exceptions=True)

    async def _take(self, being_probed: Iterable[str]) -> RowMapping | None:
        """Return an offer that is due, of a supplier who does not have enough places already."""
        counts = Counter(being_probed)
        busy = [one for one, count in counts.items() if count >= OFFERS_OF_ONE_AT_ONCE]
        now_s = self._database.now_s()
        return await self._database.write(
            lambda connection: take_due_probe(
                connection, claim_s=CLAIM_S, now_s=now_s, but_not=busy
            )
        )

    async def _probe(self, row: RowMapping) -> None:
        offer_id = str(row["supply_offer_id"])
        access = await self._open_access(row)
        if access is None:
            return
        turns = asyncio.Semaphore(PROBES_AT_ONCE)

        async def ping(model: str) -> dict[str, Any]:
            async with turns:
                return await self._ping(access, model)

        models: Sequence[str] = json.loads(row["model_list"])
        report = await asyncio.gather(*(ping(model) for model in models))
        now_s = self._database.now_s()
        status = await self._database.persist(
            lambda connection: note_probe(
                connection,
                offer_id,
                key_version=int(row["key_version"]),
                report=report,
                now_s=now_s,
            )
        )
        is_ok = all(one["ok"] for one in report)
        self._metrics.observe_probe(is_ok=is_ok)
        log.info("offer_probed", supply_offer_id=offer_id, ok=is_ok, status=status)

        def list_ids(connection: Connection) -> list[str]:
            return [str(one["offer_id"]) for one in load_listings(connection, offer_id)]

        ids = await self._database.read(list_ids)
        await self._book.refresh_offers(ids)
        if is_ok:
            for one in ids:
                self._book.note_new_key(one)

    async def _open_access(self, row: RowMapping) -> Access | None:
        """Return the endpoint with its key; None where the key does not open now: tried again when
        the claim has ended."""
        supply_offer_id = str(row["supply_offer_id"])

        def load(connection: Connection) -> Any:
            listings = load_listings(connection, supply_offer_id)
            if not listings:
                return None
            offer_id = str(listings[0]["offer_id"])
            return offer_id, offer_keys.load(connection, offer_id)

        found = await self._database.read(load)
        if found is None or found[1] is None:
            return None
        try:
            key = await asyncio.to_thread(self._sealer.open, found[1], offer_id=found[0])
        except (SealBroken, KmsUnavailable) as error:
            log.error("key_not_opened", supply_offer_id=supply_offer_id, error=str(error))
            return None
        return Access(row["base_url"], key, tenant=row["supplier_id"])

    async def _ping(self, access: Access, model: str) -> dict[str, Any]:
        """Return what became of one ping: never raises for what an endpoint does."""
        started_s = self._clock()
        cause, detail = None, None
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self._call(access, model)
        except TimeoutError:
            cause = str(Cause.TIMEOUT)
        except NoPlace:
            cause, detail = "busy", "the market had no connection free: ask for a probe again"
        except UpstreamFailure as failure:
            cause, detail = str(failure.cause), failure.message
        except UpstreamRejected as error:
            cause, detail = "rejected", error.message
        return {
            "model": model,
            "ok": cause is None,
            "latency_ms": int((self._clock() - started_s) * 1_000),
            "cause": cause,
            "detail": None if detail is None else str(detail)[:DETAIL_MAX],
        }

    async def _call(self, access: Access, model: str) -> None:
        limit = name_limit(Endpoint.CHAT, model) or "max_tokens"
        body = orjson.dumps(
            {
                "model": model,
                "messages": [{"role": "user", "content": "ping"}],
                limit: PROBE_TOKENS,
            }
        )
        answer = await self._client.call(access, Endpoint.CHAT, body)
        if not is_answer(answer.parsed, Holder.CHOICES):
            failure = find_failure(answer.parsed)
            raise UpstreamFailure(Cause.BAD_FORMAT, message=None if failure is None else "an error")
        self._check.check(answer.parsed.get("model"), asked=model, sold=model)
