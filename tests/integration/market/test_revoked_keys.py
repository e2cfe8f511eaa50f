"""A market key that was revoked in another process counts for nothing here, from then on.

::

    a key that this process has just served ── revoked elsewhere
    ├── reads, and writes of every kind: 401, nothing is written
    └── a request to an own provider, which reserves nothing: 401, the provider is not asked
"""

from collections.abc import Callable
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import Engine, select

from ledger.database.engine import read, write
from ledger.selling.accounts import revoke_key
from ledger.tables import MarketKey, MarketOwnProvider, table_of
from market.records.store import KeyHolder
from market.services import Services
from tests.support.answers import MODEL, PROVIDER_KEY
from tests.support.endpoint import FakeEndpoint
from tests.support.market import RunningMarket, bearer

PROVIDER: Final = {"api_key": PROVIDER_KEY, "models": {MODEL: MODEL}, "position": "priority"}
_key = table_of(MarketKey)
_provider = table_of(MarketOwnProvider)


def revoke_elsewhere(engine: Engine) -> None:
    """Revoke all keys as another process does: this one is not told."""
    with write(engine) as connection:
        for row in connection.execute(select(_key)).mappings().all():
            assert revoke_key(
                connection, kind=row["kind"], owner=row["owner"], key_id=row["key_id"], now_s=1
            )


async def test_own_provider__revoked_elsewhere__is_neither_asked_nor_planted(
    market: RunningMarket,
) -> None:
    async with FakeEndpoint() as own:
        key = await market.get_buyer_key()
        body = {**PROVIDER, "base_url": own.url}
        path = "/v1/buyer/providers"
        made = await market.client.post(path, json=body, headers=bearer(key))
        mine = f"{path}/{made.json()['id']}"
        assert (await market.chat(key)).status_code == 200  # the key is known here now
        revoke_elsewhere(market.engine)

        answers: list[httpx.Response] = [
            await market.chat(key),
            await market.client.get("/v1/buyer/account", headers=bearer(key)),
            await market.client.post(path, json=body, headers=bearer(key)),
            await market.client.patch(mine, json={"label": "x"}, headers=bearer(key)),
            await market.client.delete(mine, headers=bearer(key)),
        ]

        assert [(one.status_code, one.json()["error"]["code"]) for one in answers] == [
            (401, "invalid_api_key")
        ] * 5
        assert len(own.requests) == 1
    with read(market.engine) as connection:
        rows = connection.execute(select(_provider.c.status, _provider.c.label)).all()
    assert [tuple(row) for row in rows] == [("active", "")]


async def test_write_as__revoked_after_the_look__writes_nothing(market: RunningMarket) -> None:
    """Between the look at a key and the write, a revocation may come: the write looks again."""
    await market.get_buyer_key()
    with read(market.engine) as connection:
        row = connection.execute(select(_key.c.key_id, _key.c.owner)).one()
    services: Services = market.front.app.state.services
    written: list[bool] = []
    record: Callable[[Any], None] = lambda _: written.append(True)  # noqa: E731
    await services.write_as(KeyHolder(*row), record)
    revoke_elsewhere(market.engine)

    with pytest.raises(Exception, match="key") as refused:
        await services.write_as(KeyHolder(*row), record)

    assert getattr(refused.value, "code", None) == "invalid_api_key"
    assert written == [True]
