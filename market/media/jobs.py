"""Jobs: videos and music, which a seller makes after it has taken the submission.

A submission is reserved like any request and lives in the ledger from then on, where it is
followed (``market.media.job_following``); buyers read the ledger, not the seller. Towards sellers:
``POST <base>/<endpoint>`` answers ``{id, status}``, ``GET`` and ``DELETE <base>/<endpoint>/<id>``
the same; see ``market.media.results``.
"""

import asyncio
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson
import structlog
from sqlalchemy import Connection, RowMapping

from contracts.errors import CurrentError
from ledger.selling.jobs import (
    FOLLOWED,
    JobExists,
    JobOutcome,
    JobState,
    NewJob,
    drop_job,
    end_job,
    note_attempt,
    start_job,
)
from ledger.selling.sale_records import NewSale
from market.endpoints.client import SellerClient
from market.identity.keys import digest_request
from market.media.artifacts import Artifacts
from market.media.job_following import JobFollower, JobRules
from market.media.requests import MediaCall, Medium
from market.media.results import JobNews, read_job
from market.pricing.media_units import get_base
from market.records.database import Database
from market.records.jobs import load_job, load_job_by_key
from market.records.store import KeyHolder
from market.routing.attempts import Callee, Order
from market.routing.ranking import Ask
from market.text.serving import Serving
from serving.http.answers import Answer
from serving.http.errors import RequestRejected, settlement_failed
from serving.models.failures import Cause, UpstreamFailure

log = structlog.get_logger("market")

_TOKEN_DOMAIN: Final = b"Current market job v1"


@dataclass(frozen=True, slots=True)
class Submission:
    """What a buyer submits. ``segment`` is the path's min segment, empty without one."""

    buyer: KeyHolder
    call: MediaCall
    asks: list[Ask]
    raw: bytes
    segment: str
    idempotency_key: str | None
    request_id: str

    @property
    def medium(self) -> Medium:
        """The media that a job is to make."""
        return self.call.medium


