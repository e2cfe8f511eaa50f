"""The whole indexer through every way in which nodes fail, seen from outside.

::

    each failure, in each state of the follower
    ├── backfill: from the start, on a chain that is longer than the window
    ├── hand-over: from the first block on that is followed, not backfilled
    └── live: at the head, with blocks coming and going
    then good again: no row missing, stale or double, L1 to L6 hold, and a line names the failure
    what a node is like for ever: lived with by one endpoint, left for another where there is one
    one liar among three, with a quorum of two: found out; the two others are not
    a lone endpoint that serves another chain: stops, and writes nothing
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog
from sqlalchemy import Engine

from contracts.errors import Fatal
from contracts.node_errors import NodeFailure
from indexer.health import Health
from indexer.settings import IndexerSettings
from scripts.audit import audit
from tests.support.deploy import World
from tests.support.faults import FAULTS, LIMITS, FaultProxy
from tests.support.ledgers import make_unbound_ledger
from tests.support.mirroring import (
    Traffic,
    fetch_chain_rows,
    find_wrong,
    is_right,
    load_mirrored_rows,
    make_environment,
    running,
    was_lost,
)
from tests.support.waiting import wait_until

WINDOW_BLOCKS = 12
STATES = ("backfill", "hand_over", "live")
AT_THE_HAND_OVER = ("head_goes_back", "lost_logs", "reorg_between", "spoilt_blocks")
"""Failures that the hand-over itself is sensitive to; the others' are slow tests."""
LOST_IN_HISTORY = (("lost_logs", "backfill"), ("lost_logs", "hand_over"))
"""What was lost at both looks at a block of history is found if it matters for a figure."""
NAMED_AS: dict[str, set[NodeFailure]] = {
    "logs_not_there_yet": {NodeFailure.EMPTY_LOGS},
    "head_goes_back": {
        NodeFailure.LAGGING_HEAD,
        NodeFailure.UNKNOWN_BLOCK,
        NodeFailure.CLAMPED_RANGE,
    },
    "clamped_range": {NodeFailure.PARTIAL_LOGS},
    "empty_by_hash": {NodeFailure.EMPTY_LOGS},
    "reorg_between": set(),  # above what is read it is nobody's failure, below a reorg like any
    "lost_logs": {NodeFailure.PARTIAL_LOGS, NodeFailure.EMPTY_LOGS},
    "range_limit": {NodeFailure.RANGE_REFUSED},
    "overloaded": {NodeFailure.RATE_LIMITED, NodeFailure.NOT_JSON, NodeFailure.BODY_TOO_LARGE},
    "heads_silent": {NodeFailure.HEADS_SILENT},
    "pruned_history": {NodeFailure.PARTIAL_LOGS},
    "unknown_block": {NodeFailure.UNKNOWN_BLOCK, NodeFailure.CLAMPED_RANGE},
    "spoilt_blocks": {NodeFailure.WRONG_BLOOM, NodeFailure.DUPLICATE_LOG, NodeFailure.MALFORMED},
    "wrong_chain": {NodeFailure.WRONG_CHAIN},
    "silent_socket": {NodeFailure.TIMED_OUT},
    "errors_inside": {NodeFailure.REFUSED, NodeFailure.RATE_LIMITED},
    "range_in_strange_words": {NodeFailure.REFUSED, NodeFailure.UNREACHABLE},
    "batch_limit": {NodeFailure.RATE_LIMITED, NodeFailure.UNREACHABLE},
}


@pytest.fixture
def proxy(world: World) -> Iterator[FaultProxy]:
    with FaultProxy(world.anvil.url) as proxy:
        yield proxy


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    ledger = make_unbound_ledger(tmp_path / "ledger.sqlite3")
    yield ledger
    ledger.dispose()


