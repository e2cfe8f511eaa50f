"""What a request for text is charged for, and to whom: an offer's sale, or nobody."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from sqlalchemy import Connection

from market.routing.ranking import Ask
from market.text.dialects import Call
from market.text.tally import Tally
from market.text.usage import count_output_bytes, count_tokens, read_usage
from serving.models.prices import Tokens


class Charge(Protocol):
    """What can be charged, kept and given back: see ``market.routing.reservations``."""

    sale_id: str
    lease_s: float

    async def post(
        self, tokens: Tokens, *, also: Callable[[Connection], object] | None = None
    ) -> int:
        """Charge; return the cost in 1e-6 USDC. Raises ``CurrentError``."""
        ...

    async def void(self, reason: str, *, is_seller_failure: bool) -> None:
        """Give the reservation back."""
        ...

    async def renew(self) -> None:
        """Keep the reservation. Raises ``SaleResolved`` or ``LedgerUnavailable``."""
        ...


class Metered:
    """A charge together with the request that says what to count."""

    def __init__(self, charge: Charge, call: Call, ask: Ask) -> None:
        self.sale_id = charge.sale_id
        self.lease_s = charge.lease_s
        self._charge = charge
        self._call = call
        self._ask = ask

    def count(self, tally: Tally) -> tuple[Tokens, bool]:
        """Return the tokens to charge for a stream, and whether they are our own count."""
        return count_tokens(
            self._call,
            tally.reported,
            output_bytes=tally.output_bytes,
            bytes_since=tally.bytes_since_report,
            bound=self._ask.bound,
            estimate=self._ask.estimate,
        )

    def count_answer(self, parsed: Mapping[str, Any]) -> tuple[Tokens, bool]:
        """Return the tokens to charge for a whole answer, and whether they are our own count."""
        return count_tokens(
            self._call,
            read_usage(parsed),
            output_bytes=count_output_bytes(self._call.endpoint, parsed),
            bound=self._ask.bound,
            estimate=self._ask.estimate,
        )

    async def post(self, tokens: Tokens) -> int:
        """Charge; return the cost in 1e-6 USDC. Raises ``CurrentError``."""
        return await self._charge.post(tokens)

    async def void(self, reason: str, *, is_seller_failure: bool) -> None:
        """Give the reservation back."""
        await self._charge.void(reason, is_seller_failure=is_seller_failure)

    async def renew(self) -> None:
        """Keep the reservation. Raises ``SaleResolved`` or ``LedgerUnavailable``."""
        await self._charge.renew()
