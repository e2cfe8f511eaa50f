"""The indexer's composition root and its loop."""

import random
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

import structlog
from sqlalchemy import Engine

from contracts.deployment import Deployment, load_deployment
from contracts.errors import Fatal, Retryable
from contracts.node_errors import NodeFailure, NodeRefused, NodeUnavailable, NotYet
from contracts.pool import ChainPool
from contracts.reader import ChainReader, check_chain, mask_url
from contracts.transport import HttpTransport
from indexer.fold import forget
from indexer.heads import HeadsListener
from indexer.health import Health
from indexer.metrics import serve_metrics
from indexer.settings import IndexerSettings
from indexer.sync import Follower, Outcome
from indexer.verify import Compared, Difference, compare_all
from ledger.chain.event_rows import load_oldest_event
from ledger.database.engine import open_engine, read, write
from ledger.database.leadership import Leadership
from ledger.database.schema import bind_deployment, migrate

log = structlog.get_logger("indexer")

BACKOFF_MAX_S: Final = 0.75
"""Below a second with what a look takes: the mirror is right again within one of a good answer."""
NOT_YET_MAX_S: Final = 0.4
UNEASY_S: Final = 0.3
"""How soon an answer that contradicts the mirror is asked for again."""
STANDBY_S: Final = 1.0


class HistoryPruned(Fatal):
    """The node does not have what a rebuild would read again; nothing is deleted."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The ledger, node and deployment that mirroring needs, opened and checked."""

    engine: Engine
    pool: ChainPool
    follower: Follower
    closing: ExitStack

    def close(self) -> None:
        """End what runs in the background and close every connection."""
        self.closing.close()


def build(settings: IndexerSettings, health: Health) -> Parts:
    """Open everything, check that it belongs together, and return the parts.

    Raises ``Fatal`` where the nodes, the ledger and the deployment record disagree.
    """
    with ExitStack() as closing:
        parts = _build(settings, health, closing)
        return replace(parts, closing=closing.pop_all())


def _build(settings: IndexerSettings, health: Health, closing: ExitStack) -> Parts:
    deployment = load_deployment(settings.deployment_file)
    names = name_endpoints(settings.rpc_urls())
    transports = {name: HttpTransport(url) for name, url in names.items()}
    for transport in transports.values():
        closing.callback(transport.close)
    pool = ChainPool(
        transports,
        chain_id=deployment.chain_id,
        quorum=settings.rpc_quorum,
        listener=health.note_failure,
    )
    closing.callback(pool.close)
    health.watch_endpoints(pool.list_states)
    addresses = {name: getattr(deployment, name) for name in ("position", "adapter", "payouts")}
    check_chain(pool, chain_id=deployment.chain_id, addresses=addresses)
    engine = open_engine(settings.ledger_url.get_secret_value())
    closing.callback(engine.dispose)
    revision = migrate(engine)
    with write(engine) as connection:
        bind_deployment(connection, deployment)
    log.info(
        "started",
        chain_id=deployment.chain_id,
        rpc=list(names),
        quorum=settings.rpc_quorum,
        schema=revision,
        **addresses,
    )
    follower = Follower(engine, pool, deployment, settings.rules(), health=health)
    closing.callback(follower.close)
    return Parts(engine, pool, follower, closing)


def name_endpoints(urls: list[str]) -> dict[str, str]:
    """Return the URLs by names that may be logged, in their order."""
    names: dict[str, str] = {}
    for url in urls:
        masked = name = mask_url(url)
        while name in names:
            name = f"{masked} ({len(names) + 1})"
        names[name] = url
    return names


def run(settings: IndexerSettings, stop: threading.Event, *, health: Health | None = None) -> None:
    """Mirror until ``stop`` is set. Raises ``Fatal`` where only a person can help."""
    health = Health() if health is None else health
    wake = threading.Event()
    # A wait for the next block must also end when the process is to stop.
    threading.Thread(target=_pass_on, args=(stop, wake), name="stop", daemon=True).start()
    heads: HeadsListener | None = None
    if settings.heads_url is not None:
        url = settings.heads_url.get_secret_value()
        heads = HeadsListener(url, name=mask_url(url), wake=wake, health=health)
        heads.start()
    close_metrics: Callable[[], None] | None = None
    try:
        if settings.metrics_port:
            close_metrics = serve_metrics(
                health, host=settings.metrics_host, port=settings.metrics_port
            )
        _loop(settings, stop, wake, heads, health)
    finally:
        if heads is not None:
            heads.close()
        if close_metrics is not None:
            close_metrics()


