"""The indexer's composition root and its loop."""

import random
import signal
import threading
from typing import Final

import structlog
from sqlalchemy import Engine

from contracts.chain import ChainReader, check_chain, mask_url, open_web3
from contracts.deployment import load_deployment
from contracts.errors import Fatal, Retryable
from indexer.settings import IndexerSettings
from indexer.sync import Follower, Outcome, forget
from ledger.engine import open_engine, write
from ledger.logs import configure_logs
from ledger.schema import bind_deployment, migrate

log = structlog.get_logger("indexer")

BACKOFF_MAX_S: Final = 2.0


def build(settings: IndexerSettings) -> tuple[Engine, Follower]:
    """Open everything, check that it belongs together, and return the ledger and the follower.

    Raises ``Fatal`` where the node, the ledger and the deployment record disagree.
    """
    deployment = load_deployment(settings.deployment_file)
    rpc_url = settings.rpc_url.get_secret_value()
    reader = ChainReader(open_web3(rpc_url))
    addresses = {name: getattr(deployment, name) for name in ("position", "adapter", "payouts")}
    check_chain(reader, chain_id=deployment.chain_id, addresses=addresses)
    engine = open_engine(settings.ledger_url.get_secret_value())
    revision = migrate(engine)
    with write(engine) as connection:
        bind_deployment(connection, deployment)
    log.info(
        "started", chain_id=deployment.chain_id, rpc=mask_url(rpc_url), schema=revision, **addresses
    )
    return engine, Follower(engine, reader, deployment, settings.rules())


def run(settings: IndexerSettings, stop: threading.Event) -> None:
    """Mirror until ``stop`` is set. Raises ``Fatal`` where only a person can help."""
    follower: Follower | None = None
    failures = 0
    while not stop.is_set():
        try:
            if follower is None:
                _, follower = build(settings)
            outcome = follower.converge()
        except Retryable as error:
            failures += 1
            log.warning("step_failed", error=str(error), failures=failures)
            # Jitter, so that many followers of one node do not return together.
            stop.wait(min(BACKOFF_MAX_S, 0.1 * 2 ** min(failures, 8)) * random.uniform(0.5, 1))
            continue
        failures = 0
        if outcome is Outcome.NOTHING_NEW:
            stop.wait(settings.poll_interval_s)


def rebuild(settings: IndexerSettings) -> None:
    """Drop every chain-derived row; the next run mirrors again from the deployment block."""
    engine, _ = build(settings)
    with write(engine) as connection:
        forget(connection)
    log.warning("forgotten", reason="a rebuild was asked for")


def main(arguments: tuple[str, ...] = ()) -> int:
    """Run the indexer, or ``rebuild`` its rows. Return 0, or 2 where a person must act."""
    configure_logs()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = IndexerSettings.from_environment()
        if arguments == ("rebuild",):
            rebuild(settings)
        else:
            run(settings, stop)
    except Fatal as error:
        log.error("stopped", error=str(error), kind=type(error).__name__)
        return 2
    return 0
