"""What a round asks the ledger costs what is due, not what exists: every query of it, by its plan.

The ledger has thousands of settled requests, paid payouts, ended intents and old events, beside one
of each that is open. On SQLite statistics are gathered, which it takes to be misled by them.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from keeper.wiring import build_keeper, build_watch
from ledger.database.engine import write
from tests.support.authorizations import PAYER, authorize, load, record
from tests.support.deploy import World
from tests.support.keepers import Stage, make_stage_on
from tests.support.ledgers import BOTH, Databases
from tests.support.plans import PAYEE, fill, watched

ROWS = 20_000


@pytest.fixture(params=BOTH)
def stage(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Iterator[Stage]:
    with Databases(request.param, tmp_path) as databases:
        yield make_stage_on(world, databases.open_unbound())


def test_tick__among_much_that_is_over__reads_no_large_table_from_end_to_end(stage: Stage) -> None:
    stage.allow_paying()
    token_id = stage.open_held()
    stage.spend(token_id, 300_000)
    stage.owe(("due", PAYEE, 3))
    stage.settings["PAYMENT_CONFIRMATIONS"] = "0"
    stage.world.fund_usdc(PAYER.address, 10)
    stage.sync()
    payment_id = record(stage.engine, authorize(stage.world, 10))
    fill(stage.engine, ROWS)
    settings = stage.keeper_settings()
    keeper = build_keeper(settings, stage.house(), threading.Event())
    watch = build_watch(settings, stage.house(), keeper)

    with watched(stage.engine) as plans:
        report = watch.run(keeper.tick)
        assert report.acted == {"settle": 1, "payout": 1, "x402": 1}
        assert keeper.tick().failures == []

    assert len(plans.by_statement) > 40
    assert "\n".join(plans.find_scans()) == ""
    assert load(stage.engine, payment_id).state == "sent"


def test_explainer__a_query_that_does_read_everything__is_found(stage: Stage) -> None:
    stage.open_credited()
    fill(stage.engine, ROWS)
    with watched(stage.engine) as plans, write(stage.engine) as connection:
        connection.execute(text("SELECT count(*) FROM usage WHERE model = 'x'"))
        connection.execute(text("SELECT * FROM usage WHERE request_id = 'old-5'"))

    (found,) = plans.find_scans()
    assert "model" in found
