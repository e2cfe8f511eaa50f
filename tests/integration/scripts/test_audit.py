"""``current audit`` and the database's patience: what the chain takes long for holds nothing."""

from typing import Any

import pytest

from contracts.chain import open_web3
from scripts.audit import audit
from tests.support.keepers import Stage


def test_audit__while_it_asks_the_chain__holds_no_connection_of_the_ledger(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.open_held()
    web3 = open_web3(stage.world.anvil.url)
    ask, held = web3.provider.make_request, []

    def make_request(method: Any, params: Any) -> Any:
        held.append(stage.engine.pool.checkedout())  # type: ignore[attr-defined]
        return ask(method, params)

    monkeypatch.setattr(web3.provider, "make_request", make_request)

    assert audit(stage.engine, web3, stage.world.deployment) == []
    assert held
    assert set(held) == {0}
