"""What the market reads of jobs, what they made, and buyers' own providers."""

from sqlalchemy import Connection, RowMapping, func, or_, select, text

from ledger.tables import (
    JOB_OPEN,
    MarketArtifact,
    MarketJob,
    MarketOwnProvider,
    MarketSale,
    table_of,
)

_artifact = table_of(MarketArtifact)
_job = table_of(MarketJob)
_provider = table_of(MarketOwnProvider)
_sale = table_of(MarketSale)

_JOBS = select(_job, _sale.c.ceiling_usdc, _sale.c.cost_usdc, _sale.c.unit).join(
    _sale, _sale.c.sale_id == _job.c.sale_id
)


def load_job(connection: Connection, job_id: str, *, endpoint: str) -> RowMapping | None:
    """Return a job with what its sale came to, or None."""
    query = _JOBS.where(_job.c.job_id == job_id, _job.c.endpoint == endpoint)
    return connection.execute(query).mappings().one_or_none()


def load_job_by_key(
    connection: Connection, *, account_id: str, endpoint: str, scope: str, idempotency_key: str
) -> RowMapping | None:
    """Return the job that an idempotency key has submitted, or None."""
    query = _JOBS.where(
        _job.c.account_id == account_id,
        _job.c.endpoint == endpoint,
        _job.c.scope == scope,
        _job.c.idempotency_key == idempotency_key,
    )
    return connection.execute(query).mappings().one_or_none()


def count_due_jobs(connection: Connection, *, now_s: int) -> tuple[int, int]:
    """Return how many jobs are open, and how many of them are to be looked at now."""
    due = func.count().filter(or_(_job.c.next_poll_at_s <= now_s, _job.c.deadline_s <= now_s))
    row = connection.execute(
        select(func.count(), due).select_from(_job).where(text(JOB_OPEN))
    ).one()
    return int(row[0]), int(row[1])


def load_sale(connection: Connection, sale_id: str) -> RowMapping | None:
    """Return a sale, or None."""
    query = select(_sale).where(_sale.c.sale_id == sale_id)
    return connection.execute(query).mappings().one_or_none()


def load_artifact(connection: Connection, artifact_id: str, *, now_s: int) -> RowMapping | None:
    """Return where something that was made is kept, or None where it was too long ago."""
    query = select(_artifact).where(
        _artifact.c.artifact_id == artifact_id, _artifact.c.expires_at_s > now_s
    )
    return connection.execute(query).mappings().one_or_none()


def load_providers(
    connection: Connection, *, changed_since_s: int | None = None
) -> list[RowMapping]:
    """Return buyers' own providers: all, or the changed ones with those that are deleted."""
    query = select(_provider)
    if changed_since_s is not None:
        query = query.where(_provider.c.changed_at_s >= changed_since_s)
    else:
        query = query.where(_provider.c.status != "deleted")
    return list(connection.execute(query).mappings())


def load_account_providers(connection: Connection, account_id: str) -> list[RowMapping]:
    """Return an account's own providers that are not deleted, oldest first."""
    query = select(_provider).where(
        _provider.c.account_id == account_id, _provider.c.status != "deleted"
    )
    return list(connection.execute(query.order_by(_provider.c.provider_id)).mappings())
