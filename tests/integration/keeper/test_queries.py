"""What a round asks the ledger costs what is due, not what exists: every query of it, by its plan.

The ledger has thousands of settled requests, paid payouts, ended intents and old events, beside one
of each that is open. On SQLite statistics are gathered, which it takes to be misled by them.
"""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from keeper.wiring import build_keeper, build_watch
from ledger.database.engine import is_postgres, write
from ledger.tables import Position, table_of
from tests.support.deploy import World
from tests.support.keepers import Stage, make_stage_on
from tests.support.ledgers import BOTH, Databases

ROWS = 20_000
PAYEE = "0x" + "aa" * 20
LARGE = (
    *("usage", "batch", "batch_item", "event", "intent"),
    *("payout_batch", "payout_item", "market_payout", "position"),
)
SMALL_INDEXES = ("batch_open", "payout_batch_open", "intent_open", "position_release")
"""Of what is open only."""


@pytest.fixture(params=BOTH)
def stage(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Iterator[Stage]:
    with Databases(request.param, tmp_path) as databases:
        yield make_stage_on(world, databases.open_unbound())


def fill(engine: Engine) -> None:
    """Insert what is over, and gather statistics."""
    with write(engine) as connection:
        for statement in _build_fillers(is_postgres(engine)):
            connection.execute(text(statement))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _build_fillers(on_postgres: bool) -> list[str]:
    if on_postgres:
        numbers = f"generate_series(1, {ROWS}) AS g(i)"
        some_id, some_bytes, false = "'0x' || lpad(to_hex(i), 64, '0')", "'\\x00'::bytea", "false"
    else:
        counter = (
            f"WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {ROWS})"
        )
        numbers = f"({counter} SELECT i FROM c)"
        some_id, some_bytes, false = "'0x' || printf('%064x', i)", "zeroblob(32)", "0"
    columns = {
        "batch (batch_id, state, receipts_root, total_usdc, planned_at_s, given_up)": (
            f"{some_id}, 'settled', '', 1, 1, {false}"
        ),
        "batch_item (batch_id, token_id, cost_usdc, offset_usdc)": f"{some_id}, 0, 1, 0",
        "usage (request_id, token_id, key_epoch, key_id, model, state, ceiling_usdc, cost_usdc,"
        " input_usdc_per_mtok, output_usdc_per_mtok, reserved_at_s, lease_expires_at_s,"
        " resolved_at_s, batch_id)": (
            f"'old-' || i, 7 + i % 100, 0, '', '', 'settled', 1, 1, 1, 1, i, i, i, {some_id}"
        ),
        "intent (intent_id, kind, state, reason, payload, sender, nonce, created_at_s,"
        " updated_at_s)": (
            f"'settle:' || {some_id}, 'settle', 'confirmed', '', '{{}}', '0x0', i, i, i"
        ),
        "payout_batch (batch_id, state, total_usdc, planned_at_s, paid_block)": (
            f"{some_id}, 'paid', 1, 1, 0"
        ),
        "payout_item (batch_id, payout_id, payee, amount_usdc, state)": (
            f"{some_id}, 'old-' || i, '{PAYEE}', 1, 'paid'"
        ),
        "market_payout (payout_id, seller, payee, amount_usdc, planned_at_s, batch_id)": (
            f"'old-' || i, '', '{PAYEE}', 1, i, {some_id}"
        ),
        "event (block_number, log_index, block_hash, block_timestamp_s, tx_hash, contract, name,"
        " token_id, words)": (
            f"0, i, {some_bytes}, 1, {some_bytes}, 'position', CASE i % 3 WHEN 0 THEN 'Settled'"
            " WHEN 1 THEN 'BatchSettled' ELSE 'BatchPaid' END,"
            f" CASE WHEN i % 3 = 0 THEN i END, {some_bytes}"
        ),
    }
    # Positions that somebody has left.
    names = [column.name for column in table_of(Position).columns]
    fixed = {"token_id": "1000 + i", "shares": "0" if on_postgres else "printf('%078d', 0)"}
    copied = ", ".join(fixed.get(name, name) for name in names)
    left = f"SELECT {copied} FROM position, {numbers} WHERE token_id = 0"
    return [
        f"INSERT INTO position ({', '.join(names)}) {left}",
        *(
            # SQLite wants a WHERE between a sub-select and what may follow it.
            f"INSERT INTO {into} SELECT {values} FROM {numbers} WHERE true"
            for into, values in columns.items()
        ),
    ]


class Explainer:
    """Explains every statement that runs on an engine, before it does."""

    def __init__(self, engine: Engine) -> None:
        self._is_postgres = is_postgres(engine)
        self.plans: dict[str, str] = {}
        event.listen(engine, "before_cursor_execute", self._explain)

    def _explain(
        self, connection: Connection, _cursor: Any, statement: str, values: Any, *_: Any
    ) -> None:
        if not statement.startswith(("SELECT", "UPDATE", "DELETE")) or isinstance(values, list):
            return
        cursor = connection.connection.cursor()
        cursor.execute(
            ("EXPLAIN " if self._is_postgres else "EXPLAIN QUERY PLAN ") + statement, values
        )
        self.plans[statement] = "\n".join(str(row[-1]) for row in cursor.fetchall())
        cursor.close()

    def find_scans(self) -> list[str]:
        """Return the statements that read a large table from end to end."""
        found: list[str] = []
        for statement, plan in self.plans.items():
            for line in plan.splitlines():
                match = re.search(r'(?:Seq Scan on|^SCAN) "?(\w+)"?(?: USING.* INDEX (\w+))?', line)
                if match is None or match[1] not in LARGE:
                    continue
                if match[2] not in SMALL_INDEXES:
                    found.append(f"{line.strip()}: {' '.join(statement.split())[:300]}")
        return found


def test_tick__among_much_that_is_over__reads_no_large_table_from_end_to_end(stage: Stage) -> None:
    stage.allow_paying()
    token_id = stage.open_held()
    stage.spend(token_id, 300_000)
    stage.owe(("due", PAYEE, 3))
    fill(stage.engine)
    settings = stage.keeper_settings()
    keeper = build_keeper(settings, stage.house(), threading.Event())
    watch = build_watch(settings, stage.house(), keeper)
    explainer = Explainer(stage.engine)

    report = watch.run(keeper.tick)
    assert report.acted == {"settle": 1, "payout": 1}
    assert keeper.tick().failures == []

    assert len(explainer.plans) > 30
    assert explainer.find_scans() == []


def test_explainer__a_query_that_does_read_everything__is_found(stage: Stage) -> None:
    stage.open_credited()
    fill(stage.engine)
    explainer = Explainer(stage.engine)
    with write(stage.engine) as connection:
        connection.execute(text("SELECT count(*) FROM usage WHERE model = 'x'"))
        connection.execute(text("SELECT * FROM usage WHERE request_id = 'old-5'"))

    (found,) = explainer.find_scans()
    assert "model" in found
