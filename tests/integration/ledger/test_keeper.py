"""What the keeper remembers, and what it gives up, on both databases.

::

    load_due_harvests
    ├── interval passed and rested → by when each was to be looked at, at most the limit
    ├── not due, resting, or without shares → not among them
    └── however many positions → by its index
    payouts
    ├── planned → not payable again; abandoned → payable again; in two batches → refused
    └── on chain though its nonce was another's → paid, by its event
    write_off → L1 holds, and only what does not fit is given up
"""

from dataclasses import replace

import pytest
from sqlalchemy import Connection, Engine, insert, select, text
from sqlalchemy.exc import IntegrityError

from contracts.events import ChainEvent
from ledger.chain.drawn import load_drawn_mismatches
from ledger.chain.event_rows import save_events
from ledger.chain.harvests import load_due_harvests, note_harvests_sent, rest_harvests
from ledger.chain.position_rows import save_states
from ledger.database.engine import read, write
from ledger.intents import lifecycle
from ledger.selling.payouts import (
    abandon_payout_batch,
    follow_payouts,
    load_payable,
    plan_payout_batch,
)
from ledger.spending.admission import AdmissionRules
from ledger.spending.debts import PostedUsage, load_debts, load_posted, load_written_off, write_off
from ledger.spending.metering import Post, Reserve
from ledger.tables import MarketPayout, PayoutBatch, PayoutItem, table_of
from ledger.tables.usage import Charge, Reservation
from tests.support.ledgers import NOW_S, Databases, make_state, put_cursor, put_positions

PAYEE = "0x" + "aa" * 20
_batch = table_of(PayoutBatch)
_item = table_of(PayoutItem)


@pytest.fixture
def engine(databases: Databases) -> Engine:
    return databases.open_ledger()


def due(connection: Connection, *, now_s: int, limit: int = 10) -> list[int]:
    return [d.token_id for d in load_due_harvests(connection, now_s=now_s, limit=limit)]


def test_load_due_harvests__rests_and_shares__decide_who_and_in_which_order(
    engine: Engine,
) -> None:
    due_at_s = NOW_S + 1_800
    states = [make_state(token_id) for token_id in range(5)]
    states[3] = replace(states[3], shares=0)
    states[4] = replace(states[4], last_harvest_at_s=NOW_S + 1)
    with write(engine) as connection:
        save_states(connection, states)
        rest_harvests(connection, [(0, due_at_s + 5, 2), (1, due_at_s - 9, 0)])

        assert due(connection, now_s=due_at_s - 1) == []
        assert due(connection, now_s=due_at_s) == [1, 2]
        assert due(connection, now_s=due_at_s + 5) == [1, 2, 4, 0]
        assert due(connection, now_s=due_at_s + 5, limit=1) == [1]

        note_harvests_sent(connection, [0], sent_at_s=due_at_s)
        found = load_due_harvests(connection, now_s=due_at_s + 5, limit=10)[-1]
        assert (found.due_at_s, found.failures, found.sent_at_s) == (due_at_s, 2, due_at_s)

        # A success moves the due time past any rest; what the indexer writes leaves the rest alone.
        save_states(connection, [replace(states[0], last_harvest_at_s=due_at_s + 6)])
        assert 0 not in due(connection, now_s=due_at_s + 1_805)
        assert 0 in due(connection, now_s=due_at_s + 1_806)


def test_load_due_harvests__many_positions__is_answered_by_its_index(engine: Engine) -> None:
    with write(engine) as connection:
        save_states(connection, [make_state(token_id) for token_id in range(300)])
    asked: list[str] = []

    class Spy:
        dialect = engine.dialect

        def execute(self, statement: object) -> object:
            asked.append(
                str(statement.compile(engine, compile_kwargs={"literal_binds": True}))  # type: ignore[attr-defined]
            )
            return connection.execute(statement)  # type: ignore[call-overload]

    with read(engine) as connection:
        load_due_harvests(Spy(), now_s=NOW_S, limit=10)  # type: ignore[arg-type]
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET enable_seqscan = off"))
            plan = connection.execute(text(f"EXPLAIN {asked[0]}")).scalars().all()
        else:
            rows = connection.execute(text(f"EXPLAIN QUERY PLAN {asked[0]}")).all()
            plan = [str(row[3]) for row in rows]

    shown = "\n".join(str(line) for line in plan)
    assert "position_harvest_look" in shown
    assert "Sort" not in shown
    assert "TEMP B-TREE" not in shown


# ------------------------------------------------------------------------------------------ payouts


