"""Jobs that outlive the request that submitted them: their state, and the money that follows it.

::

    submitting ──accepted──► queued ⇄ in_progress ──► completed   its sale is posted
        │                                        └──► failed | cancelled | expired   voided
        └──no seller took it──► (gone)

A job has one sale at a time: that of the attempt that is served by. Any process may ask a seller
how a job is: ``claim_polls`` hands each out once. Locks are taken in this order: job, then as
``ledger.selling.sales`` does. Amounts are in 1e-6 USDC. Every function takes the connection of an
open write transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, delete, or_, select, text, update

from contracts.errors import Rejected
from ledger.database.statements import insert_or_ignore
from ledger.selling.sale_records import NewSale, SaleFigures, SaleResolved
from ledger.selling.sales import post_sale, void_sale
from ledger.tables import JOB_OPEN, MarketArtifact, MarketJob, MarketSale, table_of

_artifact = table_of(MarketArtifact)
_job = table_of(MarketJob)
_sale = table_of(MarketSale)

LEASE_GRACE_S: Final = 300
"""How long a job's reservation stands after its deadline: jobs are swept before sales."""


class JobState(StrEnum):
    """How far a job has come."""

    SUBMITTING = "submitting"
    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


FOLLOWED: Final = (JobState.QUEUED, JobState.IN_PROGRESS)
_OPEN: Final = (JobState.SUBMITTING, *FOLLOWED)


class JobExists(Rejected):
    """The idempotency key has submitted a job before."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be submitted. ``quantity`` is the most that it can come to."""

    job_id: str
    account_id: str
    endpoint: str
    scope: str
    idempotency_key: str | None
    request_digest: str | None
    model: str
    quantity: int
    created_at_s: int
    deadline_s: int
    submitted_by_s: int
    """When a job that still is being submitted is given up: its process is dead."""


@dataclass(frozen=True, slots=True)
class NewArtifact:
    """Where a seller keeps something that it made."""

    artifact_id: str
    url: str


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """How a job ended. With ``figures`` it is charged; without, its reservation goes back."""

    state: JobState
    error_code: str | None = None
    is_seller_failure: bool = False
    result: str | None = None
    figures: SaleFigures | None = None
    artifacts: Sequence[NewArtifact] = ()
    artifacts_expire_at_s: int = 0


def note_attempt(connection: Connection, job: NewJob, sale: NewSale) -> None:
    """Write down which sale a job is submitted with; part of the reservation's transaction.

    Raises ``JobExists`` where another job has its idempotency key, or this one has left submitting.
    """
    values = {
        "job_id": job.job_id,
        "account_id": job.account_id,
        "endpoint": job.endpoint,
        "scope": job.scope,
        "idempotency_key": job.idempotency_key,
        "request_digest": job.request_digest,
        "model": job.model,
        "sale_id": sale.sale_id,
        "offer_id": sale.offer_id,
        "state": JobState.SUBMITTING,
        "quantity": job.quantity,
        "flat_fee_usdc": sale.flat_fee_usdc,
        "polls_failed": 0,
        "created_at_s": job.created_at_s,
        "deadline_s": job.deadline_s,
        "next_poll_at_s": job.submitted_by_s,
    }
    if insert_or_ignore(connection, _job, values):
        return
    changed = connection.execute(
        update(_job)
        .where(_job.c.job_id == job.job_id, _job.c.state == JobState.SUBMITTING)
        .values(sale_id=sale.sale_id, offer_id=sale.offer_id, quantity=job.quantity)
    )
    if changed.rowcount != 1:
        raise JobExists("a job was submitted with this idempotency key")


def start_job(
    connection: Connection, *, job_id: str, sale_id: str, upstream_id: str, next_poll_at_s: int
) -> bool:
    """Note that a seller has taken a job; tell whether it was still being submitted.

    From here on its reservation stands until the deadline, whatever becomes of this process.
    """
    row = connection.execute(
        update(_job)
        .where(
            _job.c.job_id == job_id,
            _job.c.sale_id == sale_id,
            _job.c.state == JobState.SUBMITTING,
        )
        .values(state=JobState.QUEUED, upstream_id=upstream_id, next_poll_at_s=next_poll_at_s)
        .returning(_job.c.deadline_s)
    ).one_or_none()
    if row is None:
        return False
    renewed = connection.execute(
        update(_sale)
        .where(_sale.c.sale_id == sale_id, _sale.c.state == "reserved")
        .values(lease_expires_at_s=int(row[0]) + LEASE_GRACE_S, holder_id=None)
    )
    if renewed.rowcount != 1:
        raise SaleResolved(f"sale {sale_id} is not reserved")
    return True


def drop_job(connection: Connection, job_id: str) -> None:
    """Forget a job that no seller took, so that the same submission can be tried again."""
    connection.execute(
        delete(_job).where(_job.c.job_id == job_id, _job.c.state == JobState.SUBMITTING)
    )


