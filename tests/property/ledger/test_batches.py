"""Whatever chain the batches land on, each usage is settled once, and paid once in the end.

The chain of this model may do anything that a chain can: settle a batch that was given up, settle
two that name the same usage, and take any of it back. The model knows which usage each batch named
when it was planned, and which batches are settled now; everything else follows from that.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import select

from ledger.audit import find_violations
from ledger.database.engine import read, write
from ledger.spending.admission import AdmissionRules
from ledger.spending.batch_receipts import load_batch_receipts
from ledger.spending.batches import abandon_batch, close_batch, plan_batch, reopen_batch
from ledger.spending.metering import Post, Reserve
from ledger.spending.strays import is_spoiled, load_overcharges
from ledger.tables import Batch, BatchItem, Usage, table_of
from ledger.tables.usage import Charge, Reservation
from tests.support.examples import games
from tests.support.folders import temporary_folder
from tests.support.ledgers import (
    NOW_S,
    POSTGRES,
    SQLITE,
    Databases,
    make_state,
    put_cursor,
    put_positions,
)
from tests.support.postgres import needs_postgres

BATCH, ITEM, USAGE = table_of(Batch), table_of(BatchItem), table_of(Usage)
RULES = AdmissionRules(hold_margin_s=900, max_staleness_s=60, lease_s=300)
TOKENS = (0, 1)
HOLD_USDC = 1_000_000


class BatchMachine(RuleBasedStateMachine):
    kind = SQLITE

    def __init__(self) -> None:
        super().__init__()
        self.directory = temporary_folder()
        self.databases = Databases(self.kind, Path(self.directory.name))
        self.engine = self.databases.open_ledger()
        self.costs: dict[str, tuple[int, int]] = {}
        self.named: dict[str, set[str]] = {}
        self.settled: set[str] = set()
        with write(self.engine) as connection:
            states = [
                make_state(token_id, hold_usdc=HOLD_USDC, credited_usdc=2 * HOLD_USDC)
                for token_id in TOKENS
            ]
            put_positions(connection, *states)
            put_cursor(connection)

    def teardown(self) -> None:
        self.databases.__exit__()
        self.directory.cleanup()

    @rule(token_id=st.sampled_from(TOKENS), cost_usdc=st.integers(0, 9))
    def serve(self, token_id: int, cost_usdc: int) -> None:
        name = f"request-{len(self.costs)}"
        wish = Reservation(name, token_id, 0, "key", "model", cost_usdc, 1, 1)
        with write(self.engine) as connection:
            Reserve(wish, RULES, NOW_S)(connection)
            Post(name, Charge(cost_usdc, 1, 1), NOW_S)(connection)
        self.costs[name] = (token_id, cost_usdc)

    @rule()
    def plan(self) -> None:
        with write(self.engine) as connection:
            overcharged = load_overcharges(connection)
            planned = plan_batch(
                connection, limits_usdc=dict.fromkeys(TOKENS, HOLD_USDC), now_s=NOW_S
            )
            if planned is None:
                return
            receipts = load_batch_receipts(connection, planned.batch_id)
        self.named[planned.batch_id] = {receipt.request_id for receipt in receipts}
        for token_id, charged_usdc in planned.items:
            used_usdc = sum(one.cost_usdc for one in receipts if one.token_id == token_id)
            assert charged_usdc == max(0, used_usdc - overcharged.get(token_id, 0))

    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        self.run_on(data, self.named.keys() - self.settled, abandon_batch)

    @rule(data=st.data())
    def chain_settles(self, data: st.DataObject) -> None:
        for batch_id in self.run_on(data, self.named.keys() - self.settled, close_it):
            self.settled.add(batch_id)

    @rule(data=st.data())
    def chain_takes_back(self, data: st.DataObject) -> None:
        for batch_id in self.run_on(data, self.settled, reopen_batch):
            self.settled.remove(batch_id)

    def run_on(self, data: st.DataObject, batch_ids: Iterable[str], call: object) -> list[str]:
        """Call with one of ``batch_ids``, twice: again is harmless. Return which, if any."""
        choices = sorted(batch_ids)
        if not choices:
            return []
        batch_id = data.draw(st.sampled_from(choices))
        with write(self.engine) as connection:
            call(connection, batch_id)  # type: ignore[operator]
            call(connection, batch_id)  # type: ignore[operator]
        return [batch_id]

    @invariant()
    def ledger_is_sound(self) -> None:
        with read(self.engine) as connection:
            found = find_violations(connection)
        # No event is mirrored here.
        assert [one for one in found if "unlike the chain" not in one.detail] == []

    @invariant()
    def usage_is_settled_once_where_a_settled_batch_names_it(self) -> None:
        with read(self.engine) as connection:
            rows = connection.execute(
                select(USAGE.c.request_id, USAGE.c.state, USAGE.c.batch_id)
            ).all()
        for name, state, batch_id in rows:
            naming = {batch for batch in self.settled if name in self.named[batch]}
            assert (state == "settled") == bool(naming)
            assert state != "settled" or batch_id in naming

    @invariant()
    def what_was_charged_twice_is_known_and_not_charged_again(self) -> None:
        with read(self.engine) as connection:
            items = connection.execute(
                select(BATCH.c.state, ITEM.c.token_id, ITEM.c.cost_usdc, ITEM.c.offset_usdc).join(
                    ITEM, ITEM.c.batch_id == BATCH.c.batch_id
                )
            ).all()
            overcharged = load_overcharges(connection)
        for token_id in TOKENS:
            charged = sum(
                cost for state, t, cost, _ in items if (state, t) == ("settled", token_id)
            )
            offset = sum(o for state, t, _, o in items if t == token_id and state != "abandoned")
            landed = sum(o for state, t, _, o in items if (state, t) == ("settled", token_id))
            times: Counter[str] = Counter()
            for batch_id in self.settled:
                times.update(n for n in self.named[batch_id] if self.costs[n][0] == token_id)
            once = sum(self.costs[name][1] for name in times)
            twice = sum(self.costs[name][1] * (count - 1) for name, count in times.items())
            assert charged + landed == once + twice
            assert overcharged.get(token_id, 0) == max(0, twice - offset)

    @invariant()
    def receipts_of_a_batch_stay(self) -> None:
        with read(self.engine) as connection:
            for batch_id, named in self.named.items():
                receipts = load_batch_receipts(connection, batch_id)
                assert {receipt.request_id for receipt in receipts} == named

    @invariant()
    def a_batch_is_spoiled_where_another_has_charged_for_it(self) -> None:
        with read(self.engine) as connection:
            rows = connection.execute(select(BATCH.c.batch_id, BATCH.c.state)).all()
            states = {str(batch_id): str(state) for batch_id, state in rows}
            for batch_id in self.named.keys() - self.settled:
                charged = any(self.named[batch_id] & self.named[other] for other in self.settled)
                expected = charged or states[batch_id] == "abandoned"
                assert is_spoiled(connection, batch_id) == expected


def close_it(connection: object, batch_id: str) -> None:
    close_batch(connection, batch_id, block_number=11, tx_hash="0x00")  # type: ignore[arg-type]


class PostgresBatchMachine(BatchMachine):
    kind = POSTGRES


BatchMachine.TestCase.settings = settings(
    max_examples=games(12), stateful_step_count=30, deadline=None
)
PostgresBatchMachine.TestCase.settings = settings(
    max_examples=games(20), stateful_step_count=30, deadline=None
)
TestBatches = BatchMachine.TestCase
TestBatchesOnPostgres = pytest.mark.slow(needs_postgres(PostgresBatchMachine.TestCase))
