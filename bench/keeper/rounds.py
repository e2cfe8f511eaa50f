"""A keeper's rounds over many positions: how long one takes, and what a year of them does."""

from __future__ import annotations

import resource
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, Engine, text

from bench.keeper.batches import ITEMS_MAX
from bench.keeper.world import BEGIN_S, YEAR_S, World, build_keeper, move_cursor
from contracts.units import SECONDS_PER_DAY
from keeper.duties.duty import Action
from keeper.duties.harvest import decide_rests
from keeper.duties.registry import KINDS, Rules
from keeper.rounds import decide
from keeper.snapshot import Snapshot
from ledger.chain.harvests import rest_harvests
from ledger.database.engine import write

ROUND_S: Final = 4
"""Two blocks: one to look at, one for the transaction."""
HOUR_S: Final = 3_600
DUE: Final = 1_000
TICKS: Final = 15


def measure_tick(engine: Engine, world: World, rules: Rules, *, due: int = DUE) -> dict[str, float]:
    """Return how long a look and its decisions take, the median in milliseconds."""
    reader, duties = build_keeper(engine, world, rules)
    times: list[float] = []
    snapshot: Snapshot | None = None
    actions: list[Action] = []
    for _ in range(TICKS):
        began_s = time.process_time()
        snapshot = reader.read(now_s=world.now_s, kinds=KINDS)
        actions = [action for duty in duties for action in decide(duty, snapshot)[0]]
        facts = snapshot.facts["harvest"]
        decide_rests(facts, _get_harvested(actions), snapshot.moment, rules)
        times.append(time.process_time() - began_s)
    assert snapshot is not None
    kinds = Counter[str]()
    for action in actions:
        kinds[action.kind] += len(action.items)
    # Otherwise something else was measured than what is meant.
    assert len(snapshot.facts["settle"]) == due
    most = min(due, ITEMS_MAX)
    harvests = min(due, rules.harvests_max)
    assert (kinds["settle"], kinds["hold"]) == (most, most), kinds
    assert kinds["harvest"] > harvests // 2, kinds
    return {"tick_ms": statistics.median(times) * 1_000}


def simulate(
    engine: Engine, world: World, rules: Rules, *, harvests_max: int, pace_s: int
) -> dict[str, float]:
    """Let the keeper harvest for a year, or until ``harvests_max``; return the figures.

    A round every ``pace_s``, and every four seconds while there is more. What a transaction does is
    mirrored at once, as the indexer does it, without its events.
    """
    reader, duties = build_keeper(engine, world, rules)
    expected_hash = world.block().block_hash
    end_s = BEGIN_S + YEAR_S
    harvests = transactions = credited_usdc = 0
    lags: list[float] = []
    lag_every = max(1, min(harvests_max, 40_000) // 8)
    began_s = time.process_time()
    while world.now_s < end_s and harvests < harvests_max:
        snapshot = reader.read(now_s=world.now_s, kinds={"harvest"})
        facts = snapshot.facts["harvest"]
        actions = [
            action
            for duty in duties
            if duty.kind == "harvest"
            for action in decide(duty, snapshot)[0]
        ]
        chosen = _get_harvested(actions)
        with write(engine) as connection:
            rests = decide_rests(facts, chosen, snapshot.moment, rules)
            rest_harvests(connection, [(r.token_id, r.look_at_s, r.failures) for r in rests])
            if chosen:
                credited_usdc += world.harvest(chosen)
                _mirror_harvests(connection, world, chosen)
                transactions += len(actions)
                if (harvests + len(chosen)) // lag_every > harvests // lag_every:
                    lags.append(world.lag_s())
                harvests += len(chosen)
            is_full = len(facts.quotes) >= rules.harvests_max
            world.now_s = min(end_s, world.now_s + (ROUND_S if is_full else pace_s))
            expected_hash = move_cursor(connection, world, expected_hash=expected_hash)
    took_s = time.process_time() - began_s
    simulated_s = world.now_s - BEGIN_S
    return {
        "simulated_days": simulated_s / SECONDS_PER_DAY,
        "decisions": world.quotes,
        "decisions_per_s": world.quotes / took_s,
        "harvests_a_year": harvests * YEAR_S / simulated_s,
        "transactions_a_year": transactions * YEAR_S / simulated_s,
        "credited_usdc_a_year": credited_usdc * YEAR_S / simulated_s,
        "lag_h": (statistics.mean(lags) if lags else world.lag_s()) / HOUR_S,
        "lag_ideal_h": world.ideal_lag_s() / HOUR_S,
        "waiting": _count_waiting(engine, world),
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024,
    }


def _get_harvested(actions: Sequence[Action]) -> list[int]:
    return [t for action in actions if action.kind == "harvest" for t in action.token_ids]


_LOOK: Final = (
    "CASE WHEN harvest_look_at_s > last_harvest_at_s + harvest_interval_s"
    " THEN harvest_look_at_s ELSE last_harvest_at_s + harvest_interval_s END"
)


def _count_waiting(engine: Engine, world: World) -> int:
    with write(engine) as connection:
        return int(
            connection.execute(
                text(f"SELECT count(*) FROM position WHERE {_LOOK} <= {world.now_s}")
            ).scalar_one()
        )


def _mirror_harvests(connection: Connection, world: World, token_ids: Sequence[int]) -> None:
    connection.execute(
        text("UPDATE position SET last_harvest_at_s = :now WHERE token_id = :token"),
        [{"now": world.now_s, "token": token_id} for token_id in token_ids],
    )
