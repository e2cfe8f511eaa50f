"""Hearing of new blocks by WebSocket. A hint only: what is mirrored is read, and read anyway.

The listener has a thread of its own and does two things: it keeps the newest header it heard of,
and it wakes the follower. Whatever it misses, while it reconnects or because the node says nothing
on an open connection, the follower finds by polling and by number.
"""

import random
import threading
import time
from typing import Any, Final

import orjson
from websockets.exceptions import InvalidURI, WebSocketException
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from contracts.blocks import Header
from contracts.node_errors import NodeFailure, NodeUnavailable
from contracts.reader import parse_header
from indexer.health import Health

RECONNECT_MAX_S: Final = 2.0
OPEN_TIMEOUT_S: Final = 5.0
LOOK_S: Final = 0.25
"""How often the listener looks up from the connection: to stop, or to see that it is silent."""
SILENCE_S: Final = 3.0
"""How long the chain may go on without a message before the connection is opened again."""
MESSAGE_BYTES_MAX: Final = 1024 * 1024


class HeadsListener:
    """Listens to ``newHeads`` of one endpoint until it is closed. ``name`` is for logs."""

    def __init__(self, url: str, *, name: str, wake: threading.Event, health: Health) -> None:
        self._url = url
        self._name = name
        self._wake = wake
        self._health = health
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._hint: Header | None = None
        self._heard_number = -1
        self._missed_since_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="heads", daemon=True)

    def start(self) -> None:
        """Connect and listen, in the background."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening and wait for the thread."""
        self._closing.set()
        self._thread.join(timeout=OPEN_TIMEOUT_S)

    def take_hint(self) -> Header | None:
        """Return the newest header heard of since the last call, or None."""
        with self._lock:
            hint, self._hint = self._hint, None
            return hint

    def note_polled(self, number: int) -> None:
        """Say which block polling has found, so that silence can be told from a quiet chain."""
        with self._lock:
            if number <= self._heard_number:
                self._missed_since_s = None
            elif self._missed_since_s is None:
                self._missed_since_s = time.monotonic()

    def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            try:
                with self._connect() as socket:
                    failures = 0
                    self._listen(socket)
            except (OSError, WebSocketException, InvalidURI, NodeUnavailable, ValueError) as error:
                failures += 1
                lost = error if isinstance(error, NodeUnavailable) else None
                self._health.note_failure(
                    self._name,
                    NodeFailure.HEADS_LOST if lost is None else lost.failure,
                    type(error).__name__ if lost is None else str(lost),
                )
                rest_s = min(RECONNECT_MAX_S, 0.1 * 2.0 ** min(failures, 8))
                self._closing.wait(rest_s * random.uniform(0.5, 1))

    def _connect(self) -> Connection:
        return connect(
            self._url,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=0.5,
            max_size=MESSAGE_BYTES_MAX,
            compression=None,
            proxy=None,
        )

    def _listen(self, socket: Connection) -> None:
        socket.send(
            orjson.dumps(
                {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
            ).decode()
        )
        with self._lock:
            self._missed_since_s = None
        # Blocks may have come while the connection was down.
        self._wake.set()
        while not self._closing.is_set():
            try:
                message = socket.recv(timeout=LOOK_S)
            except TimeoutError:
                self._check_silence()
                continue
            self._hear(orjson.loads(message))

    def _hear(self, message: Any) -> None:
        if not isinstance(message, dict):
            raise NodeUnavailable("no JSON-RPC message", failure=NodeFailure.HEADS_LOST)
        if "error" in message:
            raise NodeUnavailable("the subscription was refused", failure=NodeFailure.HEADS_LOST)
        params = message.get("params")
        if not isinstance(params, dict):
            return  # the subscription's id
        header = parse_header(params.get("result"))
        with self._lock:
            self._hint = header
            self._heard_number = header.number
            self._missed_since_s = None
        self._wake.set()

    def _check_silence(self) -> None:
        with self._lock:
            missed_since_s = self._missed_since_s
        if missed_since_s is not None and time.monotonic() - missed_since_s > SILENCE_S:
            raise NodeUnavailable(
                "blocks come, but no word of them on the open connection",
                failure=NodeFailure.HEADS_SILENT,
            )
