"""A market that says what it likes: it is believed as far as it can be true.

::

    whole answer, stream: its charge
    ├── less than the tokens cost at the stated price: charged
    ├── more: what the tokens cost at the stated price, without a cache
    ├── no amount: the proxy's own count
    └── the account's own provider served: the proxy's own count
    upstream states no prices: what it says of a charge counts for nothing
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ledger.database.engine import write
from tests.support.answers import DONE, MODEL, make_chunk
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.proxy import RunningProxy, make_settings, now_s, run_proxy, write_prices
from tests.support.waiting import until

STATED = {
    "id": MODEL,
    "input_usdc_per_mtok": 200_000,
    "output_usdc_per_mtok": 800_000,
    "cached_input_usdc_per_mtok": 50_000,
}
USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 20},
}
OWN_USDC = 9  # 20 x 0.05 + 10 x 0.80
MOST_USDC = 12  # 20 x 0.20 + 10 x 0.80


@pytest.fixture
async def proxy(provider: FakeEndpoint, tmp_path: Path) -> AsyncIterator[RunningProxy]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=now_s()))
        put_cursor(connection, now_s=now_s())
    provider.prices = [STATED]
    provider.usage = USAGE
    settings = make_settings(upstream_url=provider.url, prices_file=write_prices(tmp_path))
    async with run_proxy(settings, engine) as running:
        yield running
    engine.dispose()


@pytest.mark.parametrize(
    ("headers", "cost_usdc"),
    [
        ({"x-market-cost-usdc": "0"}, 0),
        ({"x-market-cost-usdc": "5"}, 5),
        ({"x-market-cost-usdc": str(MOST_USDC)}, MOST_USDC),
        ({"x-market-cost-usdc": "13"}, MOST_USDC),
        ({"x-market-cost-usdc": "9" * 18}, MOST_USDC),
        ({"x-market-cost-usdc": "9" * 4_000}, OWN_USDC),
        ({"x-market-cost-usdc": "-5"}, OWN_USDC),
        ({"x-market-cost-usdc": "NaN"}, OWN_USDC),
        ({"x-market-cost-usdc": ""}, OWN_USDC),
        ({"x-market-cost-usdc": "0", "x-market-own-provider": "p-1"}, OWN_USDC),
        ({}, OWN_USDC),
    ],
)
@pytest.mark.sampled(2)
async def test_whole__whatever_the_market_says__charged_as_far_as_it_can_be_true(
    proxy: RunningProxy, provider: FakeEndpoint, headers: dict[str, str], cost_usdc: int
) -> None:
    provider.answer_headers = headers
    answer = await proxy.chat()
    assert answer.headers["x-current-cost-usdc"] == str(cost_usdc)
    [usage] = proxy.usage()
    assert (usage["state"], usage["cost_usdc"]) == ("posted", cost_usdc)
    assert proxy.drawn_usdc() == cost_usdc


@pytest.mark.parametrize(
    ("said", "cost_usdc"),
    [(0, 0), (5, 5), (13, MOST_USDC), (10**30, OWN_USDC), (-1, OWN_USDC), ("5", OWN_USDC)],
)
async def test_stream__whatever_the_market_says__charged_as_far_as_it_can_be_true(
    proxy: RunningProxy, provider: FakeEndpoint, said: object, cost_usdc: int
) -> None:
    used = make_chunk(None, usage={**USAGE, "cost_usdc": said})
    provider.events = [make_chunk("Hello!"), make_chunk("", finish="stop"), used, DONE]
    await proxy.chat(stream=True)
    await until(lambda: proxy.front.app.state.services.completions.in_flight.count == 0)
    [usage] = proxy.usage()
    assert (usage["state"], usage["cost_usdc"]) == ("posted", cost_usdc)


async def test_whole__upstream_states_no_price__its_charge_counts_for_nothing(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.prices = []
    await proxy.front.app.state.services.catalogue.refresh()
    provider.answer_headers = {"x-market-cost-usdc": "1"}
    answer = await proxy.chat()
    assert answer.headers["x-current-cost-usdc"] == str(MOST_USDC)