def settings_for(world: World, path: Path, **changes: str) -> IndexerSettings:
    environment = make_environment(
        world,
        path,
        WINDOW_BLOCKS=str(WINDOW_BLOCKS),
        RANGE_BLOCKS_MAX="8",
        BLOCKS_PER_STEP_MAX="16",
        **changes,
    )
    return IndexerSettings.from_environment(environment)


def names(health: Health) -> set[NodeFailure]:
    """Return the failures that the indexer has named."""
    return {failure for _, failure in health.report().failures}


CASES = [
    pytest.param(fault, state, marks=[pytest.mark.slow] if is_slow else [])
    for fault in FAULTS
    for state in STATES
    for is_slow in [state == "hand_over" and fault not in AT_THE_HAND_OVER]
    if fault != "wrong_chain"
]


@pytest.mark.parametrize(("fault", "state"), CASES)
@pytest.mark.sampled(6)
def test_failure__then_good_again__no_row_missing_stale_or_double(
    world: World,
    engine: Engine,
    proxy: FaultProxy,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    fault: str,
    state: str,
) -> None:
    settings = settings_for(world, tmp_path, RPC_URL=proxy.url, HEADS_URL=proxy.heads_url)
    traffic = Traffic(world, seed=1, lock=proxy.chain_lock)
    traffic.begin()
    if state != "live":
        traffic.play(8)
        world.anvil.mine(6)
    if state == "backfill":
        # The deployment's own block is followed; backfilling begins with the next.
        injection = proxy.inject(fault, from_block=world.deployment.block_number + 2)
    elif state == "hand_over":
        first_followed = world.anvil.head().number - WINDOW_BLOCKS + 1
        injection = proxy.inject(fault, from_block=first_followed)
    with structlog.testing.capture_logs() as lines, running(settings) as health:
        if state == "live":
            wait_until(lambda: health.report().observed_at_s > 0)
            injection = proxy.inject(fault)
        wait_until(lambda: injection.used > 0 or fault == "heads_silent")
        for _ in range(4):
            traffic.play(1)
            time.sleep(0.05)  # as blocks do; what a failing node makes of them is no matter of time
        for _ in range(40):
            # An answer that is spoilt may go unnoticed, until one is that matters.
            if injection.spoilt == 0 or not NAMED_AS[fault] or names(health) & NAMED_AS[fault]:
                break
            traffic.play(1)
            time.sleep(0.05)
        proxy.heal()
        if fault == "lost_logs":
            # No view shows the loss of an event that changes no figure of a position. Where the
            # chain goes on, the last look finds it: before the block can no longer be taken back.
            world.anvil.mine(WINDOW_BLOCKS)
        rows = fetch_chain_rows(world)
        may_lack = was_lost if (fault, state) in LOST_IN_HISTORY else None
        wait_until(lambda: is_right(engine, world, rows, may_lack=may_lack))
        # Rows that were found again are folded a moment later.
        wait_until(lambda: not find_wrong(engine, world, may_lack=may_lack))
        good_s = time.monotonic() if proxy.first_good_s is None else proxy.first_good_s
        record_property("right_after_s", round(time.monotonic() - good_s, 3))
    named = names(health)
    record_property("named", " ".join(sorted(named)))
    record_property("spoilt", injection.spoilt)
    assert is_right(engine, world, rows, may_lack=may_lack)
    assert find_wrong(engine, world, may_lack=may_lack) == []
    assert injection.spoilt == 0 or not NAMED_AS[fault] or named & NAMED_AS[fault]
    assert named == {line["failure"] for line in lines if line["event"] == "node_failed"}


FOR_EVER = [
    *((name, count) for name in LIMITS for count in (1, 2)),
    ("errors_inside", 2),
]


