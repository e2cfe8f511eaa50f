"""What a request that is paid for by itself is asked for: its price, or the least that is sent."""

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.authorizations import VALUE_USDC_MAX
from ledger.payments.floor import FloorRecord, load_floor
from market.records.database import Database
from market.routing.attempts import Attempts
from market.routing.book import Book
from market.routing.ranking import Ask, assess
from market.routing.tried import Tried


class Quotes:
    """Tells amounts, in 1e-6 USDC."""

    def __init__(self, database: Database, book: Book, attempts: Attempts) -> None:
        self._database = database
        self._book = book
        self._attempts = attempts

    def quote(self, asks: Sequence[Ask]) -> int:
        """Return what a request may cost at most with the best seller. Raises 404, 503."""
        verdict = self._attempts.selection.find(asks, Tried())
        if verdict is None:
            verdict = self._attempts.selection.find_resting(asks, Tried())
        if verdict is None:
            raise self._attempts.selection.explain(asks, None)
        return min(max(1, verdict.ceiling_usdc), VALUE_USDC_MAX)

    async def load_floor(self) -> FloorRecord:
        """Return the least that the keeper sends."""
        return await self._database.read(load_floor)

    def price(self, asks: Sequence[Ask]) -> "PricedAsks":
        """Return the price of a request that may be priced by each of ``asks``."""
        return PricedAsks(self, asks)

    def was_asked(self, asks: Sequence[Ask], amount_usdc: int) -> bool:
        """Tell whether a request was asked for this amount before, for another seller's price.

        The best seller may have changed since; a dearer one needs a new payment. So does a payment
        that the keeper would not send: ``amount_usdc`` is above what is asked for now.
        """
        for ask in asks:
            shelf = self._book.get_shelf(ask.model, ask.base)
            for offer in () if shelf is None else shelf.list_open(ask):
                if assess(offer, self._book.get_state(offer), ask).ceiling_usdc == amount_usdc:
                    return True
        return False


@dataclass(frozen=True, slots=True)
class PricedAsks:
    """What a request for inference costs, however it is priced."""

    quotes: Quotes
    asks: Sequence[Ask]

    def quote(self) -> int:
        """Return what it may cost at most with the best seller. Raises 404, 503."""
        return self.quotes.quote(self.asks)

    def was_asked(self, amount_usdc: int) -> bool:
        """Tell whether it was asked for this larger amount, for another seller's price."""
        return self.quotes.was_asked(self.asks, amount_usdc)
