"""A proxy before a market before one provider, all real and on loopback: one request, two charges.

The proxy's catalogue and prices are the market's own, over HTTP; the provider serves every model
that a seller lists.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from sqlalchemy import func, select

from ledger.database.engine import read, write
from ledger.tables import MarketSale, Usage, table_of
from tests.support import market as markets
from tests.support import proxy as proxies
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.market import RunningMarket
from tests.support.proxy import RunningProxy
from tests.support.waiting import until

HOLD_USDC: Final = 10**12


@dataclass(frozen=True, slots=True)
class Settled:
    """What one request came to on both sides, in 1e-6 USDC; 0 where it was given back."""

    proxy: Mapping[str, Any]
    """The proxy's row."""
    sales: Sequence[Mapping[str, Any]]
    """The market's rows, an attempt each."""

    @property
    def buyer_usdc(self) -> int:
        return int(self.proxy["cost_usdc"] or 0)

    @property
    def market_usdc(self) -> int:
        return sum(int(sale["cost_usdc"] or 0) for sale in self.sales)


class Chain:
    """Both servers, and the provider behind them."""

    def __init__(
        self, proxy: RunningProxy, market: RunningMarket, provider: FakeEndpoint, seller_key: str
    ) -> None:
        self.proxy = proxy
        self.market = market
        self.provider = provider
        self.seller_key = seller_key
        self._before: tuple[str, str] = ("", "")
        """The newest usage and sale before the request that is asked now."""

    async def list_model(self, model: str, *offers: tuple[float, ...], url: str = "") -> None:
        """Have the model sold at these prices of input and output, in US dollars a million.

        A third price is that of each request, in US dollars.
        """
        for price_input, price_output, *fee in offers:
            with_fee = {"price_per_request": fee[0]} if fee else {}
            await self.market.list_offer(
                self.seller_key,
                url or self.provider.url,
                model=model,
                price_input_per_1m=price_input,
                price_output_per_1m=price_output,
                **with_fee,
            )

    async def refresh(self) -> None:
        """Have the proxy learn the market's models and prices."""
        await self.proxy.front.app.state.services.catalogue.refresh()

    async def ask(self, **changes: Any) -> httpx.Response:
        """Ask through the proxy, and read the answer to its end."""
        self._before = self._find_newest()
        return await self.proxy.chat(**changes)

    async def ask_and_leave(self, *, after_bytes: int, **changes: Any) -> None:
        """Ask for a stream through the proxy, and leave once this much of it has come."""
        self._before = self._find_newest()
        headers = {"authorization": f"Bearer {proxies.make_key()}"}
        body = proxies.make_body(stream=True, **changes)
        post = self.proxy.client.stream("POST", proxies.CHAT, json=body, headers=headers)
        received = 0
        async with post as response:
            async for piece in response.aiter_raw():
                received += len(piece)
                if received >= after_bytes:
                    break

    def _find_newest(self) -> tuple[str, str]:
        usage, sale = table_of(Usage), table_of(MarketSale)
        with read(self.proxy.engine) as connection:
            used = connection.execute(select(func.max(usage.c.request_id))).scalar_one()
        with read(self.market.engine) as connection:
            sold = connection.execute(select(func.max(sale.c.request_id))).scalar_one()
        return used or "", sold or ""

    async def settle(self) -> Settled:
        """Return what the request asked last came to, once both have written it.

        Raises ``AssertionError`` where the proxy reserved nothing for it.
        """
        services = self.proxy.front.app.state.services
        await until(lambda: services.completions.in_flight.count == 0, "the proxy has written it")
        in_flight = self.market.front.app.state.services.serving.in_flight
        await until(lambda: in_flight.count == 0, "the market has written it")
        usage, sale = table_of(Usage), table_of(MarketSale)
        with read(self.proxy.engine) as connection:
            last = connection.execute(
                select(usage).order_by(usage.c.request_id.desc()).limit(1)
            ).mappings()
            row = dict(last.one())
        assert row["request_id"] > self._before[0], "nothing was reserved"
        with read(self.market.engine) as connection:
            sales = connection.execute(
                select(sale)
                .where(sale.c.request_id > self._before[1])
                .order_by(sale.c.sale_id.desc())
            ).mappings()
            tried = [dict(one) for one in sales]
        assert len({one["request_id"] for one in tried}) <= 1
        return Settled(row, tried)


@asynccontextmanager
async def run_chain(
    folder: Path,
    *,
    market_changes: Mapping[str, Any] | None = None,
    proxy_changes: Mapping[str, Any] | None = None,
) -> AsyncIterator[Chain]:
    """Serve both until the block ends. Each has a ledger of its own, as strangers have."""
    market_engine = make_ledger(folder / "market.sqlite3")
    proxy_engine = make_ledger(folder / "proxy.sqlite3")
    now_s = proxies.now_s()
    with write(proxy_engine) as connection:
        state = make_state(now_s=now_s, credited_usdc=HOLD_USDC, hold_usdc=HOLD_USDC)
        put_positions(connection, state)
        put_cursor(connection, now_s=now_s)
    market_settings = markets.make_settings(folder, **(market_changes or {}))
    try:
        async with (
            FakeEndpoint() as provider,
            markets.run_market(market_settings, market_engine) as market,
        ):
            seller_key = await market.get_key()
            key = await market.get_buyer_key(credit_usdc=10**15)
            values = {"max_staleness_s": 100_000, "stream_drain_s": 0.5, **(proxy_changes or {})}
            settings = proxies.make_settings(
                upstream_url=f"{str(market.client.base_url).rstrip('/')}/v1",
                upstream_key=key,
                **values,
            )
            async with proxies.run_proxy(settings, proxy_engine) as proxy:
                yield Chain(proxy, market, provider, seller_key)
    finally:
        await asyncio.sleep(0)
        market_engine.dispose()
        proxy_engine.dispose()
