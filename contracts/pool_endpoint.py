"""One endpoint of a pool: whether it rests, what it was asked, how often it was contradicted."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from contracts.node_errors import NodeFailure
from contracts.reader import ChainReader
from contracts.transport import Transport

T = TypeVar("T")
Listener = Callable[[str, NodeFailure, str], None]
"""Hears of every failure: the endpoint's name, which failure, and in its own words."""

WORKERS: Final = 4
"""Requests that one endpoint is asked at the same time."""
REST_S: Final = 0.1
REST_MAX_S: Final = 0.75
"""A failing endpoint is asked again within a second of being good, so that the mirror is, too."""
SET_ASIDE_S: Final = 30.0
SET_ASIDE_MAX_S: Final = 600.0
STRIKES_MAX: Final = 3
STRIKE_LIFE_S: Final = 600.0
STRAGGLER_WAIT_S: Final = 0.25
"""How long the other endpoints' heads are waited for once a quorum has shown one."""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What a pool knows of one endpoint at one moment."""

    name: str
    serves: bool
    """True of the endpoint that is asked first; with a quorum, of each that does not rest."""
    head_number: int | None
    """The newest block that it has shown; None before it has shown any, or when it failed to."""
    rests_for_s: float
    """For how many more seconds it is not asked; 0 when it may be asked."""


class NodeEndpoint:
    """The state of one endpoint. ``transport`` counts its connections."""

    def __init__(self, name: str, transport: Transport, listener: Listener) -> None:
        self.name = name
        self.reader = ChainReader(transport, note=lambda *said: listener(name, *said))
        self.rests_until_s = 0.0
        self.serves_another_chain = False
        self.failures = 0
        self.strikes = 0
        self.struck_at_s = 0.0
        self.times_set_aside = 0
        self.checked_connections = -1
        self.checked_at_s = 0.0
        self.head_seen: int | None = None
        self._transport = transport
        self._executor = ThreadPoolExecutor(WORKERS, thread_name_prefix="endpoint")
        self._asked: list[tuple[float, Future[Any]]] = []
        self._lock = threading.Lock()

    @property
    def connections_opened(self) -> int:
        return int(getattr(self._transport, "connections_opened", 0))

    def is_stuck(self, *, now_s: float) -> bool:
        """Tell whether something asked of it a while ago is not answered yet."""
        with self._lock:
            self._asked = [(at_s, future) for at_s, future in self._asked if not future.done()]
            return any(now_s - at_s > STRAGGLER_WAIT_S for at_s, _ in self._asked)

    def submit(self, ask: Callable[[], T], *, now_s: float) -> "Future[T]":
        """Ask in the endpoint's own threads: a slow endpoint delays no other."""
        future = self._executor.submit(ask)
        with self._lock:
            self._asked.append((now_s, future))
        return future

    def close(self) -> None:
        """Let the thread end; what it is doing is not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def rest(self, *, now_s: float) -> None:
        """Let it rest after a failure: longer each time in a row, with jitter."""
        self.failures += 1
        rest_s = min(REST_MAX_S, REST_S * 2.0 ** min(self.failures - 1, 8))
        self.rests_until_s = now_s + rest_s * random.uniform(0.5, 1)

    def strike(self, *, now_s: float) -> float | None:
        """Count a contradiction; return for how many seconds it is set aside, None: not yet."""
        with self._lock:
            if now_s - self.struck_at_s > STRIKE_LIFE_S:
                self.strikes = 0  # honest nodes are on the losing side of a fork now and then
            self.struck_at_s = now_s
            self.strikes += 1
            if self.strikes < STRIKES_MAX:
                return None
            self.strikes = STRIKES_MAX - 1  # on trial: the next one sets it aside again
            rest_s = min(SET_ASIDE_MAX_S, SET_ASIDE_S * 2.0 ** min(self.times_set_aside, 8))
            self.times_set_aside += 1
            self.rests_until_s = now_s + rest_s
        return rest_s
