"""What is done for suppliers' pay beside serving: one step that fails keeps no other from being
made, and what waits is told of."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from contracts.units import SECONDS_PER_DAY
from ledger.database.engine import read, write
from ledger.running import running_ledger
from ledger.suppliers.settlement import settle_chunk
from ledger.tables import SupplierPayout, table_of
from market.metrics import Metrics
from market.records.database import Database
from market.suppliers.settlement_worker import SettlementWorker
from market.suppliers.supply_services import SupplyServices
from tests.support.ledgers import NOW_S, make_ledger
from tests.support.supply import (
    TERMS,
    TODAY,
    list_payouts,
    put_address,
    put_buyer,
    put_supplier,
    put_supply_offer,
    sell,
)

DAY_AFTER_S = NOW_S + 2 * SECONDS_PER_DAY


class BrokenRail:
    """A rail with a bug."""

    async def step(self) -> None:
        raise RuntimeError("a bug")


async def test_settle__steps_that_fail__hold_up_no_other_and_are_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    with write(engine) as connection:
        put_buyer(connection)
        put_supplier(connection)
        put_supply_offer(connection)
        put_address(connection)
        sell(connection, 1_000_000)
        settle_chunk(connection, day=TODAY, terms=TERMS, now_s=NOW_S + SECONDS_PER_DAY)
        sell(connection, 1_000_000, now_s=NOW_S + SECONDS_PER_DAY)
    metrics = Metrics()
    async with running_ledger(
        Database,
        engine,
        role="market",
        timeout_s=60.0,
        retry_delays_s=(),
        host_clock=lambda: float(DAY_AFTER_S),
    ) as database:

        async def refuse(_: Any) -> Any:
            raise RuntimeError("the day cannot be settled")

        services = SupplyServices(
            database=database,
            prober=None,  # type: ignore[arg-type]
            worker=SettlementWorker(database.read, refuse, TERMS, settle_at_s=0),
            terms=TERMS,
            rail=BrokenRail(),  # type: ignore[arg-type]
            cooling_s=0,
            settles_at="00:00",
            ipn_secret="",
            metrics=metrics,
        )
        await services.settle()
        with read(engine) as connection:
            assert [row["status"] for row in list_payouts(connection)] == ["submitted"]
        assert metrics.settlement_late._value.get() == DAY_AFTER_S - (TODAY + 2) * SECONDS_PER_DAY

        capsys.readouterr()
        with write(engine) as connection:
            connection.execute(
                update(table_of(SupplierPayout)).values(status="failed", rail="manual")
            )
        await services.settle()
    engine.dispose()

    said = capsys.readouterr().out
    assert "payout_stuck" in said and "failed" in said
    assert "step=_settle_days" in said and "step=_pay" in said
