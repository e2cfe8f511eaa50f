"""What is done for suppliers beside serving: erase, forget, rewrap, and watch what waits."""

import asyncio
from typing import Final

import structlog
from sqlalchemy import Connection

from contracts.errors import Retryable
from ledger.suppliers.filings import erase_documents, load_stale_document, replace_wrapping
from ledger.suppliers.forgetting import FORGET
from ledger.suppliers.mails import OutboxState, load_outbox_state
from ledger.suppliers.reviews import QueueState, load_queue_state
from market.endpoints.sealing import Sealer
from market.metrics import Metrics
from market.records.database import Database
from market.standing_alarms import MAIL_S, REVIEW_S
from market.suppliers.kyb_filing import document_context
from serving.process.aes_gcm import SealBroken

log = structlog.get_logger("market")

BATCH: Final = 100


async def erase_due(database: Database) -> int:
    """Erase the bytes of documents whose date has come; return how many. Does nothing while this
    host's clock is far off."""
    if not database.clock.may_sweep:
        return 0
    erased, count = 0, BATCH
    now_s = database.now_s()
    while count >= BATCH:
        count = await database.write(
            lambda connection: erase_documents(connection, now_s=now_s, limit=BATCH)
        )
        erased += count
    if erased:
        await database.scrub()
        log.info("documents_erased", documents=erased)
    return erased


async def forget_old(database: Database, keep_s: int) -> int:
    """Forget what ended ``keep_s`` seconds ago; return how many rows."""
    if not database.clock.may_sweep:
        return 0
    before_s, gone = database.now_s() - keep_s, 0
    for forget in FORGET:
        count = BATCH
        while count >= BATCH:
            count = await database.write(
                lambda connection, forget=forget: forget(connection, before_s, BATCH)  # type: ignore[misc]
            )
            gone += count
    return gone


async def rewrap_documents(database: Database, sealer: Sealer) -> None:
    """Rewrap the data keys of documents that an older KMS key has wrapped."""
    try:
        while stale := await database.read(
            lambda connection: load_stale_document(connection, kms_key_id=sealer.key_id)
        ):
            document_id, sealed = stale
            fresh = await asyncio.to_thread(
                sealer.rewrap, sealed, offer_id=document_context(document_id)
            )
            await database.write(
                lambda connection, i=document_id, b=sealed, a=fresh: replace_wrapping(  # type: ignore[misc]
                    connection, i, before=b, after=a
                )
            )
    except (Retryable, SealBroken) as error:
        log.error("documents_not_rewrapped", error=str(error))


async def watch(database: Database, metrics: Metrics) -> None:
    """Count what waits for reviewers and for the mail server; say where it waits too long."""

    def load(connection: Connection) -> tuple[QueueState, OutboxState]:
        return load_queue_state(connection), load_outbox_state(connection)

    queue, outbox = await database.read(load)
    now_s = database.now_s()
    review_s = age_s(queue.oldest_at_s, now_s=now_s)
    mail_s = age_s(outbox.oldest_at_s, now_s=now_s)
    metrics.observe_suppliers(
        reviews=queue.waiting,
        review_oldest_s=review_s,
        mails=outbox.waiting,
        mail_oldest_s=mail_s,
        mails_failed=outbox.failed,
    )
    if review_s > REVIEW_S:
        log.error("review_late", reviews=queue.waiting, oldest_s=review_s)
    if mail_s > MAIL_S:
        log.error("mail_stuck", mails=outbox.waiting, oldest_s=mail_s)


def age_s(since_s: int | None, *, now_s: int) -> int:
    """Return for how long something waits; 0 where nothing does."""
    return 0 if since_s is None else max(now_s - since_s, 0)
