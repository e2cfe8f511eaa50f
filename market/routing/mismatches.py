"""Answers of another model than the one that was sold, in a row, by offer.

The attempt has failed all the same. At a host that nobody knows (grade D) the first such answer
takes the offer out of the order: the endpoint itself says that it serves something else. At a
maker's or a known company's host one such answer may be a slip, of its router or of this market's
knowledge of names; there only what comes again and again does. Counts are this process's own, and
end with it.
"""

from collections import Counter
from typing import Final

import structlog

from contracts.errors import CurrentError
from ledger.selling.offers import suspend_offer
from ledger.selling.sale_records import NewSale
from market.records.database import Database
from market.routing.book import Book
from serving.models.grades import Grade, meets

log = structlog.get_logger("market")

MISMATCHES_MAX: Final = 3
"""Answers of another model, with no good one between, that suspend an offer of grade A or B."""


class Mismatches:
    """Counts them."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def note(self, offer_id: str, grade: Grade) -> bool:
        """Note an answer of another model; tell whether the offer is to be suspended for it."""
        self._counts[offer_id] += 1
        borne = MISMATCHES_MAX if meets(grade, Grade.COMPANY) else 1
        return self._counts[offer_id] >= borne

    def forget(self, offer_id: str) -> None:
        """Note a good answer, or that the offer was suspended."""
        self._counts.pop(offer_id, None)


async def suspend(database: Database, book: Book, sale: NewSale, evidence: str) -> bool:
    """Take the offer of a sale out of the order, unless it has changed since; tell whether the
    ledger knows."""
    offer_id, now_s = sale.offer_id, database.now_s()
    try:
        is_suspended = await database.persist(
            lambda connection: suspend_offer(
                connection,
                offer_id=offer_id,
                version=sale.offer_version,
                evidence=evidence,
                now_s=now_s,
            )
        )
        if is_suspended:
            log.warning("offer_suspended", offer_id=offer_id, evidence=evidence)
        await book.refresh_offers([offer_id])
    except CurrentError as error:
        # It rests all the same, and is suspended the next time.
        log.error("suspension_failed", offer_id=offer_id, error=str(error))
        return False
    return True
