"""What a market charged for a stream: asked where the stream did not say it.

A market says its charge in a stream's last usage. The proxy misses that where it ends the stream
itself, because the client has left for good or the process stops, and where the connection breaks.
The market then notices that the proxy has gone and charges what it had delivered, so its record of
the request is asked until it is settled.
"""

import asyncio
import time
from typing import Final

import structlog

from contracts.errors import Retryable
from proxy.chat.charging import count_sale
from proxy.chat.upstream import Upstream
from serving.models.counting import Counted, Sent
from serving.models.failures import UpstreamFailure, UpstreamRejected
from serving.models.sold import DRAIN_FLOOR_S, Sale

log = structlog.get_logger("proxy")

PATIENCE_S: Final = 5.0
"""How long the record is asked for at once: a market that is well settles within moments."""

STOPPING_PATIENCE_S: Final = DRAIN_FLOOR_S + 1.0
"""The same while this process stops: it cannot come back to the question later."""

_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.5


class SaleUnsettled(Retryable):
    """The market does not say yet what a request came to."""


class SoldStream:
    """What one stream came to at the market that sold it."""

    def __init__(self, upstream: Upstream, sale_id: str, sent: Sent, *, lasting_s: float) -> None:
        """``lasting_s`` is how long the question stands before the own count is charged."""
        self._upstream = upstream
        self._sale_id = sale_id
        self._sent = sent
        self._lasting_s = lasting_s
        self._asked_at: float | None = None
        self.is_stopping = False

    async def settle(self, counted: Counted) -> Counted:
        """Return what is to be charged: what the market says, else the own count.

        The own count stands where the market keeps no record, or has not answered for long. Raises
        ``SaleUnsettled`` where asking again later makes sense.
        """
        if counted.sold_usdc is not None:
            return counted
        try:
            sale = await self._ask()
        except UpstreamRejected as error:
            log.warning("sale_unknown", sale_id=self._sale_id, status=error.status)
            return counted
        return counted if sale is None else count_sale(sale, self._sent)

    async def _ask(self) -> Sale | None:
        """Return the record; None where it is given up. Raises ``SaleUnsettled``."""
        started = time.monotonic()
        patience_s = STOPPING_PATIENCE_S if self.is_stopping else PATIENCE_S
        if self._asked_at is None:
            self._asked_at = started
        else:
            patience_s = 0.0
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                sale = await self._upstream.fetch_sale(self._sale_id)
            except UpstreamFailure:
                sale = None
            if sale is not None:
                return sale
            now = time.monotonic()
            if now - started >= patience_s:
                break
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        if self.is_stopping or now - self._asked_at >= self._lasting_s:
            log.error("sale_not_settled", sale_id=self._sale_id)
            return None
        raise SaleUnsettled(f"the market has not settled {self._sale_id}")
