"""A JSON-RPC proxy that fails as real nodes do: HTTP and WebSocket, between an indexer and anvil.

Each fault has the name by which tests ask for it; ``FAULTS`` has them all, in the order of the
failures that nodes were seen to have, and some more: another chain, a socket that says nothing,
errors inside a good answer, and limits that are not called so.
Several may hold at once. A fault may hold until ``heal``, for some requests, at random, and from
the first request on that names a block at or above a given one.
"""

import http.client
import itertools
import json
import random
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

ZERO: Final = "0x" + "00" * 32
LAG_BLOCKS: Final = 2
"""How far the slower of two backends is behind."""
RANGE_BLOCKS: Final = 3
"""The longest range of a node that limits it."""
REORGS_MAX: Final = 2
"""How often one ``reorg_between`` changes the chain."""
HANG_S: Final = 20.0
_RANGE_WORDS: Final = (
    "query returned more than 10000 results. Try with this block range [{first}, {last}].",
    "eth_getLogs is limited to a 3 blocks range",
    "block range is too large, max is 3",
    "Log response size exceeded. this block range should work: [{first}, {last}]",
)
_STRANGE_WORDS: Final = ("context deadline exceeded", "request timed out", "internal error")
BATCH_REQUESTS: Final = 2
"""The most requests in one batch of a node that limits them."""
_INNER_ERRORS: Final = (
    (-32603, "Internal error"),
    (429, "exceeded its compute units per second capacity"),
    (-32000, "execution of the request failed"),
)
_UNKNOWN_WORDS: Final = ("unknown block", "header not found", "block not found: {block}")

Item = dict[str, Any]
"""One JSON-RPC answer."""


