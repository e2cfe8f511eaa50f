"""The models and prices that upstream was last heard to say, over a restart while it is down.

::

    heard before   listed again with their prices, `fallback: true`; a request is served at them
                   by another proxy of the ledger too; until upstream answers again
    not used       what another upstream said; a price that is too old to count
    not kept       a list that is too long
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from sqlalchemy import Engine, select, update

from ledger.database.engine import read, write
from ledger.tables import UpstreamList, table_of
from proxy import list_memory
from proxy.catalogue import KNOWN_GOOD
from tests.support.answers import MODEL
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import Databases, make_state, put_cursor, put_positions
from tests.support.proxy import RunningProxy, make_settings, now_s, run_proxy

ITS_OWN: Final = "a-model-of-upstream-s-own"
PRICES: Final = [
    {"id": ITS_OWN, "input_usdc_per_mtok": 3_000_000, "output_usdc_per_mtok": 7_000_000}
]
LISTS: Final = table_of(UpstreamList)


@pytest.fixture
def engine(databases: Databases) -> Iterator[Engine]:
    """A ledger with a position that may spend."""
    engine = databases.open_ledger()
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=now_s()))
        put_cursor(connection, now_s=now_s())
    yield engine


async def list_models(proxy: RunningProxy) -> dict[str, Any]:
    listed: dict[str, Any] = (await proxy.client.get("/api/current/models")).json()
    return listed


def price_of(listed: dict[str, Any], name: str) -> tuple[int | None, str | None]:
    (model,) = (model for model in listed["models"] if model["id"] == name)
    return model["input_usdc_per_mtok"], model["price_source"]


async def hear(engine: Engine, provider: FakeEndpoint, **changes: Any) -> None:
    """Run a proxy until it has the provider's list; then the provider lists nothing."""
    provider.models = [{"id": ITS_OWN, "context_length": 4_096}, {"id": MODEL}]
    provider.prices = PRICES
    async with run_proxy(make_settings(upstream_url=provider.url, **changes), engine) as proxy:
        assert "fallback" not in await list_models(proxy)
    provider.models = provider.prices = None


async def test_models__upstream_down_at_the_start__are_those_last_heard_at_their_prices(
    engine: Engine, provider: FakeEndpoint
) -> None:
    await hear(engine, provider)

    async with run_proxy(make_settings(upstream_url=provider.url), engine) as proxy:
        listed = await list_models(proxy)
        answer = await proxy.chat(model=ITS_OWN)

        assert listed["fallback"] is True
        assert [model["id"] for model in listed["models"]] == [ITS_OWN, MODEL]
        assert price_of(listed, ITS_OWN) == (3_000_000, "upstream")
        assert listed["models"][0]["context_tokens"] == 4_096
        # 20 tokens of prompt at 3, 10 of output at 7 USDC a million.
        assert (answer.status_code, answer.headers["x-current-cost-usdc"]) == (200, "130")
        assert (await proxy.client.get("/api/current/readyz")).status_code == 503


async def test_models__upstream_answers_again__are_what_it_says_now(
    engine: Engine, provider: FakeEndpoint
) -> None:
    await hear(engine, provider)
    async with run_proxy(make_settings(upstream_url=provider.url), engine) as proxy:
        assert (await list_models(proxy))["fallback"] is True
        provider.models, provider.prices = [{"id": "newer"}], []

        await proxy.front.app.state.services.catalogue.refresh()
        listed = await list_models(proxy)

        assert "fallback" not in listed
        assert [model["id"] for model in listed["models"]] == ["newer"]
    # Another name is another list: it is kept at once.
    with read(engine) as connection:
        (kept,) = connection.execute(select(LISTS.c.models)).scalars()
    assert json.loads(kept) == [{"id": "newer"}]


async def test_models__heard_from_another_upstream__are_not_this_one_s(
    engine: Engine, provider: FakeEndpoint
) -> None:
    await hear(engine, provider)

    async with FakeEndpoint() as other:
        other.models = None
        async with run_proxy(make_settings(upstream_url=other.url), engine) as proxy:
            listed = await list_models(proxy)

    assert [model["id"] for model in listed["models"]] == list(KNOWN_GOOD)


async def test_prices__heard_too_long_ago__do_not_count(
    engine: Engine, provider: FakeEndpoint
) -> None:
    await hear(engine, provider)
    settings = make_settings(upstream_url=provider.url, upstream_prices_age_s_max=600)
    with write(engine) as connection:
        connection.execute(update(LISTS).values(heard_at_s=now_s() - 601))

    async with run_proxy(settings, engine) as proxy:
        listed = await list_models(proxy)
        refused = await proxy.chat(model=ITS_OWN)

    assert price_of(listed, ITS_OWN) == (None, None)
    assert refused.json()["error"]["code"] == "model_not_priced"


async def test_list__too_long__is_not_kept(
    engine: Engine, provider: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_memory, "LIST_CHARACTERS_MAX", 50)

    await hear(engine, provider)

    with read(engine) as connection:
        assert connection.execute(select(LISTS)).all() == []


async def test_ledger__keeps_no_url_and_no_field_that_is_not_used(
    engine: Engine, provider: FakeEndpoint
) -> None:
    provider.models = [{"id": ITS_OWN, "secret": "sk-of-upstream"}]
    async with run_proxy(make_settings(upstream_url=provider.url), engine):
        pass

    with read(engine) as connection:
        row = str(connection.execute(select(LISTS)).one())
    assert ITS_OWN in row
    assert provider.url not in row
    assert "sk-of-upstream" not in row
