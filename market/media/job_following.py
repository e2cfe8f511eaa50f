"""Following jobs: asking sellers how they are until they end, charging for what was completed.

Whichever process comes first asks, each job once in an interval, until its deadline. Completed is
charged; all else gives the reservation back. A market that was stopped goes on where it was: all of
it is in the ledger.
"""

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import orjson
import structlog
from sqlalchemy import RowMapping

from contracts.errors import CurrentError
from ledger.selling.jobs import (
    FOLLOWED,
    JobOutcome,
    JobState,
    claim_polls,
    end_job,
    note_poll,
    sweep_jobs,
)
from ledger.selling.sale_records import SaleResolved
from market.endpoints.client import SellerClient
from market.media.artifacts import Artifacts
from market.media.results import JobNews, count_job, read_job
from market.pricing.media_units import get_base
from market.records.database import Database
from market.records.jobs import count_due_jobs, load_sale
from market.routing.book import Book
from market.routing.reservations import build_figures
from serving.models.failures import Cause, UpstreamFailure, UpstreamRejected
from serving.models.prices import Price, Tokens
from serving.models.upstream import Access
from serving.process.turns import NoPlace

log = structlog.get_logger("market")

POLLS_FAILED_MAX: Final = 10
"""Answers in a row that make no sense, after which a seller has lost a job."""

POLLS_AT_ONCE: Final = 16
POLL_TIMEOUT_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class JobRules:
    """Times in seconds."""

    deadline_s: int
    poll_interval_s: int
    lease_s: int


class JobFollower:
    """Asks sellers how jobs are."""

    def __init__(
        self,
        database: Database,
        book: Book,
        seller_client: SellerClient,
        artifacts: Artifacts,
        rules: JobRules,
    ) -> None:
        self._database = database
        self._book = book
        self._seller_client = seller_client
        self._artifacts = artifacts
        self._rules = rules
        self.open_jobs = 0
        """As of the last look."""

    async def follow(self) -> int:
        """Ask the sellers of the jobs that are due, and end those past their time; return how
        many were asked for."""
        now_s = self._database.now_s()
        self.open_jobs, due = await self._database.read(
            lambda connection: count_due_jobs(connection, now_s=now_s)
        )
        if not due:
            return 0
        for job_id in await self._database.write(lambda c: sweep_jobs(c, now_s=now_s)):
            log.warning("job_swept", job_id=job_id)
        rows = await self._database.write(
            lambda connection: claim_polls(
                connection, now_s=now_s, interval_s=self._rules.poll_interval_s
            )
        )
        gate = asyncio.Semaphore(POLLS_AT_ONCE)

        async def ask(row: RowMapping) -> None:
            async with gate:
                await self._ask(row)

        await asyncio.gather(*(ask(row) for row in rows))
        return len(rows)

    async def _ask(self, row: RowMapping) -> None:
        job_id, offer_id = row["job_id"], row["offer_id"]
        access = await self._find_access(offer_id)
        if access is None:
            await self._end(row, _lost("offer_gone"))
            return
        news: JobNews | None = None
        try:
            path = f"{row['endpoint']}/{row['upstream_id']}"
            answer = await self._seller_client.send(access, "GET", path, timeout_s=POLL_TIMEOUT_S)
            news = read_job(answer.parse())
        except NoPlace:
            return  # our shortage: the seller was not asked
        except (UpstreamFailure, UpstreamRejected) as error:
            log.info("job_poll_failed", job_id=job_id, cause=str(error))
        if news is None or news.state in FOLLOWED:
            state = None if news is None else news.state
            failed = await self._database.write(lambda c: note_poll(c, job_id=job_id, state=state))
            if failed >= POLLS_FAILED_MAX:
                await self._end(row, _lost("seller_lost_it"))
            return
        if news.state is JobState.COMPLETED:
            await self._complete(row, news)
        else:
            await self._end(row, _lost("seller_failed"))

    async def _complete(self, row: RowMapping, news: JobNews) -> None:
        try:
            for url in news.urls:
                await self._seller_client.check_artifact(url)
        except UpstreamFailure:
            await self._end(row, _lost("artifact_refused"))
            return
        sale = await self._database.read(lambda c: load_sale(c, row["sale_id"]))
        assert sale is not None
        base = get_base(sale["unit"])
        quantity = count_job(base, quantity=int(row["quantity"]), news=news)
        artifacts = self._artifacts.name(news.urls)
        names = [one.artifact_id for one in artifacts]
        await self._end(
            row,
            JobOutcome(
                JobState.COMPLETED,
                result=orjson.dumps(
                    {"artifacts": names, "base": base, "quantity": quantity}
                ).decode(),
                figures=build_figures(
                    _read_terms(sale, row), Tokens(quantity, 0), _read_price(sale)
                ),
                artifacts=artifacts,
                artifacts_expire_at_s=self._database.now_s() + self._artifacts.lifetime_s,
            ),
        )

    async def _end(self, row: RowMapping, outcome: JobOutcome) -> None:
        now_s = self._database.now_s()
        try:
            ended = await self._database.persist(
                lambda connection: end_job(connection, row["job_id"], outcome, now_s=now_s)
            )
        except SaleResolved as error:
            log.error("job_not_ended", job_id=row["job_id"], error=str(error))
            return
        if not ended:
            return
        await self.refresh_offer(row["offer_id"])
        if outcome.is_seller_failure and self._book.find_live(row["offer_id"]) is not None:
            self._book.begin(row["offer_id"])
            self._book.fail(row["offer_id"], Cause.SERVER)
        log.info("job_ended", job_id=row["job_id"], state=outcome.state, code=outcome.error_code)

    async def refresh_offer(self, offer_id: str) -> None:
        """Have routing see what an offer has free again."""
        await self._book.refresh_offers([offer_id])

    async def tell_cancelled(self, medium: str, offer_id: str, upstream_id: str) -> None:
        """Tell a seller that a job is not wanted any more; whether it listens is its own affair."""
        access = await self._find_access(offer_id)
        if access is None:
            return
        try:
            path = f"{medium}/{upstream_id}"
            await self._seller_client.send(access, "DELETE", path, timeout_s=POLL_TIMEOUT_S)
        except (UpstreamFailure, UpstreamRejected, NoPlace) as error:
            log.info("job_cancel_not_taken", upstream_id=upstream_id, cause=str(error))

    async def _find_access(self, offer_id: str) -> Access | None:
        live = self._book.find_live(offer_id)
        if live is None:
            return None
        try:
            return await self._book.open_access(live.offer, live.base_url)
        except CurrentError as error:
            log.error("key_not_opened", offer_id=offer_id, error=str(error))
            return None


def _lost(code: str) -> JobOutcome:
    return JobOutcome(JobState.FAILED, error_code=code, is_seller_failure=True)


def _read_terms(sale: RowMapping, job: RowMapping) -> Any:
    terms = {name: int(sale[name]) for name in ("fee_bps", "ceiling_usdc")}
    return SimpleNamespace(**terms, flat_fee_usdc=int(job["flat_fee_usdc"]))


def _read_price(sale: RowMapping) -> Price:
    return Price(int(sale["input_usdc_per_mtok"]), int(sale["output_usdc_per_mtok"]))