@dataclass
class Injection:
    """One fault at work."""

    name: str
    since_block: int
    """The head when it began."""
    requests: int | None = None
    """How many HTTP requests it spoils before it ends; None: until it is healed."""
    chance: float = 1.0
    from_block: int = 0
    used: int = 0
    """How many HTTP requests it was at work in."""
    spoilt: int = 0
    """How many answers it changed."""
    counter: Any = field(default_factory=itertools.count)

    def is_spent(self) -> bool:
        return self.requests is not None and self.used >= self.requests


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP request as a fault sees it."""

    proxy: "FaultProxy"
    injection: Injection
    lags: bool
    """Whether the slower backend answers it."""

    def head(self) -> int:
        return int(self.proxy.ask("eth_blockNumber"), 16)

    def number_of(self, block_hash: str) -> int:
        block = self.proxy.ask("eth_getBlockByHash", block_hash, False)
        return -1 if block is None else int(block["number"], 16)


Spoil = Callable[[Exchange, str, list[Any], Item], Item]


def _error(message: str, code: int = -32000) -> Item:
    return {"error": {"code": code, "message": message}}


def _is_range(method: str, params: list[Any]) -> bool:
    return method == "eth_getLogs" and "fromBlock" in params[0]


def _is_by_hash(method: str, params: list[Any]) -> bool:
    return method == "eth_getLogs" and "blockHash" in params[0]


def _keep_logs(item: Item, keep: Callable[[dict[str, Any]], bool]) -> Item:
    logs = item.get("result")
    if not isinstance(logs, list):
        return item
    kept = [log for log in logs if keep(log)]
    return item if len(kept) == len(logs) else {"result": kept}


def _number(log: dict[str, Any]) -> int:
    return int(log["blockNumber"], 16)


def _logs_not_there_yet(x: Exchange, method: str, params: list[Any], item: Item) -> Item:
    newest = x.injection.since_block
    if method == "eth_getLogs":
        return _keep_logs(item, lambda log: _number(log) <= newest)
    if method == "eth_getBlockReceipts" and x.number_of(params[0]) > newest:
        return {"result": None}
    return item


def _head_goes_back(x: Exchange, method: str, params: list[Any], item: Item) -> Item:
    if not x.lags:
        return item
    newest = max(0, x.head() - LAG_BLOCKS)
    if method == "eth_blockNumber":
        return {"result": hex(newest)}
    if method == "eth_getBlockByNumber" and params[0] == "latest":
        return {"result": x.proxy.ask(method, hex(newest), False)}
    if method == "eth_getBlockByNumber" and int(params[0], 16) > newest:
        return {"result": None}
    if _is_range(method, params):
        return _keep_logs(item, lambda log: _number(log) <= newest)
    if _is_by_hash(method, params) and x.number_of(params[0]["blockHash"]) > newest:
        return _error("unknown block")
    if method == "eth_getBlockReceipts" and x.number_of(params[0]) > newest:
        return {"result": None}
    return item


def _clamped_range(_: Exchange, method: str, params: list[Any], item: Item) -> Item:
    # The worst of it: the header comes from a node that has the block, the logs from one without.
    if not _is_range(method, params):
        return item
    end = int(params[0]["toBlock"], 16)
    return _keep_logs(item, lambda log: _number(log) <= end - LAG_BLOCKS)


def _empty_by_hash(_: Exchange, method: str, params: list[Any], item: Item) -> Item:
    return {"result": []} if _is_by_hash(method, params) and item.get("result") else item


def _lost_logs(_: Exchange, method: str, __: list[Any], item: Item) -> Item:
    if method != "eth_getLogs":
        return item
    return _keep_logs(item, lambda log: not is_lost(log))


def is_lost(log: Mapping[str, Any]) -> bool:
    """Tell whether a node that has lost part of its logs has lost this one: always the same."""
    return zlib.crc32(f"{log['transactionHash']}{log['logIndex']}".encode()) % 3 == 0


def _range_limit(x: Exchange, method: str, params: list[Any], item: Item) -> Item:
    if not _is_range(method, params):
        return item
    first, last = (params[0][name] for name in ("fromBlock", "toBlock"))
    if int(last, 16) - int(first, 16) + 1 <= RANGE_BLOCKS:
        return item
    words = _RANGE_WORDS[next(x.injection.counter) % len(_RANGE_WORDS)]
    return _error(words.format(first=first, last=last), -32005)


def _pruned_history(x: Exchange, method: str, params: list[Any], item: Item) -> Item:
    oldest = x.injection.since_block
    if method == "eth_getLogs":
        return _keep_logs(item, lambda log: _number(log) > oldest)
    if method == "eth_getBlockReceipts" and x.number_of(params[0]) <= oldest:
        return {"result": None}
    return item


def _unknown_block(x: Exchange, method: str, params: list[Any], item: Item) -> Item:
    if method == "eth_getBlockByNumber" and params[0] != "latest":
        return {"result": None}
    if _is_by_hash(method, params):
        words = _UNKNOWN_WORDS[next(x.injection.counter) % len(_UNKNOWN_WORDS)]
        return _error(words.format(block=params[0]["blockHash"]))
    return {"result": None} if method == "eth_getBlockReceipts" else item


def _spoilt_blocks(x: Exchange, method: str, _: list[Any], item: Item) -> Item:
    found = item.get("result")
    if method == "eth_getBlockByNumber" and found:
        return {"result": {**found, "logsBloom": "0x" + "00" * 256}}
    if method != "eth_getLogs" or not found:
        return item
    if next(x.injection.counter) % 2:
        return {"result": [*found, found[0]]}
    return {"result": [{**log, "transactionHash": ZERO} for log in found]}


def _wrong_chain(_: Exchange, method: str, __: list[Any], item: Item) -> Item:
    found = item.get("result")
    if method == "eth_chainId":
        return {"result": "0x1"}
    if method == "eth_getBlockByNumber" and found:
        names = ("hash", "parentHash")
        return {"result": {**found, **{name: f"0xdead{found[name][6:]}" for name in names}}}
    return {"result": []} if method == "eth_getLogs" else item


def _errors_inside(x: Exchange, method: str, _: list[Any], item: Item) -> Item:
    if method != "eth_getLogs":
        return item
    code, words = _INNER_ERRORS[next(x.injection.counter) % len(_INNER_ERRORS)]
    return _error(words, code)


def _unchanged(_: Exchange, __: str, ___: list[Any], item: Item) -> Item:
    return item


FAULTS: Final[Mapping[str, Spoil]] = {
    "logs_not_there_yet": _logs_not_there_yet,
    "head_goes_back": _head_goes_back,
    "clamped_range": _clamped_range,
    "empty_by_hash": _empty_by_hash,
    "reorg_between": _unchanged,
    "lost_logs": _lost_logs,
    "range_limit": _range_limit,
    "overloaded": _unchanged,
    "heads_silent": _unchanged,
    "pruned_history": _pruned_history,
    "unknown_block": _unknown_block,
    "spoilt_blocks": _spoilt_blocks,
    "wrong_chain": _wrong_chain,
    "silent_socket": _unchanged,
    "errors_inside": _errors_inside,
    "range_in_strange_words": _unchanged,
    "batch_limit": _unchanged,
}
LIMITS: Final = ("range_limit", "range_in_strange_words", "batch_limit")
"""What a node is like for ever, and is to be lived with."""
OVERLOADS: Final = ("429", "429 later", "429 rpc", "truncated", "html", "502", "huge", "no answer")


class FaultProxy:
    """One endpoint before one node. ``url`` is its HTTP side, ``heads_url`` its WebSocket."""

    def __init__(self, upstream: str, *, seed: int = 0) -> None:
        self.upstream = upstream
        self.chain_lock = threading.Lock()
        """Held while a fault changes the chain; traffic takes it as well."""
        self.first_good_s: float | None = None
        """When the first request after ``heal`` was answered well, on the monotonic clock."""
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._injections: list[Injection] = []
        self._healed = threading.Event()
        self._healed.set()
        self._local = threading.local()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = 65_536
            timeout = 5.0

            def do_POST(self) -> None:
                proxy._serve(self, self.rfile.read(int(self.headers["Content-Length"])))

            def finish(self) -> None:
                with suppress(OSError):
                    super().finish()
                proxy._hang_up()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False  # so that closing waits for them
        self._sockets = serve(self._relay, "127.0.0.1", 0, compression=None)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.heads_url = f"ws://127.0.0.1:{self._sockets.socket.getsockname()[1]}"
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True),
            threading.Thread(target=self._sockets.serve_forever, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving; what hangs is let go."""
        self.heal()
        self._server.shutdown()
        self._server.server_close()
        self._sockets.shutdown()
        self._hang_up()
        for thread in self._threads:
            thread.join(timeout=5)

    # --------------------------------------------------------------------------------------- faults

    def inject(
        self,
        name: str,
        *,
        requests: int | None = None,
        chance: float = 1.0,
        from_block: int = 0,
    ) -> Injection:
        """Begin to fail. ``requests`` counts HTTP requests; ``chance`` is each request's."""
        assert name in FAULTS
        head = int(self.ask("eth_blockNumber"), 16)
        injection = Injection(name, head, requests, chance, from_block)
        with self._lock:
            self._injections.append(injection)
            self._healed.clear()
            self.first_good_s = None
        return injection

    def heal(self) -> None:
        """End every fault. Whoever waits for an answer gets none: its connection is closed."""
        with self._lock:
            self._injections.clear()
            self.first_good_s = None
            self._healed.set()

    def has(self, name: str) -> bool:
        """Tell whether a fault of this name is at work."""
        with self._lock:
            return any(one.name == name and not one.is_spent() for one in self._injections)

    def _draw(self, calls: list[Any]) -> list[Injection]:
        """Return the faults that are at work in this request."""
        with self._lock:
            drawn: list[Injection] = []
            for one in self._injections:
                if one.is_spent() or self._random.random() >= one.chance:
                    continue
                if one.from_block:
                    if max((_block_of(call) for call in calls), default=-1) < one.from_block:
                        continue
                    one.from_block = 0  # from now on
                one.used += 1
                drawn.append(one)
            return drawn

    # ----------------------------------------------------------------------------------------- HTTP

    def ask(self, method: str, *params: Any) -> Any:
        """Return the node's own answer."""
        answer = json.loads(self._forward({"method": method, "params": params}))
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def _forward(self, call: Any) -> bytes:
        if isinstance(call, dict):
            call = {"jsonrpc": "2.0", "id": 1, **call}
        payload = json.dumps(call).encode()
        for attempt in (1, 2):
            connection: http.client.HTTPConnection | None
            connection = getattr(self._local, "connection", None)
            if connection is None:
                host = self.upstream.removeprefix("http://")
                connection = self._local.connection = http.client.HTTPConnection(host, timeout=30)
            try:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", "/", payload, headers)
                return connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                connection.close()
                self._local.connection = None
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def _hang_up(self) -> None:
        connection: http.client.HTTPConnection | None
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _serve(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        request = json.loads(body)
        calls = request if isinstance(request, list) else [request]
        drawn = self._draw(calls)
        try:
            if not drawn:
                answer = self._forward(request)
                _reply(handler, answer)
                self._note_good()
                return
            for one in drawn:
                if one.name == "silent_socket":
                    self._hang(handler)
                    return
                if one.name == "overloaded" and self._overload(handler, one, request):
                    return
                if one.name == "range_in_strange_words" and self._limit_range(handler, one, calls):
                    return
                if one.name == "batch_limit" and self._limit_batch(handler, one, request):
                    return
            lags = self._random.random() < 0.5
            items = [
                {"jsonrpc": "2.0", "id": call.get("id"), **self._answer(drawn, lags, call)}
                for call in calls
            ]
            _reply(handler, json.dumps(items if isinstance(request, list) else items[0]).encode())
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True

    def _note_good(self) -> None:
        with self._lock:
            if self.first_good_s is None and not self._injections:
                self.first_good_s = time.monotonic()

    def _answer(self, drawn: list[Injection], lags: bool, call: dict[str, Any]) -> Item:
        method, params = call["method"], call.get("params", [])
        for one in drawn:
            if one.name == "reorg_between" and method == "eth_getLogs" and one.spoilt < REORGS_MAX:
                one.spoilt += 1
                with self.chain_lock:
                    self.ask("anvil_reorg", 1 + one.spoilt, [])
        item: Item = json.loads(self._forward({"method": method, "params": params}))
        item = {name: item[name] for name in ("result", "error") if name in item}
        for one in drawn:
            spoilt = FAULTS[one.name](Exchange(self, one, lags), method, params, item)
            one.spoilt += spoilt is not item
            item = spoilt
        return item

    def _hang(self, handler: BaseHTTPRequestHandler) -> None:
        self._healed.wait(HANG_S)
        handler.close_connection = True

    def _overload(
        self, handler: BaseHTTPRequestHandler, injection: Injection, request: Any
    ) -> bool:
        kind = OVERLOADS[next(injection.counter) % len(OVERLOADS)]
        injection.spoilt += 1
        match kind:
            case "429":
                _reply(handler, b"slow down", status=429)
            case "429 later":
                _reply(handler, b"slow down", status=429, headers={"Retry-After": "0.1"})
            case "429 rpc":
                _reply(handler, json.dumps(_error("Too many requests", 429)).encode())
            case "truncated":
                _reply(handler, self._forward(request)[:-7])
            case "html":
                _reply(handler, b"<html>busy</html>")
            case "502":
                _reply(handler, b"<html>bad gateway</html>", status=502)
            case "huge":
                _reply_endlessly(handler)
            case _:
                handler.close_connection = True
        return True

    def _limit_range(
        self, handler: BaseHTTPRequestHandler, injection: Injection, calls: list[Any]
    ) -> bool:
        """Fail for a range that is too long, without a word about its length."""
        if all(_length_of(call) <= RANGE_BLOCKS for call in calls):
            return False
        injection.spoilt += 1
        kind = next(injection.counter) % (len(_STRANGE_WORDS) + 2)
        if kind < len(_STRANGE_WORDS):
            error = _error(_STRANGE_WORDS[kind])
            items = [{"jsonrpc": "2.0", "id": call.get("id"), **error} for call in calls]
            _reply(handler, json.dumps(items if len(items) > 1 else items[0]).encode())
        elif kind == len(_STRANGE_WORDS):
            _reply(handler, b"<html>gateway time-out</html>", status=504)
        else:
            handler.close_connection = True
        return True

    def _limit_batch(
        self, handler: BaseHTTPRequestHandler, injection: Injection, request: Any
    ) -> bool:
        """Refuse a batch that is too long, in another shape each time."""
        if not isinstance(request, list) or len(request) <= BATCH_REQUESTS:
            return False
        injection.spoilt += 1
        error = {"id": None, **_error("cannot serve this")}
        match next(injection.counter) % 4:
            case 0:
                _reply(handler, b"slow down", status=429)
            case 1:
                _reply(handler, json.dumps([error]).encode())
            case 2:
                _reply(handler, b"method not allowed", status=405)
            case _:
                taken = json.loads(self._forward(request[:BATCH_REQUESTS]))
                rest = [{**error, "id": call["id"]} for call in request[BATCH_REQUESTS:]]
                _reply(handler, json.dumps([*taken, *rest]).encode())
        return True

    # ------------------------------------------------------------------------------------ WebSocket

    def _relay(self, client: ServerConnection) -> None:
        """Pass subscriptions on, and their news as long as nothing keeps them back."""
        upstream = self.upstream.replace("http", "ws")
        try:
            with connect(upstream, compression=None, proxy=None) as node:
                node.send(client.recv())
                while True:
                    try:
                        message = node.recv(timeout=0.05)
                    except TimeoutError:
                        client.ping()
                        continue
                    if not self.has("heads_silent") and not self.has("silent_socket"):
                        client.send(message)
        except (ConnectionClosed, WebSocketException, OSError):
            return


def _block_of(call: Any) -> int:
    params = call.get("params") or [None]
    first = params[0]
    if isinstance(first, dict):
        first = first.get("toBlock")
    is_number = isinstance(first, str) and first.startswith("0x") and len(first) < 20
    return int(first, 16) if is_number else -1


def _length_of(call: Any) -> int:
    """Return how many blocks a request asks logs of; 0 for any other request."""
    params = call.get("params") or [None]
    if call["method"] != "eth_getLogs" or "fromBlock" not in params[0]:
        return 0
    return int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1


def _reply(
    handler: BaseHTTPRequestHandler,
    body: bytes,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> None:
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
    handler.wfile.flush()


def _reply_endlessly(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    for _ in range(4_096):
        handler.wfile.write(b" " * 65_536)
