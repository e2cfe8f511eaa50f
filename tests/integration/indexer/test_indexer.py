"""The mirror against a real anvil: every named reorg, restarts and rebuilds end in mirror = chain.

Each test ends in ``assert_mirror_is_chain``: L1 to L6 of ``current audit``.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from contracts.chain import Web3Transport
from contracts.reader import ChainReader
from indexer.fold import forget
from indexer.sync import (
    ROLLBACK_PATIENCE_S,
    Follower,
    Outcome,
    ReorgTooDeep,
    SyncRules,
)
from ledger.chain.mirror import load_mirror
from ledger.chain.position_rows import load_states
from ledger.chain.positions import PositionState
from ledger.database.engine import read, write
from ledger.database.schema import bind_deployment
from ledger.errors import WrongDeployment
from scripts.audit import audit
from tests.support.deploy import USDC, World
from tests.support.ledgers import DEPLOYMENT, make_unbound_ledger

RULES = SyncRules(confirmations=0, window_blocks=100, range_blocks_max=50, blocks_per_step_max=64)
HOUR_S = 3_600


@pytest.fixture
def engine(world: World, tmp_path: Path) -> Iterator[Engine]:
    ledger = make_unbound_ledger(tmp_path / "ledger.sqlite3")
    with write(ledger) as connection:
        bind_deployment(connection, world.deployment)
    yield ledger
    ledger.dispose()


def make_follower(world: World, engine: Engine, rules: SyncRules = RULES) -> Follower:
    return Follower(engine, ChainReader(Web3Transport(world.anvil.web3)), world.deployment, rules)


def sync(follower: Follower) -> list[Outcome]:
    """Converge until there is nothing new three times in a row; return what happened."""
    outcomes: list[Outcome] = []
    while outcomes[-3:] != [Outcome.NOTHING_NEW] * 3:
        outcomes.append(follower.converge())
        assert len(outcomes) < 200
    return outcomes


def mirrored(engine: Engine, token_id: int = 0) -> PositionState | None:
    with read(engine) as connection:
        return load_states(connection, [token_id]).get(token_id)


def assert_mirror_is_chain(world: World, engine: Engine) -> None:
    with read(engine) as connection:
        cursor = load_mirror(connection)
    assert cursor is not None
    assert cursor.block_hash == world.anvil.head().block_hash
    assert audit(engine, world.anvil.web3, world.deployment) == []


def credit(world: World, token_id: int = 0) -> None:
    """Earn and harvest: the position has something to hold."""
    world.earn(10 * USDC)
    world.send("outsider", world.contracts.adapter.functions.harvest(token_id))


def hold(world: World, amount_usdc: int = 1 * USDC, *, lives_s: int = HOUR_S) -> None:
    request = (0, amount_usdc, world.anvil.now_s() + lives_s, 0)
    world.send("keeper", world.contracts.position.functions.hold([request]))


def test_converge__a_whole_life__mirror_is_chain(world: World, engine: Engine) -> None:
    position, adapter = world.contracts.position.functions, world.contracts.adapter.functions
    follower = make_follower(world, engine)
    world.open_position()
    world.open_position(role="second_owner", daily_smoothing_bps=1_000)
    credit(world)
    credit(world, token_id=1)
    hold(world)
    sync(follower)
    assert_mirror_is_chain(world, engine)
    batch_id = (7).to_bytes(32, "big")
    world.send("keeper", position.settle(batch_id, b"\x01" * 32, [(0, 123_456)]))
    world.send("owner", position.bumpKeyEpoch(0))
    world.send("owner", position.requestRelease(0))
    world.send("owner", adapter.setHarvestInterval(0, 60))
    sync(follower)
    state = mirrored(engine)
    assert state is not None
    assert (state.key_epoch, state.spent_usdc, state.hold_usdc) == (1, 123_456, 876_544)
    assert_mirror_is_chain(world, engine)
    world.anvil.warp(26 * HOUR_S)  # the hold lapses, a UTC day passes
    world.send("owner", position.withdrawUnspentYield(0))
    world.send("owner", adapter.withdrawPrincipal(0))
    world.send("second_owner", adapter.exitInKind(1))
    world.send("outsider", position.sweep())
    sync(follower)
    assert_mirror_is_chain(world, engine)


@pytest.mark.parametrize("depth", [1, 2, 66])
def test_reorg__of_any_depth__every_derived_row_is_taken_back(
    world: World, engine: Engine, depth: int
) -> None:
    world.open_position()
    credit(world)
    follower = make_follower(world, engine)
    world.anvil.mine(70 - depth)
    sync(follower)
    hold(world)
    world.send("owner", world.contracts.position.functions.bumpKeyEpoch(0))
    world.anvil.mine(max(0, depth - 2))
    sync(follower)
    before = mirrored(engine)
    assert before is not None
    assert before.key_epoch == 1
    world.anvil.reorg(depth)
    assert Outcome.REWOUND in sync(follower)
    after = mirrored(engine)
    assert after is not None
    assert after.key_epoch == 0
    assert after.hold_usdc == (1 * USDC if depth == 1 else 0)
    assert_mirror_is_chain(world, engine)


def test_converge__gifts_of_others__mirror_is_chain_and_a_reorg_takes_them_back(
    world: World, engine: Engine
) -> None:
    position, adapter = world.contracts.position, world.contracts.adapter
    follower = make_follower(world, engine)
    giver, owner = (world.accounts[role].address for role in ("outsider", "owner"))
    world.open_position(daily_smoothing_bps=1_000)
    world.fund_usdc(giver, 100 * USDC)
    for spender in (position.address, adapter.address):
        world.send("outsider", world.contracts.usdc.functions.approve(spender, 100 * USDC))
    before = world.anvil.head().number
    world.send("outsider", position.functions.creditFor(0, 20 * USDC))
    world.send("outsider", adapter.functions.depositFor(0, 30 * USDC, 0))
    opening = (owner, 1, 10_000, world.vault.address, 30, 40 * USDC, 0)
    world.send("outsider", adapter.functions.openFor(*opening))
    hold(world, 2 * USDC)
    sync(follower)
    state, given = mirrored(engine), mirrored(engine, token_id=1)
    assert state is not None and given is not None
    assert (state.credited_usdc, state.hold_usdc) == (20 * USDC, 2 * USDC)
    assert state.principal_usdc == 1_030 * USDC
    assert (given.owner, given.principal_usdc) == (owner.lower(), 40 * USDC)
    assert_mirror_is_chain(world, engine)

    world.anvil.reorg(world.anvil.head().number - before)
    sync(follower)
    state = mirrored(engine)
    assert state is not None and mirrored(engine, token_id=1) is None
    assert (state.credited_usdc, state.principal_usdc) == (0, 1_000 * USDC)
    assert_mirror_is_chain(world, engine)


def test_reorg__of_the_mint_itself__position_is_gone(world: World, engine: Engine) -> None:
    follower = make_follower(world, engine)
    world.anvil.mine()
    sync(follower)
    height = world.anvil.head().number
    world.open_position()
    sync(follower)
    assert mirrored(engine) is not None
    world.anvil.reorg(world.anvil.head().number - height)
    sync(follower)
    assert mirrored(engine) is None
    assert_mirror_is_chain(world, engine)


def test_reorg__twice_before_the_next_look__right(world: World, engine: Engine) -> None:
    world.open_position()
    credit(world)
    follower = make_follower(world, engine)
    sync(follower)
    hold(world)
    world.anvil.mine(3)
    sync(follower)
    world.anvil.reorg(3)
    hold(world, 2 * USDC)
    world.anvil.reorg(2)
    hold(world, 3 * USDC)
    sync(follower)
    assert_mirror_is_chain(world, engine)


def test_reorg__while_stopped__next_process_recovers(world: World, engine: Engine) -> None:
    world.open_position()
    credit(world)
    hold(world)
    sync(make_follower(world, engine))
    world.anvil.reorg(1)
    world.anvil.mine(5)
    sync(make_follower(world, engine))
    state = mirrored(engine)
    assert state is not None
    assert state.hold_usdc == 0
    assert_mirror_is_chain(world, engine)


def test_rollback__to_a_shorter_chain__believed_after_patience(
    world: World, engine: Engine
) -> None:
    world.open_position()
    credit(world)
    hold(world)
    now = [1_000.0]
    reader = ChainReader(Web3Transport(world.anvil.web3))
    follower = Follower(engine, reader, world.deployment, RULES, clock=lambda: now[0])
    sync(follower)
    world.anvil.rollback(1)
    for _ in range(10):  # an older block of ours may be a backend that lags
        assert follower.converge() is Outcome.NOTHING_NEW
    now[0] += ROLLBACK_PATIENCE_S
    assert follower.converge() is Outcome.REWOUND
    assert_mirror_is_chain(world, engine)


def test_reorg__deeper_than_the_window__stops_and_rebuild_recovers(
    world: World, engine: Engine
) -> None:
    rules = SyncRules(confirmations=0, window_blocks=5, range_blocks_max=50, blocks_per_step_max=64)
    world.open_position()
    credit(world)
    world.anvil.mine(2)
    follower = make_follower(world, engine, rules)
    sync(follower)
    hold(world)
    world.anvil.mine(10)
    sync(follower)
    world.anvil.reorg(11)
    with pytest.raises(ReorgTooDeep, match="rebuild"):
        sync(follower)
    with write(engine) as connection:
        forget(connection)
    sync(make_follower(world, engine, rules))
    assert_mirror_is_chain(world, engine)


def test_backfill__long_history__same_rows_as_following(world: World, engine: Engine) -> None:
    world.open_position()
    credit(world)
    for _ in range(3):
        hold(world)
        world.anvil.mine(90)
    outcomes = sync(make_follower(world, engine))
    assert outcomes.count(Outcome.ADVANCED) < 20
    assert_mirror_is_chain(world, engine)


def test_confirmations__raised_hold__counts_later_and_a_bump_at_once(
    world: World, engine: Engine
) -> None:
    rules = SyncRules(
        confirmations=2, window_blocks=100, range_blocks_max=50, blocks_per_step_max=64
    )
    world.open_position()
    credit(world)
    follower = make_follower(world, engine, rules)
    sync(follower)
    hold(world, 5 * USDC)
    assert spendable_after(follower, engine) == (0, 0)
    world.anvil.mine()
    assert spendable_after(follower, engine) == (0, 0)
    world.anvil.mine()
    spendable_usdc, expires_at_s = spendable_after(follower, engine)
    assert spendable_usdc == 5 * USDC
    hold(world, 7 * USDC, lives_s=2 * HOUR_S)
    assert spendable_after(follower, engine) == (5 * USDC, expires_at_s)
    hold(world, 1 * USDC, lives_s=HOUR_S // 2)
    spendable_usdc, expires_at_s = spendable_after(follower, engine)
    assert spendable_usdc <= 1 * USDC
    world.send("owner", world.contracts.position.functions.bumpKeyEpoch(0))
    sync(follower)
    state = mirrored(engine)
    assert state is not None
    assert state.key_epoch == 1
    assert_mirror_is_chain(world, engine)


def spendable_after(follower: Follower, engine: Engine) -> tuple[int, int]:
    """Follow, then return what of the hold counts: (1e-6 USDC, until when in Unix seconds)."""
    sync(follower)
    with read(engine) as connection:
        row = connection.exec_driver_sql(
            "SELECT hold_usdc - hold_unconfirmed_usdc, hold_confirmed_expires_at_s FROM position"
        ).one()
    return row[0], row[1]


def test_bind_deployment__another_deployment__refused(engine: Engine) -> None:
    with write(engine) as connection, pytest.raises(WrongDeployment, match="position"):
        bind_deployment(connection, DEPLOYMENT)


def test_reorg__while_far_behind__next_process_recovers(world: World, engine: Engine) -> None:
    rules = SyncRules(confirmations=0, window_blocks=9, range_blocks_max=50, blocks_per_step_max=8)
    world.open_position()
    credit(world)
    world.anvil.mine(5)
    sync(make_follower(world, engine, rules))
    hold(world)
    world.anvil.mine(3)
    sync(make_follower(world, engine, rules))
    world.anvil.reorg(4)
    world.anvil.mine(40)
    sync(make_follower(world, engine, rules))
    assert_mirror_is_chain(world, engine)