@pytest.mark.parametrize(("fault", "endpoints"), FOR_EVER)
@pytest.mark.sampled(3)
def test_failure__for_ever_at_the_first_endpoint__the_mirror_is_right_all_the_same(
    world: World, engine: Engine, tmp_path: Path, fault: str, endpoints: int
) -> None:
    with ExitStack() as opened:
        proxies = [opened.enter_context(FaultProxy(world.anvil.url)) for _ in range(endpoints)]
        settings = settings_for(world, tmp_path, RPC_URL=" ".join(one.url for one in proxies))
        traffic = Traffic(world, seed=1)
        traffic.begin()
        traffic.play(10)
        world.anvil.mine(3 * WINDOW_BLOCKS)
        injection = proxies[0].inject(fault)
        with running(settings) as health:
            traffic.play(4)
            rows = fetch_chain_rows(world)
            wait_until(lambda: is_right(engine, world, rows))
            assert injection.used > 0
            traffic.play(4)
            rows = fetch_chain_rows(world)
            wait_until(lambda: is_right(engine, world, rows))
            named = {failure for _, failure in health.report().failures}
    assert injection.spoilt == 0 or named & NAMED_AS[fault]
    assert load_mirrored_rows(engine) == rows
    assert audit(engine, world.anvil.web3, world.deployment) == []


def test_failure__another_chain_at_the_only_endpoint__stops_and_writes_nothing(
    world: World, engine: Engine, proxy: FaultProxy, tmp_path: Path
) -> None:
    settings = settings_for(world, tmp_path, RPC_URL=proxy.url)
    Traffic(world, seed=1).begin()
    rows = fetch_chain_rows(world)
    with running(settings):
        wait_until(lambda: is_right(engine, world, rows))
    proxy.inject("wrong_chain")
    with pytest.raises(Fatal, match="chain"), running(settings) as health:
        wait_until(lambda: bool(health.report().failures))
    proxy.heal()
    assert load_mirrored_rows(engine) == rows


LIES = ("logs_not_there_yet", "empty_by_hash", "lost_logs", "pruned_history", "spoilt_blocks")


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.sampled(2)
def test_liar__one_of_three_with_a_quorum_of_two__found_out(
    world: World, engine: Engine, tmp_path: Path, lie: str
) -> None:
    with ExitStack() as opened:
        proxies = [opened.enter_context(FaultProxy(world.anvil.url)) for _ in range(3)]
        liar = proxies[0]
        urls = " ".join(proxy.url for proxy in proxies)
        settings = settings_for(world, tmp_path, RPC_URL=urls, RPC_QUORUM="2")
        traffic = Traffic(world, seed=1)
        traffic.begin()
        traffic.play(15)
        liar.inject(lie, from_block=world.deployment.block_number + 2)
        with running(settings) as health:
            traffic.play(4)
            rows = fetch_chain_rows(world)
            wait_until(lambda: is_right(engine, world, rows))
            wait_until(lambda: (liar.url, NodeFailure.OUTVOTED) in health.report().failures)
            named = {name for name, failure in health.report().failures if failure != "no_quorum"}
        assert named <= {liar.url}
    assert load_mirrored_rows(engine) == rows
    assert audit(engine, world.anvil.web3, world.deployment) == []


def test_backfill__logs_missing_that_no_total_misses__not_fresh_before_they_are_there(
    world: World, engine: Engine, proxy: FaultProxy, tmp_path: Path
) -> None:
    settings = settings_for(world, tmp_path, RPC_URL=proxy.url)
    Traffic(world, seed=1).begin()
    world.anvil.mine(2 * WINDOW_BLOCKS)
    rows = fetch_chain_rows(world)
    # With none of its events at all a position is not even missed by another event.
    proxy.inject("pruned_history", from_block=world.deployment.block_number + 2)
    with running(settings) as health:
        wait_until(
            lambda: NodeFailure.PARTIAL_LOGS in {name for _, name in health.report().failures}
        )
        assert health.report().mirrored_number == world.anvil.head().number
        assert health.report().observed_at_s == 0
        proxy.heal()
        wait_until(lambda: is_right(engine, world, rows))
        wait_until(lambda: health.report().observed_at_s > 0)
    assert audit(engine, world.anvil.web3, world.deployment) == []
