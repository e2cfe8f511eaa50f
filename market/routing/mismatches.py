"""Answers of another model than the one that was sold, in a row, by offer.

One such answer may be a slip: of a seller's router, or of this market's knowledge of names. The
attempt has failed all the same; only what comes again and again takes the offer out of the order.
Counts are this process's own, and end with it.
"""

from collections import Counter
from typing import Final

MISMATCHES_MAX: Final = 3
"""Answers of another model, with no good one between, that suspend an offer."""


class Mismatches:
    """Counts them."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def note(self, offer_id: str) -> bool:
        """Note an answer of another model; tell whether the offer is to be suspended for it."""
        self._counts[offer_id] += 1
        return self._counts[offer_id] >= MISMATCHES_MAX

    def forget(self, offer_id: str) -> None:
        """Note a good answer, or that the offer was suspended."""
        self._counts.pop(offer_id, None)
