"""Ours under measurement: the proxy as in production, and its server and client alone.

The proxy has its default settings, its log on, SQLite with ``synchronous=FULL``, PostgreSQL with
``fsync``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from bench.proxy.servers import Server, serve
from contracts.blocks import BlockRef
from ledger.chain.holds import confirm_holds
from ledger.chain.mirror import save_cursor
from ledger.chain.position_rows import save_states
from ledger.chain.positions import PositionState
from ledger.database.engine import is_postgres, open_engine, write
from ledger.database.schema import bind_deployment, migrate
from ledger.spending.books import POSITION_COLUMNS
from proxy.keys.tokens import KeyClaims, KeyRing
from scripts.stack.ports import free_port
from tests.support.ledgers import DEPLOYMENT

SECRET: Final = "7f3a9c1e5b8d2046f7a1c3e5097b6d8e"
BARE: Final = Path(__file__).with_name("bare.py")


@contextmanager
def serve_bare(upstream: Server, folder: Path) -> Iterator[Server]:
    """Run the proxy's server and client with nothing between them."""
    port = free_port()
    command = [sys.executable, str(BARE), str(port), upstream.url]
    with serve("bare", command, port=port, ready="/v1/models", folder=folder) as server:
        yield server


def prepare_ledger(url: str, *, positions: int, hold_usdc: int = 10**15) -> None:
    """Make a ledger of so many positions, each with the same hold, 1e-6 USDC: by default one that
    no bench can use up."""
    engine = open_engine(url)
    try:
        migrate(engine)
        _fill(engine, positions, hold_usdc)
    finally:
        engine.dispose()


def _fill(engine: Engine, positions: int, hold_usdc: int) -> None:
    now_s = int(time.time())
    with write(engine) as connection:
        bind_deployment(connection, DEPLOYMENT)
        save_states(connection, [_make_state(now_s, hold_usdc)])
        confirm_holds(connection, confirmed_block=0, changed_tokens=[0])
        block = BlockRef(10, f"0x{10:064x}", f"0x{9:064x}", now_s)
        save_cursor(
            connection,
            chain_id=DEPLOYMENT.chain_id,
            expected_hash=None,
            block=block,
            head_number=10,
            observed_at_s=now_s,
        )
        # All others are copies of the first.
        columns = ", ".join(POSITION_COLUMNS)
        copied = ", ".join("n" if name == "token_id" else name for name in POSITION_COLUMNS)
        numbers = (
            f"generate_series(1, {positions - 1}) AS numbers (n)"
            if is_postgres(engine)
            else "(WITH RECURSIVE numbers (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM numbers"
            f" WHERE n < {positions - 1}) SELECT n FROM numbers)"
        )
        if positions > 1:
            connection.exec_driver_sql(
                f"INSERT INTO position ({columns}) SELECT {copied} FROM position, {numbers}"
                " WHERE token_id = 0"
            )
    if is_postgres(engine):
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE position")


def _make_state(now_s: int, hold_usdc: int) -> PositionState:
    return PositionState(
        token_id=0,
        owner="0x" + "11" * 20,
        model_tier=0,
        daily_smoothing_bps=10_000,
        vault=DEPLOYMENT.vault,
        principal_usdc=10**15,
        shares=10**21,
        harvest_interval_s=1_800,
        last_harvest_at_s=now_s,
        key_epoch=0,
        credited_usdc=hold_usdc,
        hold_usdc=hold_usdc,
        hold_expires_at_s=now_s + 86_400,
        day=now_s // 86_400,
        day_base_usdc=hold_usdc,
    )


@contextmanager
def serve_ours(name: str, ledger_url: str, upstream: Server, folder: Path) -> Iterator[Server]:
    """Run ``python -m proxy``. No node and no indexer: the mirror may be old here."""
    port = free_port()
    environment = {
        "PROXY_RPC_URL": "http://127.0.0.1:9",
        "PROXY_LEDGER_URL": ledger_url,
        "PROXY_DEPLOYMENT_FILE": str(write_record(folder)),
        "PROXY_KEY_SECRET": SECRET,
        "PROXY_UPSTREAM_URL": f"{upstream.url}/v1",
        "PROXY_PORT": str(port),
        "PROXY_MAX_STALENESS_S": "86400",
    }
    command = [sys.executable, "-m", "proxy"]
    with serve(
        name,
        command,
        port=port,
        ready="/api/current/healthz",
        folder=folder,
        environment=environment,
    ) as server:
        yield server


def write_record(folder: Path) -> Path:
    """Write the record of the deployment that a bench's ledgers are bound to."""
    record = folder / "deployment.json"
    facts: dict[str, Any] = asdict(DEPLOYMENT)
    ahead = {key: facts.pop(key) for key in ("chain_id", "block_number", "block_hash")}
    record.write_text(json.dumps({**ahead, "contracts": facts}))
    return record


def build_keys(count: int, *, step: int) -> list[str]:
    """Return the keys of ``count`` positions, each ``step`` after the one before."""
    ring = KeyRing([SECRET.encode()], DEPLOYMENT.chain_id, DEPLOYMENT.position)
    return [ring.build_key(KeyClaims(n * step, 0, f"{n:016x}")) for n in range(count)]
