"""Real ledgers for tests: a migrated SQLite file, filled through the ledger's functions."""

from pathlib import Path

from sqlalchemy import Connection, Engine

from contracts.blocks import BlockRef
from contracts.deployment import Deployment
from contracts.units import utc_day
from ledger.engine import open_engine, write
from ledger.mirror import confirm_holds, load_mirror, save_cursor, save_states
from ledger.positions import PositionState
from ledger.schema import bind_deployment, migrate

NOW_S = 1_800_000_000
"""A fixed wall clock, some hours before a UTC midnight."""

OWNER = "0x" + "11" * 20

DEPLOYMENT = Deployment(
    chain_id=31337,
    block_number=1,
    block_hash="0x" + "01" * 32,
    position="0x" + "a1" * 20,
    adapter="0x" + "a2" * 20,
    payouts="0x" + "a3" * 20,
    usdc="0x" + "a4" * 20,
    multicall3="0x" + "a5" * 20,
    vault="0x" + "a6" * 20,
)


def make_ledger(path: Path) -> Engine:
    """Return a migrated ledger in a fresh file, bound to ``DEPLOYMENT``."""
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    with write(engine) as connection:
        bind_deployment(connection, DEPLOYMENT)
    return engine


def make_state(
    token_id: int = 0,
    *,
    now_s: int = NOW_S,
    credited_usdc: int = 1_000_000,
    hold_usdc: int = 500_000,
    hold_lives_s: int = 7_200,
    daily_smoothing_bps: int = 10_000,
    key_epoch: int = 0,
) -> PositionState:
    """Return a position with credit and a live hold, nothing spent."""
    return PositionState(
        token_id=token_id,
        owner=OWNER,
        model_tier=0,
        daily_smoothing_bps=daily_smoothing_bps,
        vault=DEPLOYMENT.vault,
        principal_usdc=1_000_000_000,
        shares=10**21,
        harvest_interval_s=1_800,
        last_harvest_at_s=now_s,
        key_epoch=key_epoch,
        credited_usdc=credited_usdc,
        hold_usdc=hold_usdc,
        hold_expires_at_s=now_s + hold_lives_s if hold_usdc > 0 else 0,
        day=utc_day(now_s),
        day_base_usdc=credited_usdc,
    )


def put_positions(connection: Connection, *states: PositionState) -> None:
    """Mirror positions as of the newest block, their holds confirmed."""
    save_states(connection, states)
    confirm_holds(
        connection, confirmed_block=0, changed_tokens=[state.token_id for state in states]
    )


def put_cursor(connection: Connection, *, number: int = 10, now_s: int = NOW_S) -> None:
    """Say that the mirror is at block ``number`` and was at the head at ``now_s``."""
    cursor = load_mirror(connection)
    save_cursor(
        connection,
        chain_id=DEPLOYMENT.chain_id,
        expected_hash=None if cursor is None else cursor.block_hash,
        block=BlockRef(number, f"0x{number:064x}", f"0x{number - 1:064x}", now_s),
        head_number=number,
        observed_at_s=now_s,
    )
