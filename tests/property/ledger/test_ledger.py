"""L1 to L4 after every step of any sequence of ledger calls, against a model of a few lines.

The model knows only what the specification says: what is promised, and what may be promised.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from sqlalchemy import Connection, select

from contracts.events import ChainEvent, Value
from indexer.fold import apply_events, rewind_to
from ledger.audit import find_violations
from ledger.chain.event_rows import save_events
from ledger.chain.holds import confirm_holds
from ledger.chain.position_rows import load_states
from ledger.database.engine import read, write
from ledger.errors import RefusalReason, ReserveRefused, UsageResolved
from ledger.spending.admission import AdmissionRules
from ledger.spending.batches import abandon_batch, plan_batch
from ledger.spending.leases import sweep_leases
from ledger.spending.metering import Post, Reserve, Void
from ledger.tables import Position, Usage, table_of
from ledger.tables.usage import Charge, Reservation
from tests.support.examples import games
from tests.support.folders import temporary_folder
from tests.support.ledgers import NOW_S, OWNER, POSTGRES, SQLITE, Databases, put_cursor
from tests.support.postgres import needs_postgres

POSITION, USAGE = table_of(Position), table_of(Usage)
RULES = AdmissionRules(hold_margin_s=900, max_staleness_s=60, lease_s=300)
TOKENS = (0, 1)
CREDIT_USDC = 1_000_000
HOLD_USDC = 500_000
GENESIS = 10
AMOUNTS = st.one_of(st.integers(0, 60_000), st.sampled_from([0, 1, 499_999, 500_000, 500_001]))


@dataclass
class Entry:
    token_id: int
    ceiling_usdc: int
    state: str = "reserved"
    cost_usdc: int = 0
    batch_id: str | None = None


class LedgerMachine(RuleBasedStateMachine):
    kind = SQLITE
    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.directory = temporary_folder()
        self.databases = Databases(self.kind, Path(self.directory.name))
        self.engine = self.databases.open_ledger()
        self.entries: dict[str, Entry] = {}
        self.holds = dict.fromkeys(TOKENS, HOLD_USDC)
        self.spent = dict.fromkeys(TOKENS, 0)
        self.planned: list[str] = []
        self.history: list[tuple[dict[int, int], dict[int, int], str | None]] = []
        self.block = GENESIS
        with write(self.engine) as connection:
            put_cursor(connection, number=GENESIS)
            mine(connection, GENESIS, [event for token in TOKENS for event in genesis(token)])

    def teardown(self) -> None:
        self.databases.__exit__()
        self.directory.cleanup()

    def drawn(self, token_id: int) -> int:
        return sum(
            entry.ceiling_usdc if entry.state == "reserved" else entry.cost_usdc
            for entry in self.entries.values()
            if entry.token_id == token_id and entry.state in ("reserved", "posted", "settling")
        )

    @rule(target=requests, token_id=st.sampled_from(TOKENS), ceiling=AMOUNTS)
    def reserve(self, token_id: int, ceiling: int) -> str:
        return self.try_to_reserve(token_id, ceiling)

    def try_to_reserve(self, token_id: int, ceiling: int) -> str:
        request_id = f"request-{len(self.entries)}"
        fits = self.drawn(token_id) + ceiling <= self.holds[token_id]
        with write(self.engine) as connection:
            try:
                Reserve(reservation(request_id, token_id, ceiling), RULES, NOW_S)(connection)
            except ReserveRefused as refusal:
                # Nothing fits into no hold; a hold of nothing has no expiry either.
                assert not fits or self.holds[token_id] == 0
                expected = (RefusalReason.HOLD_PENDING, RefusalReason.ALLOWANCE_SPENT)
                assert refusal.reason in expected
                return request_id
        assert fits
        self.entries[request_id] = Entry(token_id, ceiling)
        return request_id

    @rule(request_id=requests, share=st.integers(0, 100))
    def post(self, request_id: str, share: int) -> None:
        entry = self.entries.get(request_id)
        if entry is None:
            return
        cost_usdc = entry.ceiling_usdc * share // 100
        with write(self.engine) as connection:
            try:
                post_cost(connection, request_id, cost_usdc)
            except UsageResolved:
                assert entry.state == "voided" or entry.cost_usdc != cost_usdc
                return
        if entry.state == "reserved":
            entry.state, entry.cost_usdc = "posted", cost_usdc
        assert entry.cost_usdc == cost_usdc

    @rule(target=requests, token_id=st.sampled_from(TOKENS), ceiling=st.integers(1, 60_000))
    def serve(self, token_id: int, ceiling: int) -> str:
        request_id = self.try_to_reserve(token_id, ceiling)
        self.post(request_id, 50)
        return request_id

    @rule(request_id=requests)
    def post_above_the_ceiling(self, request_id: str) -> None:
        entry = self.entries.get(request_id)
        if entry is None or entry.state != "reserved":
            return
        with (
            write(self.engine) as connection,
            pytest.raises(ValueError, match="not within the ceiling"),
        ):
            post_cost(connection, request_id, entry.ceiling_usdc + 1)

    @rule(request_id=requests)
    def void(self, request_id: str) -> None:
        entry = self.entries.get(request_id)
        if entry is None:
            return
        with write(self.engine) as connection:
            try:
                Void(request_id, "test", NOW_S)(connection)
            except UsageResolved:
                assert entry.state not in ("reserved", "voided")
                return
        assert entry.state in ("reserved", "voided")
        entry.state = "voided"

    @rule(luck=st.integers(0, 9))
    def sweep(self, luck: int) -> None:
        late = luck == 0
        with write(self.engine) as connection:
            count = sweep_leases(connection, now_s=NOW_S + (RULES.lease_s if late else 0))
        open_entries = [entry for entry in self.entries.values() if entry.state == "reserved"]
        assert count == (len(open_entries) if late else 0)
        if late:
            for entry in open_entries:
                entry.state = "voided"

    @rule()
    def plan(self) -> None:
        with write(self.engine) as connection:
            planned = plan_batch(connection, limits_usdc=self.holds, now_s=NOW_S)
        if planned is None:
            # Oldest first: what does not fit keeps the younger ones of its position waiting.
            oldest: dict[int, Entry] = {}
            for _, entry in sorted(self.entries.items()):
                if entry.state == "posted":
                    oldest.setdefault(entry.token_id, entry)
            assert all(entry.cost_usdc > self.holds[token] for token, entry in oldest.items())
            return
        with read(self.engine) as connection:
            in_batch = load_requests_of(connection, planned.batch_id)
        for request_id in in_batch:
            entry = self.entries[request_id]
            assert entry.state == "posted"
            entry.state, entry.batch_id = "settling", planned.batch_id
        self.planned.append(planned.batch_id)

    @rule(data=st.data(), luck=st.integers(0, 4))
    def abandon(self, data: st.DataObject, luck: int) -> None:
        if self.planned and luck == 0:
            batch_id = data.draw(st.sampled_from(self.planned))
            self.planned.remove(batch_id)
            with write(self.engine) as connection:
                abandon_batch(connection, batch_id)
                abandon_batch(connection, batch_id)
            for entry in self.entries_of(batch_id):
                entry.state, entry.batch_id = "posted", None

    @rule(data=st.data())
    def chain_settles(self, data: st.DataObject) -> None:
        payable = [batch_id for batch_id in self.planned if self.is_payable(batch_id)]
        if not payable:
            return
        batch_id = data.draw(st.sampled_from(payable))
        self.extend_history(batch_id)
        self.planned.remove(batch_id)
        costs = self.costs_of(batch_id)
        events: list[tuple[str, dict[str, Value]]] = []
        for token_id, cost_usdc in costs.items():
            self.holds[token_id] -= cost_usdc
            self.spent[token_id] += cost_usdc
            spent_usdc = self.spent[token_id]
            args: dict[str, Value] = {"tokenId": token_id, "batchId": batch_id}
            events.append(("Settled", {**args, "cost": cost_usdc, "spentAfter": spent_usdc}))
        summary: dict[str, Value] = {"batchId": batch_id, "receiptsRoot": "0x00"}
        figures: dict[str, Value] = {"total": sum(costs.values()), "itemCount": len(costs)}
        events.append(("BatchSettled", {**summary, **figures}))
        with write(self.engine) as connection:
            mine(connection, self.block, events)
        for entry in self.entries_of(batch_id):
            entry.state = "settled"

    @rule(amount=AMOUNTS)
    def hold_is_placed(self, amount: int) -> None:
        self.extend_history(None)
        events = []
        for token_id in TOKENS:
            granted_usdc = min(amount, CREDIT_USDC - self.spent[token_id])
            self.holds[token_id] = granted_usdc
            events.append(hold_placed(token_id, granted_usdc))
        with write(self.engine) as connection:
            mine(connection, self.block, events)

    @rule(depth=st.integers(1, 4))
    def reorg(self, depth: int) -> None:
        depth = min(depth, len(self.history))
        for _ in range(depth):
            self.holds, self.spent, batch_id = self.history.pop()
            self.block -= 1
            if batch_id is not None:
                self.planned.append(batch_id)
                for entry in self.entries_of(batch_id):
                    entry.state = "settling"
        with write(self.engine) as connection:
            rewind_to(connection, self.block)
            rewind_to(connection, self.block)

    def extend_history(self, batch_id: str | None) -> None:
        self.history.append((dict(self.holds), dict(self.spent), batch_id))
        self.block += 1

    def entries_of(self, batch_id: str) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.batch_id == batch_id]

    def costs_of(self, batch_id: str) -> dict[int, int]:
        costs: dict[int, int] = {}
        for entry in self.entries_of(batch_id):
            costs[entry.token_id] = costs.get(entry.token_id, 0) + entry.cost_usdc
        return costs

    def is_payable(self, batch_id: str) -> bool:
        return all(cost <= self.holds[token] for token, cost in self.costs_of(batch_id).items())

    @invariant()
    def ledger_agrees(self) -> None:
        with read(self.engine) as connection:
            assert find_violations(connection) == []
            states = load_states(connection, TOKENS)
            drawn = dict(
                connection.execute(select(POSITION.c.token_id, POSITION.c.drawn_usdc)).all()
            )
        for token_id in TOKENS:
            assert drawn[token_id] == self.drawn(token_id)
            assert states[token_id].hold_usdc == self.holds[token_id]
            assert states[token_id].spent_usdc == self.spent[token_id]


def reservation(request_id: str, token_id: int, ceiling_usdc: int) -> Reservation:
    return Reservation(
        request_id=request_id,
        token_id=token_id,
        key_epoch=0,
        key_id="key",
        model="model",
        ceiling_usdc=ceiling_usdc,
        input_usdc_per_mtok=1,
        output_usdc_per_mtok=1,
    )


def post_cost(connection: Connection, request_id: str, cost_usdc: int) -> None:
    Post(request_id, Charge(cost_usdc, 1, 1), NOW_S)(connection)


def load_requests_of(connection: Connection, batch_id: str) -> list[str]:
    rows = connection.execute(select(USAGE.c.request_id).where(USAGE.c.batch_id == batch_id))
    return list(rows.scalars())


def hold_placed(token_id: int, granted_usdc: int) -> tuple[str, dict[str, Value]]:
    expires_at_s = NOW_S + 7_200 if granted_usdc > 0 else 0
    args = {"tokenId": token_id, "requested": granted_usdc, "granted": granted_usdc}
    return "HoldPlaced", {**args, "expiresAt": expires_at_s, "keyEpoch": 0}


def genesis(token_id: int) -> list[tuple[str, dict[str, Value]]]:
    """A position's life up to its first hold."""
    mint: dict[str, Value] = {"owner": OWNER, "modelTier": 0, "dailySmoothingBps": 10_000}
    credit: dict[str, Value] = {"amount": CREDIT_USDC, "creditedAfter": CREDIT_USDC}
    return [
        ("PositionMinted", {"tokenId": token_id, **mint}),
        ("YieldCredited", {"tokenId": token_id, **credit}),
        hold_placed(token_id, HOLD_USDC),
    ]


def mine(connection: Connection, number: int, logs: list[tuple[str, dict[str, Value]]]) -> None:
    """Mirror one block of events, its holds confirmed at once."""
    events = [
        ChainEvent(
            contract="position",
            name=name,
            args=args,
            block_number=number,
            block_hash=f"0x{number:064x}",
            block_timestamp_s=NOW_S,
            tx_hash="0x00",
            log_index=index,
        )
        for index, (name, args) in enumerate(logs)
    ]
    save_events(connection, events)
    changed = apply_events(connection, events, unconfirmed_above=number)
    confirm_holds(connection, confirmed_block=number, changed_tokens=changed)


class PostgresMachine(LedgerMachine):
    kind = POSTGRES


LedgerMachine.TestCase.settings = settings(
    max_examples=games(10), stateful_step_count=40, deadline=None
)
PostgresMachine.TestCase.settings = settings(max_examples=2, stateful_step_count=40, deadline=None)
TestLedger = LedgerMachine.TestCase
TestLedgerOnPostgres = pytest.mark.slow(needs_postgres(PostgresMachine.TestCase))
