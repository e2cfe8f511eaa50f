"""Backfills under measurement, each in a process of its own: raw, ours and a first script.

``python -m bench.indexer.backfill JOB`` does one and prints it; ``JOB`` is JSON.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from eth_utils.crypto import keccak
from web3 import HTTPProvider, Web3

from bench.indexer.chains import WINDOW_BLOCKS, Generated
from bench.report import BenchError
from contracts.bindings import load_abi
from contracts.deployment import load_deployment
from contracts.transport import HttpTransport
from indexer.health import Health
from indexer.main import build
from indexer.settings import IndexerSettings
from ledger.chain.mirror import load_mirror
from ledger.database.engine import read
from scripts.stack.anvil_path import ROOT

RAW_BLOCKS: Final = 10
SCRIPT_BLOCKS: Final = 200


@dataclass(frozen=True, slots=True)
class Measured:
    """How many events were indexed in how long, and the most memory that it took."""

    events: int
    elapsed_s: float
    peak_mb: float

    @property
    def events_per_s(self) -> float:
        return self.events / self.elapsed_s


def measure_raw(url: str, record: Path, last_block: int) -> tuple[int, float]:
    """Ask for all logs, ten blocks a call, and parse the answers: what no indexer can beat."""
    deployment = load_deployment(record)
    transport = HttpTransport(url, timeout_s=30)
    addresses = [deployment.position, deployment.adapter, deployment.payouts]
    started_s, events = time.monotonic(), 0
    for first in range(deployment.block_number, last_block + 1, RAW_BLOCKS):
        last = min(last_block, first + RAW_BLOCKS - 1)
        query = {"fromBlock": hex(first), "toBlock": hex(last), "address": addresses}
        events += len(transport.request("eth_getLogs", [query]))
    return events, time.monotonic() - started_s


def measure_ours(url: str, record: Path, last_block: int, ledger_url: str) -> tuple[int, float]:
    """Run the indexer's own steps until the ledger holds ``last_block``."""
    settings = IndexerSettings.from_environment(build_environment(url, record, ledger_url))
    parts = build(settings, Health())
    started_s = time.monotonic()
    try:
        reached = -1
        while reached < last_block:
            parts.follower.converge()
            with read(parts.engine) as connection:
                cursor = load_mirror(connection)
                reached = -1 if cursor is None else cursor.block_number
        elapsed_s = time.monotonic() - started_s
        with read(parts.engine) as connection:
            events = connection.exec_driver_sql("SELECT count(*) FROM event").scalar_one()
    finally:
        parts.close()
    return int(events), elapsed_s


def measure_script(url: str, record: Path, last_block: int, ledger_url: str) -> tuple[int, float]:
    """Index as one writes it first: web3.py decodes, SQLAlchemy inserts, ten blocks a call."""
    deployment = load_deployment(record)
    web3 = Web3(HTTPProvider(url))
    contract = web3.eth.contract(
        address=Web3.to_checksum_address(deployment.position), abi=load_abi("YieldFundedPosition")
    )
    names = {entry["name"] for entry in contract.abi if entry["type"] == "event"}
    processors = {
        bytes(keccak(text=event.signature)): event
        for event in (contract.events[name]() for name in names)
    }
    table = sa.Table(
        "event",
        sa.MetaData(),
        sa.Column("block_number", sa.Integer, primary_key=True),
        sa.Column("log_index", sa.Integer, primary_key=True),
        sa.Column("tx_hash", sa.String),
        sa.Column("name", sa.String),
        sa.Column("token_id", sa.Integer),
        sa.Column("args", sa.JSON),
    )
    engine = sa.create_engine(ledger_url)
    table.metadata.create_all(engine)
    started_s, events = time.monotonic(), 0
    first_block = last_block - SCRIPT_BLOCKS + 1
    for first in range(first_block, last_block + 1, RAW_BLOCKS):
        last = min(last_block, first + RAW_BLOCKS - 1)
        query: Any = {"fromBlock": first, "toBlock": last, "address": contract.address}
        rows = []
        for entry in web3.eth.get_logs(query):
            event = processors[bytes(entry["topics"][0])].process_log(entry)
            args = {
                name: value.hex() if isinstance(value, bytes) else value
                for name, value in event["args"].items()
            }
            rows.append(
                {
                    "block_number": event["blockNumber"],
                    "log_index": event["logIndex"],
                    "tx_hash": event["transactionHash"].hex(),
                    "name": event["event"],
                    "token_id": args.get("tokenId"),
                    "args": args,
                }
            )
        with engine.begin() as connection:
            connection.execute(table.insert(), rows)
        events += len(rows)
    return events, time.monotonic() - started_s


def build_environment(url: str, record: Path, ledger_url: str) -> dict[str, str]:
    """Return the settings of an indexer of a generated chain."""
    return {
        "INDEXER_RPC_URL": url,
        "INDEXER_LEDGER_URL": ledger_url,
        "INDEXER_DEPLOYMENT_FILE": str(record),
        "INDEXER_WINDOW_BLOCKS": str(WINDOW_BLOCKS),
    }


def _measure_here(job: dict[str, Any]) -> None:
    """Do one measurement in this process and print it."""
    url, record, last_block = job["url"], Path(job["record"]), job["last_block"]
    if job["what"] == "raw":
        events, elapsed_s = measure_raw(url, record, last_block)
    elif job["what"] == "script":
        events, elapsed_s = measure_script(url, record, last_block, job["ledger_url"])
    else:
        events, elapsed_s = measure_ours(url, record, last_block, job["ledger_url"])
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(asdict(Measured(events, elapsed_s, peak_mb))))


def measure(what: str, chain: Generated, ledger_url: str = "") -> Measured:
    """Do one measurement in a process of its own."""
    job = {
        "what": what,
        "url": chain.url,
        "record": str(chain.record),
        "last_block": chain.last_block,
        "ledger_url": ledger_url,
    }
    command = [sys.executable, "-m", "bench.indexer.backfill", json.dumps(job)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"{what}: {done.stderr.strip().splitlines()[-1:]}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    _measure_here(json.loads(sys.argv[1]))