def claim_polls(
    connection: Connection,
    *,
    now_s: int,
    interval_s: int,
    job_id: str | None = None,
    limit: int = 100,
) -> list[RowMapping]:
    """Return jobs whose sellers are to be asked now, each to one caller in ``interval_s``."""
    due = select(_job.c.job_id).where(
        text(JOB_OPEN), _job.c.state.in_(FOLLOWED), _job.c.next_poll_at_s <= now_s
    )
    if job_id is not None:
        due = due.where(_job.c.job_id == job_id)
    found = (
        connection.execute(
            due.order_by(_job.c.next_poll_at_s).limit(limit).with_for_update(skip_locked=True)
        )
        .scalars()
        .all()
    )
    if not found:
        return []
    return list(
        connection.execute(
            update(_job)
            .where(_job.c.job_id.in_(found), _job.c.next_poll_at_s <= now_s)
            .values(next_poll_at_s=now_s + interval_s)
            .returning(_job)
        ).mappings()
    )


def note_poll(connection: Connection, *, job_id: str, state: JobState | None) -> int:
    """Note how a seller says a job is, None where it made no sense; return such answers in a row.

    0 where the job is not followed any more.
    """
    changes: dict[str, Any] = {"polls_failed": _job.c.polls_failed + 1}
    if state is not None:
        assert state in FOLLOWED
        changes = {"polls_failed": 0, "state": state}
    failed = connection.execute(
        update(_job)
        .where(_job.c.job_id == job_id, _job.c.state.in_(FOLLOWED))
        .values(changes)
        .returning(_job.c.polls_failed)
    ).scalar_one_or_none()
    return int(failed or 0)


def end_job(connection: Connection, job_id: str, outcome: JobOutcome, *, now_s: int) -> bool:
    """End a job, and charge for it or give its reservation back; tell whether it was open.

    A job whose reservation is gone, its deadline long past, expires without a charge.
    """
    row = connection.execute(
        select(_job.c.sale_id, _job.c.offer_id)
        .where(_job.c.job_id == job_id, _job.c.state.in_(_OPEN))
        .with_for_update()
    ).one_or_none()
    if row is None:
        return False
    sale_id, offer_id = row
    ended = outcome
    if outcome.figures is not None:
        try:
            post_sale(connection, sale_id, outcome.figures, now_s=now_s)
        except SaleResolved:
            ended = JobOutcome(JobState.EXPIRED, error_code="reservation_lost")
    else:
        void_sale(
            connection,
            sale_id,
            reason=outcome.error_code or str(outcome.state),
            is_seller_failure=outcome.is_seller_failure,
            now_s=now_s,
        )
    connection.execute(
        update(_job)
        .where(_job.c.job_id == job_id)
        .values(
            state=ended.state,
            error_code=ended.error_code,
            result=ended.result,
            resolved_at_s=now_s,
        )
    )
    save_artifacts(
        connection,
        ended.artifacts,
        sale_id=sale_id,
        offer_id=offer_id,
        expires_at_s=ended.artifacts_expire_at_s,
    )
    return True


def save_artifacts(
    connection: Connection,
    artifacts: Sequence[NewArtifact],
    *,
    sale_id: str,
    offer_id: str,
    expires_at_s: int,
) -> None:
    """Write down where a job's results are kept. Idempotent."""
    for one in artifacts:
        values = {
            "artifact_id": one.artifact_id,
            "url": one.url,
            "sale_id": sale_id,
            "offer_id": offer_id,
            "expires_at_s": expires_at_s,
        }
        insert_or_ignore(connection, _artifact, values)


def sweep_jobs(connection: Connection, *, now_s: int, limit: int = 100) -> list[str]:
    """End jobs past their deadline, or whose process died while submitting them; return their ids.

    Forgets artifacts that have expired.
    """
    connection.execute(delete(_artifact).where(_artifact.c.expires_at_s <= now_s))
    is_lost = (_job.c.state == JobState.SUBMITTING) & (_job.c.next_poll_at_s <= now_s)
    is_late = _job.c.state.in_(FOLLOWED) & (_job.c.deadline_s <= now_s)
    rows = connection.execute(
        select(_job.c.job_id, _job.c.state)
        .where(text(JOB_OPEN), or_(is_lost, is_late))
        .order_by(_job.c.next_poll_at_s)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for job_id, state in sorted((str(job_id), state) for job_id, state in rows):
        if state == JobState.SUBMITTING:
            outcome = JobOutcome(JobState.FAILED, error_code="submission_lost")
        else:
            outcome = JobOutcome(
                JobState.EXPIRED, error_code="deadline_passed", is_seller_failure=True
            )
        end_job(connection, job_id, outcome, now_s=now_s)
    return [str(job_id) for job_id, _ in rows]
