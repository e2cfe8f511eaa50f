"""Real ledgers for tests: SQLite files and PostgreSQL databases, filled through the ledger."""

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

import pytest
from sqlalchemy import Connection, Engine

from contracts.blocks import BlockRef
from contracts.deployment import Deployment
from contracts.units import utc_day
from ledger.chain.holds import confirm_holds
from ledger.chain.mirror import load_mirror, save_cursor
from ledger.chain.position_rows import save_states
from ledger.chain.positions import PositionState
from ledger.database.engine import PostgresLimits, open_engine, write
from ledger.database.schema import bind_deployment, migrate
from tests.support.folders import temporary_folder
from tests.support.postgres import needs_postgres, shared_server

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


SQLITE: Final = "sqlite"
POSTGRES: Final = "postgresql"
BOTH: Final = (SQLITE, pytest.param(POSTGRES, marks=needs_postgres))
"""The parameters of a fixture whose tests run on both."""

PATIENT: Final = PostgresLimits(
    connect_timeout_s=60,
    checkout_timeout_s=60.0,
    lock_timeout_ms=60_000,
    statement_timeout_ms=120_000,
    idle_in_transaction_timeout_ms=300_000,
)
"""What a busy machine may take. Whoever tests a limit gives limits of his own."""
PATIENT_MS: Final = 60_000
"""The same for SQLite: how long a writer waits for another one."""


class Databases:
    """Databases of one kind for one test, SQLite's in ``folder``. A context manager."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self._folder = folder
        self._numbers = itertools.count()
        self._engines: list[Engine] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for engine in self._engines:
            engine.dispose()

    def create(self) -> str:
        """Return the URL of an empty database."""
        if self.kind == POSTGRES:
            return shared_server().create_database()
        return f"sqlite:///{self._next_path()}"

    def _next_path(self) -> Path:
        return self._folder / f"ledger-{next(self._numbers)}.sqlite3"

    def open(self, url: str, *, limits: PostgresLimits | None = None, **changes: Any) -> Engine:
        """Open a database until the end of the test."""
        limits = PATIENT if limits is None else limits
        engine = open_engine(
            url, limits=limits, **{"sqlite_busy_timeout_ms": PATIENT_MS, **changes}
        )
        self._engines.append(engine)
        return engine

    def open_ledger(self, *, limits: PostgresLimits | None = None, **changes: Any) -> Engine:
        """Open a migrated ledger of its own, bound to ``DEPLOYMENT``."""
        if self.kind == POSTGRES:
            return self.open(shared_server().create_copy(prepare_ledger), limits=limits, **changes)
        return self.open(make_url(self._next_path()), limits=limits, **changes)

    def open_unbound(self) -> Engine:
        """Open a migrated database of its own that no deployment has claimed."""
        if self.kind == POSTGRES:
            return self.open(shared_server().create_copy(prepare_unbound))
        return self.open(make_url(self._next_path(), _migrated))


@functools.cache
def _bound() -> bytes:
    return _record(prepare_ledger)


@functools.cache
def _migrated() -> bytes:
    return _record(prepare_unbound)


def record_ledgers() -> None:
    """Make both files now: what is forked from this process need not."""
    _bound()
    _migrated()


def _record(prepare: Callable[[str], None]) -> bytes:
    """Return the file that ``prepare`` makes: to copy it costs a hundredth of the migrations."""
    with temporary_folder() as folder:
        path = Path(folder) / "ledger.sqlite3"
        prepare(f"sqlite:///{path}")
        return path.read_bytes()


def prepare_ledger(url: str) -> None:
    """Give an empty database the schema, bound to ``DEPLOYMENT``."""
    engine = open_engine(url)
    migrate(engine)
    with write(engine) as connection:
        bind_deployment(connection, DEPLOYMENT)
    engine.dispose()


def prepare_unbound(url: str) -> None:
    """Give an empty database the schema, without a deployment."""
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()


def make_url(path: Path, content: Callable[[], bytes] = _bound) -> str:
    """Return the URL of a fresh file with a migrated ledger, bound to ``DEPLOYMENT``."""
    path.write_bytes(content())
    return f"sqlite:///{path}"


def make_ledger(path: Path) -> Engine:
    """Return a migrated ledger in a fresh file, bound to ``DEPLOYMENT``."""
    return open_engine(make_url(path), sqlite_busy_timeout_ms=PATIENT_MS)


def make_unbound_ledger(path: Path) -> Engine:
    """Return a migrated ledger in a fresh file, which no deployment has claimed."""
    return open_engine(make_url(path, _migrated), sqlite_busy_timeout_ms=PATIENT_MS)


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