def owe(connection: Connection, *payouts: tuple[str, int, int]) -> None:
    """Make (payout id, amount, time) payable."""
    connection.execute(
        insert(table_of(MarketPayout)),
        [
            {
                "payout_id": payout_id,
                "seller": PAYEE,
                "payee": PAYEE,
                "amount_usdc": amount_usdc,
                "planned_at_s": at_s,
            }
            for payout_id, amount_usdc, at_s in payouts
        ],
    )


def payable(connection: Connection, *, now_s: int = NOW_S) -> list[str]:
    found = load_payable(connection, now_s=now_s, limit=10)
    return [payout.payout_id for payout in found]


def test_payouts__in_a_batch_that_lives__are_not_payable_again(engine: Engine) -> None:
    with write(engine) as connection:
        owe(connection, ("b", 2, NOW_S), ("a", 1, NOW_S), ("early", 3, 5), ("late", 4, NOW_S + 1))
        assert payable(connection) == ["early", "a", "b"]

        batch = plan_payout_batch(
            connection, [("a", PAYEE, 1), ("b", PAYEE.upper().replace("X", "x"), 2)], now_s=NOW_S
        )
        assert batch is not None
        assert batch.items == ((PAYEE, 3),)
        assert payable(connection) == ["early"]

        abandon_payout_batch(connection, batch.batch_id)
        state = select(_batch.c.state).where(_batch.c.batch_id == batch.batch_id)
        assert connection.execute(state).scalar_one() == "abandoned"
        assert payable(connection) == ["early", "a", "b"]
        again = plan_payout_batch(connection, [("a", PAYEE, 1)], now_s=NOW_S)
        assert again is not None
        assert again.batch_id != batch.batch_id
    with pytest.raises(IntegrityError), write(engine) as connection:
        plan_payout_batch(connection, [("a", PAYEE, 1)], now_s=NOW_S)


def test_follow_payouts__on_chain_by_another_s_nonce__is_paid_by_its_event(engine: Engine) -> None:
    with write(engine) as connection:
        owe(connection, ("a", 1, NOW_S))
        batch = plan_payout_batch(connection, [("a", PAYEE, 1)], now_s=NOW_S)
        assert batch is not None
        intent_id = f"payout:{batch.batch_id}"
        lifecycle.plan_intent(
            connection, intent_id=intent_id, kind="payout", reason="", payload={}, now_s=NOW_S
        )
        connection.execute(text("UPDATE intent SET state = 'replaced'"))
        assert follow_payouts(connection) == 0, "not mirrored yet"

        args: dict[str, int | str | bool] = {"batchId": batch.batch_id, "total": 1, "count": 1}
        save_events(
            connection,
            [
                ChainEvent(
                    contract="payouts",
                    name="BatchPaid",
                    args=args,
                    block_number=77,
                    block_hash="0x" + "0a" * 32,
                    block_timestamp_s=NOW_S,
                    tx_hash="0x" + "0b" * 32,
                    log_index=0,
                )
            ],
        )
        assert follow_payouts(connection) == 1
        assert follow_payouts(connection) == 0
        assert connection.execute(select(_item.c.state)).scalars().all() == ["paid"]


# -------------------------------------------------------------------------------------------- debts


def test_write_off__part_of_the_credit_is_gone__keeps_what_it_pays(engine: Engine) -> None:
    rules = AdmissionRules(hold_margin_s=900, max_staleness_s=60, lease_s=300)
    state = make_state(credited_usdc=1_000_000, hold_usdc=1_000_000)
    with write(engine) as connection:
        put_cursor(connection)
        put_positions(connection, state, make_state(1))
        for number, cost_usdc in enumerate((300_000, 400_000, 200_000)):
            request_id = f"r{number}"
            reservation = Reservation(request_id, 0, 0, "key", "model", cost_usdc, 1, 1)
            Reserve(reservation, rules, NOW_S)(connection)
            Post(request_id, Charge(cost_usdc, 1, 1), NOW_S + number)(connection)
        assert load_posted(connection) == {0: PostedUsage(900_000, NOW_S)}
        assert load_debts(connection, now_s=NOW_S) == []

        later_s = state.hold_expires_at_s
        put_positions(connection, replace(state, withdrawn_usdc=450_000))
        (debt,) = load_debts(connection, now_s=later_s)
        assert (debt.posted_usdc, debt.payable_usdc, debt.debt_usdc) == (900_000, 550_000, 350_000)

        done = write_off(connection, token_id=0, now_s=later_s)
        # The oldest is paid; the second does not fit, the third still does.
        assert (done.requests, done.amount_usdc) == (1, 400_000)
        assert write_off(connection, token_id=0, now_s=later_s).requests == 0
        assert write_off(connection, token_id=1, now_s=later_s).requests == 0
        assert load_drawn_mismatches(connection) == []
        assert load_written_off(connection) == [done]
        assert load_posted(connection) == {0: PostedUsage(500_000, NOW_S)}