def _pass_on(stop: threading.Event, wake: threading.Event) -> None:
    stop.wait()
    wake.set()


def _loop(
    settings: IndexerSettings,
    stop: threading.Event,
    wake: threading.Event,
    heads: HeadsListener | None,
    health: Health,
) -> None:
    parts: Parts | None = None
    leadership: Leadership | None = None
    failures = 0
    try:
        while not stop.is_set():
            wake.clear()
            try:
                if parts is None or leadership is None:
                    parts = build(settings, health)
                    leadership = Leadership(parts.engine, "indexer")
                was_leading = health.report().is_leader
                leads = leadership.acquire()
                health.note_leadership(leads)
                if not leads:
                    if was_leading:
                        # Another process has led meanwhile: what this one remembers is out of date.
                        parts.close()
                        parts = leadership = None
                    stop.wait(STANDBY_S)
                    continue
                outcome = parts.follower.converge(None if heads is None else heads.take_hint())
            except Retryable as error:
                failures += 1
                log.warning("step_failed", error=str(error), failures=failures)
                stop.wait(_get_pause_s(error, failures))
                continue
            failures = 0
            if heads is not None:
                heads.note_polled(health.report().head_number)
            if outcome is Outcome.NOTHING_NEW and not stop.is_set():
                pause_s = settings.poll_interval_s
                wake.wait(min(pause_s, UNEASY_S) if parts.follower.is_uneasy else pause_s)
    finally:
        if leadership is not None:
            leadership.release()
        if parts is not None:
            parts.close()


def _get_pause_s(error: Retryable, failures: int) -> float:
    """Return how long to wait after so many failures in a row, with jitter."""
    longest_s = NOT_YET_MAX_S if isinstance(error, NotYet) else BACKOFF_MAX_S
    # Jitter, so that many followers of one node do not return together.
    return min(longest_s, 0.05 * 2.0 ** min(failures - 1, 8)) * random.uniform(0.5, 1)


def rebuild(settings: IndexerSettings) -> None:
    """Drop every chain-derived row; the next run mirrors again from the deployment block.

    Raises ``HistoryPruned`` where the node would not show again what is dropped.
    """
    parts = build(settings, Health())
    try:
        check_history(parts.engine, parts.pool, load_deployment(settings.deployment_file))
        with write(parts.engine) as connection:
            forget(connection)
        log.warning("forgotten", reason="a rebuild was asked for")
    finally:
        parts.close()


def verify(settings: IndexerSettings, tell: Callable[[Difference], None]) -> Compared:
    """Compare every mirrored value with what the contracts say at the mirrored block.

    ``tell`` is called with each difference as it is found.
    """
    parts = build(settings, Health())
    try:
        deployment = load_deployment(settings.deployment_file)
        return compare_all(parts.engine, parts.pool, deployment, tell=tell)
    finally:
        parts.close()


def check_history(engine: Engine, reader: ChainReader, deployment: Deployment) -> None:
    """Check that the node still shows the oldest block of which events are mirrored.

    Nodes prune from the beginning, and answer then with no logs instead of an error. Raises
    ``HistoryPruned``.
    """
    with read(engine) as connection:
        oldest = load_oldest_event(connection)
    if oldest is None:
        return
    number = oldest.block_number
    header = reader.fetch_header(number)
    if header is not None and header.block_hash != oldest.block_hash:
        return  # another chain than the one mirrored: that is what a rebuild is for
    try:
        address = getattr(deployment, oldest.contract)
        shown = [] if header is None else reader.fetch_block_logs(oldest.block_hash, [address])
    except (NodeUnavailable, NodeRefused) as error:
        raise HistoryPruned(f"the node shows no logs of block {number}: {error}") from error
    if not shown:
        raise HistoryPruned(
            f"the node shows no logs of block {number}, where the first event is"
            f" ({NodeFailure.HISTORY_PRUNED}); use a node with the whole history"
        )
