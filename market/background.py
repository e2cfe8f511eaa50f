"""The market's repeated work beside serving."""

import asyncio
from typing import Final

import structlog
from sqlalchemy import Connection

from contracts.errors import Retryable
from contracts.units import SECONDS_PER_DAY
from ledger.payments.floor import load_floor
from ledger.resale.connections import connection_keys
from ledger.selling.convictions import refund_held_back
from ledger.selling.earnings import plan_payouts
from ledger.selling.lapses import note_lapses
from ledger.selling.offers import offer_keys
from ledger.selling.own_providers import provider_keys
from ledger.selling.purging import PURGES
from ledger.selling.sealed_keys import SealedKey, SealedKeys
from market.endpoints.sealing import Sealer
from market.records.database import Database
from serving.process.aes_gcm import SealBroken
from serving.process.ids import new_id

log = structlog.get_logger("market")

REWRAP_BATCH: Final = 100
PURGE_BATCH: Final = 500
"""Rows that one transaction forgets."""
PURGE_INTERVAL_S: Final = 600.0
DAILY_PAYOUT_S: Final = 2 * 3_600
"""Seconds after a UTC midnight at which sellers paid daily get the earnings of the day before."""


async def purge_strangers(database: Database, keep_s: int) -> int:
    """Forget what ended, or never began, ``keep_s`` seconds ago, a few rows at a time; return how
    many rows. Does nothing while this host's clock is far off."""
    if not database.clock.may_sweep:
        return 0
    before_s, purged = database.now_s() - keep_s, 0
    for purge in PURGES:
        count = PURGE_BATCH
        while count >= PURGE_BATCH:
            count = await database.write(
                lambda connection, purge=purge: purge(connection, before_s, PURGE_BATCH)  # type: ignore[misc]
            )
            purged += count
    if purged:
        log.info("purged", rows=purged)
    return purged


async def gather_earnings(database: Database, minimum_usdc: int) -> list[str]:
    """Plan payouts of what is due now; return their ids.

    Sellers who are paid at once are paid what they earned so far, those who are paid daily what
    they earned until the last 02:00 UTC. What is less than ``minimum_usdc``, or than a transfer
    must move to be worth its gas now, waits for more: a payout that is planned never grows.
    Does nothing while this host's clock is far off: what is vested is a matter of time.
    """
    if not database.clock.may_sweep:
        return []
    now_s = database.now_s()
    last_close_s = (now_s - DAILY_PAYOUT_S) // SECONDS_PER_DAY * SECONDS_PER_DAY + DAILY_PAYOUT_S
    planned: list[str] = []
    for policy, until_s in (("at_once", now_s), ("daily", last_close_s - 1)):
        planned += await database.write(
            lambda connection, policy=policy, until_s=until_s: plan_payouts(  # type: ignore[misc]
                connection,
                policies=[policy],
                until_s=until_s,
                now_s=now_s,
                make_id=new_id,
                minimum_usdc=max(minimum_usdc, load_floor(connection).floor_usdc),
            )
        )
    if planned:
        log.info("payouts_planned", payouts=len(planned))
    return planned


async def refund_convicted(database: Database) -> int:
    """Credit buyers with what convicted offers sold them; return how many sales.

    Does nothing while this host's clock is far off: what is vested is a matter of time.
    """
    if not database.clock.may_sweep:
        return 0
    refunded = 0
    while count := await database.write(
        lambda connection: refund_held_back(connection, make_id=new_id, now_s=database.now_s())
    ):
        refunded += count
    if refunded:
        log.info("sales_refunded", sales=refunded)
    return refunded


async def note_expired(database: Database) -> int:
    """Write down what of offers' quotas has expired unsold; return how many. Does nothing while
    this host's clock is far off."""
    if not database.clock.may_sweep:
        return 0
    now_s = database.now_s()
    return await database.write(lambda connection: note_lapses(connection, now_s=now_s))


async def rewrap_all(database: Database, sealer: Sealer) -> None:
    """Rewrap data keys that an older KMS key has wrapped, so that the older key can be retired."""

    try:
        for keys in (offer_keys, provider_keys, connection_keys):
            await _rewrap(database, sealer, keys)
    except (Retryable, SealBroken) as error:
        log.error("keys_not_rewrapped", error=str(error))


async def _rewrap(database: Database, sealer: Sealer, keys: SealedKeys) -> None:
    def load(connection: Connection) -> list[tuple[str, SealedKey]]:
        return keys.load_stale(connection, kms_key_id=sealer.key_id, limit=REWRAP_BATCH)

    while stale := await database.read(load):
        changed = 0
        for subject, sealed in stale:
            fresh = await asyncio.to_thread(sealer.rewrap, sealed, offer_id=subject)
            changed += await database.write(
                lambda connection, s=subject, b=sealed, a=fresh: keys.replace(  # type: ignore[misc]
                    connection, s, before=b, after=a
                )
            )
        await database.scrub()
        log.info("keys_rewrapped", keys=changed, kms_key=sealer.key_id)