class Jobs:
    """Submits jobs, follows them, and says how they are."""

    def __init__(
        self,
        database: Database,
        seller_client: SellerClient,
        serving: Serving,
        artifacts: Artifacts,
        follower: JobFollower,
        rules: JobRules,
        *,
        secrets: Sequence[bytes],
        public_url: str,
    ) -> None:
        self._database = database
        self._seller_client = seller_client
        self._serving = serving
        self._artifacts = artifacts
        self._follower = follower
        self._rules = rules
        self._secrets = secrets
        self._public_url = public_url

    async def submit(self, submission: Submission) -> Answer:
        """Have a seller take a job, once for an idempotency key. Raises ``ApiError``."""
        digests = digest_request(self._secrets, submission.medium.encode() + submission.raw)
        known = await self._find_repeated(submission, digests)
        if known is not None:
            return self._answer(202, known, submission.segment)
        return await self._serving.run(
            lambda: self._submit(submission, digests), submission.buyer, submission.request_id
        )

    async def _find_repeated(
        self, submission: Submission, digests: Sequence[str]
    ) -> RowMapping | None:
        key = submission.idempotency_key
        if key is None:
            return None
        row = await self._database.read(
            lambda connection: load_job_by_key(
                connection,
                account_id=submission.buyer.owner,
                endpoint=submission.medium,
                scope=submission.segment,
                idempotency_key=key,
            )
        )
        if row is None:
            return None
        if row["request_digest"] not in digests:
            message = "The Idempotency-Key was used for another submission."
            raise RequestRejected(409, "idempotency_conflict", message)
        if row["state"] == JobState.SUBMITTING:
            message = "The same submission is on its way."
            raise RequestRejected(
                409, "submission_in_progress", message, headers={"retry-after": "2"}
            )
        return row

    async def _submit(self, submission: Submission, digests: Sequence[str]) -> Answer:
        job_id, now_s = submission.request_id, self._database.now_s()

        def note(connection: Connection, sale: NewSale) -> None:
            job = NewJob(
                job_id=job_id,
                account_id=submission.buyer.owner,
                endpoint=submission.medium,
                scope=submission.segment,
                idempotency_key=submission.idempotency_key,
                request_digest=digests[0],
                model=sale.model,
                quantity=submission.call.bounds[get_base(sale.unit)],
                created_at_s=now_s,
                deadline_s=now_s + self._rules.deadline_s,
                submitted_by_s=now_s + self._rules.lease_s,
            )
            note_attempt(connection, job, sale)

        async def attempt(callee: Callee) -> JobNews:
            content_type, body = submission.call.build_body(callee.model)
            answer = await self._seller_client.send(
                callee.access, "POST", submission.medium, content_type=content_type, body=body
            )
            news = read_job(answer.parse())
            if news is None or news.upstream_id is None:
                raise UpstreamFailure(Cause.BAD_FORMAT)
            if news.state in (JobState.FAILED, JobState.CANCELLED):
                raise UpstreamFailure(Cause.SERVER)
            return news

        order = Order(submission.buyer, submission.medium, submission.asks, job_id, note)
        try:
            won = await self._serving.attempts.run(order, attempt)
        except JobExists:
            known = await self._find_repeated(submission, digests)
            if known is None:
                message = "The same submission is on its way."
                raise RequestRejected(409, "submission_in_progress", message) from None
            return self._answer(202, known, submission.segment)
        except BaseException:
            await asyncio.shield(
                self._database.persist(lambda connection: drop_job(connection, job_id))
            )
            raise
        won.end()
        upstream_id = won.result.upstream_id
        assert upstream_id is not None
        next_poll_at_s = self._database.now_s() + self._rules.poll_interval_s
        try:
            started = await self._database.persist(
                lambda connection: start_job(
                    connection,
                    job_id=job_id,
                    sale_id=won.charge.sale_id,
                    upstream_id=upstream_id,
                    next_poll_at_s=next_poll_at_s,
                )
            )
        except CurrentError as error:
            log.error("job_not_started", job_id=job_id, error=str(error))
            raise settlement_failed() from error
        row = await self._load(submission.medium, job_id)
        if not started:
            await self._follower.tell_cancelled(submission.medium, row["offer_id"], upstream_id)
        answer = self._answer(202, row, submission.segment)
        return Answer(202, {**won.build_headers(), **answer.headers}, answer.body)

    def get_token(self, job_id: str) -> str:
        """Return the secret that lets its holder ask for one job, and cancel it."""
        return _make_token(self._secrets[0], job_id)

    def is_token(self, job_id: str, text: str) -> bool:
        """Tell whether a text is a job's token."""
        tokens = [_make_token(secret, job_id) for secret in self._secrets]
        # Every token is compared, so that the time does not tell whose secret made it.
        valid = [hmac.compare_digest(token.encode(), text.encode()) for token in tokens]
        return any(valid)

    async def find(self, medium: Medium, job_id: str) -> RowMapping | None:
        """Return a job, or None."""
        return await self._database.read(
            lambda connection: load_job(connection, job_id, endpoint=medium)
        )

    def answer(self, row: RowMapping, segment: str) -> Answer:
        """Return a job as its buyer sees it."""
        return self._answer(200, row, segment)

    async def cancel(self, row: RowMapping, segment: str) -> Answer:
        """Cancel an open job, without a charge; a job that has ended stays as it is."""
        job_id, medium, now_s = row["job_id"], Medium(row["endpoint"]), self._database.now_s()
        outcome = JobOutcome(JobState.CANCELLED, error_code="cancelled_by_buyer")
        ended = await self._database.persist(
            lambda connection: end_job(connection, job_id, outcome, now_s=now_s)
        )
        if ended:
            await self._follower.refresh_offer(row["offer_id"])
            if row["upstream_id"] is not None:
                await self._follower.tell_cancelled(medium, row["offer_id"], row["upstream_id"])
        return self._answer(200, await self._load(medium, job_id), segment)

    async def _load(self, medium: Medium, job_id: str) -> RowMapping:
        row = await self.find(medium, job_id)
        assert row is not None
        return row

    def _answer(self, status: int, row: RowMapping, segment: str) -> Answer:
        path = f"/{segment}" if segment else ""
        url = f"{self._public_url}{path}/v1/{row['endpoint']}/{row['job_id']}"
        described: dict[str, Any] = {
            "id": row["job_id"],
            "object": row["endpoint"].replace("/", "."),
            "model": row["model"],
            "status": row["state"],
            "created_at": int(row["created_at_s"]),
            "expires_at": int(row["deadline_s"]),
            "poll_url": url,
            "cancel_url": url,
            "job_token": self.get_token(row["job_id"]),
            "reserved_usdc": int(row["ceiling_usdc"]) if row["state"] in FOLLOWED else 0,
            "cost_usdc": None if row["cost_usdc"] is None else int(row["cost_usdc"]),
            "data": None,
            "usage": None,
            "error": None,
        }
        if row["result"] is not None:
            result = orjson.loads(row["result"])
            urls = [self._artifacts.get_url(artifact_id) for artifact_id in result["artifacts"]]
            described["data"] = [{"url": url} for url in urls]
            described["usage"] = {"base": result["base"], "quantity": result["quantity"]}
        if row["error_code"] is not None:
            described["error"] = {"code": row["error_code"], "message": _explain(row["error_code"])}
        headers = {"content-type": "application/json", "cache-control": "no-store"}
        return Answer(status, headers, orjson.dumps(described))


_MESSAGES: Final[Mapping[str, str]] = {
    "cancelled_by_buyer": "Cancelled as you asked.",
    "deadline_passed": "The seller was not done in time.",
    "submission_lost": "The submission was interrupted.",
    "offer_gone": "The seller took its offer down.",
    "seller_lost_it": "The seller does not know of it any more.",
    "seller_failed": "The seller could not make it.",
    "artifact_refused": "What the seller made is where it must not be fetched from.",
    "reservation_lost": "It came too late to be charged or handed out.",
}


def _explain(code: str) -> str:
    return f"{_MESSAGES.get(code, 'It failed.')} You are not charged."


def _make_token(secret: bytes, job_id: str) -> str:
    digest = hmac.digest(secret, _TOKEN_DOMAIN + job_id.encode(), sha256)
    return "job_" + urlsafe_b64encode(digest).rstrip(b"=").decode()
