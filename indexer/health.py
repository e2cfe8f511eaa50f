"""What the mirror did and what its nodes did to it, counted; for logs, metrics and tests."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from contracts.node_errors import NodeFailure
from contracts.pool_endpoint import EndpointState

log = structlog.get_logger("indexer")


@dataclass(frozen=True, slots=True)
class HealthReport:
    """One moment of the counters. All counts are since the process began."""

    events_mirrored: int
    blocks_mirrored: int
    reorgs: Mapping[int, int]
    """How many rewinds, by their depth in blocks."""
    repairs: int
    """How many blocks were mirrored again because a second look showed other events."""
    failures: Mapping[tuple[str, NodeFailure], int]
    """Failures, by endpoint and name."""
    head_number: int
    mirrored_number: int
    observed_at_s: int
    """Wall clock when the mirror last was at the agreed head; 0 before that."""
    is_leader: bool
    """False on standby: another process mirrors into this ledger."""
    takeovers: int
    """How often this process began to lead."""
    endpoints: Sequence[EndpointState] = ()
    """What the pool knows of each endpoint; empty before it is opened."""

    @property
    def endpoint_lags(self) -> Mapping[str, int | None]:
        """How many blocks each endpoint is behind the highest head shown; None where unknown."""
        heads = [one.head_number for one in self.endpoints if one.head_number is not None]
        return {
            one.name: None if one.head_number is None else max(heads) - one.head_number
            for one in self.endpoints
        }

    @property
    def lag_blocks(self) -> int:
        return max(0, self.head_number - self.mirrored_number)

    def age_s(self, *, now_s: float) -> float:
        """Return how long ago the mirror was last known to be at the head."""
        return max(0.0, now_s - self.observed_at_s)


@dataclass
class Health:
    """The counters. Several threads may write; ``report`` is a consistent copy."""

    now: Callable[[], float] = time.time
    """The clock that stamps the mirror, in Unix seconds."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _failures: Counter[tuple[str, NodeFailure]] = field(default_factory=Counter)
    _reorgs: Counter[int] = field(default_factory=Counter)
    _events_mirrored: int = 0
    _blocks_mirrored: int = 0
    _repairs: int = 0
    _head_number: int = 0
    _mirrored_number: int = 0
    _observed_at_s: int = 0
    _is_leader: bool = False
    _takeovers: int = 0
    _list_endpoints: Callable[[], Sequence[EndpointState]] = tuple

    def watch_endpoints(self, list_endpoints: Callable[[], Sequence[EndpointState]]) -> None:
        """Ask ``list_endpoints`` for the endpoints' state in every report from now on."""
        self._list_endpoints = list_endpoints

    def report(self) -> HealthReport:
        """Return the counters as they are now."""
        with self._lock:
            return HealthReport(
                events_mirrored=self._events_mirrored,
                blocks_mirrored=self._blocks_mirrored,
                reorgs=dict(self._reorgs),
                repairs=self._repairs,
                failures=dict(self._failures),
                head_number=self._head_number,
                mirrored_number=self._mirrored_number,
                observed_at_s=self._observed_at_s,
                is_leader=self._is_leader,
                takeovers=self._takeovers,
                endpoints=self._list_endpoints(),
            )

    def note_failure(self, endpoint: str, failure: NodeFailure, detail: str) -> None:
        """Count a failure of a node and write the line that names it."""
        with self._lock:
            self._failures[endpoint, failure] += 1
        log.warning("node_failed", failure=failure.value, endpoint=endpoint, detail=detail[:200])

    def note_mirrored(self, *, blocks: int, events: int) -> None:
        """Count what was added to the mirror."""
        with self._lock:
            self._blocks_mirrored += blocks
            self._events_mirrored += events

    def note_rewind(self, *, depth: int) -> None:
        """Count a reorg that was taken back, ``depth`` blocks deep."""
        with self._lock:
            self._reorgs[depth] += 1

    def note_repair(self) -> None:
        """Count a block whose mirrored events turned out wrong."""
        with self._lock:
            self._repairs += 1

    def note_position(self, *, head_number: int, mirrored_number: int, observed_at_s: int) -> None:
        """Note where the mirror and the head are. ``observed_at_s`` of 0 changes nothing."""
        with self._lock:
            self._head_number = head_number
            self._mirrored_number = mirrored_number
            self._observed_at_s = max(self._observed_at_s, observed_at_s)

    def note_leadership(self, leads: bool) -> None:
        """Note whether this process mirrors or stands by; a change is logged."""
        with self._lock:
            changed = leads != self._is_leader
            self._is_leader = leads
            self._takeovers += changed and leads
        if changed:
            log.info("leading" if leads else "standing_by")
