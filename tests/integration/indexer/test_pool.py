"""The mirror through nodes that fail in every way that nodes were seen to fail in.

::

    HttpTransport, against a server that answers as it is told
    ├── truncated JSON, HTML, an empty body, 502, no answer in time, a body without an end
    ├── 429 with and without Retry-After; an error of JSON-RPC with status 400
    ├── a kept-alive connection that was closed meanwhile
    └── batches: whole, refused, with one answer missing; a limit in any shape is learnt and kept
    Follower, through a pool over anvil behind an injector of faults
    ├── each fault for a while, then no longer: mirror = chain
    ├── all faults mixed, with reorgs, at one, two and three endpoints: mirror = chain
    ├── an event missing before those that build on it: found in the receipts
    ├── each fault for ever at one endpoint of two, with no receipts anywhere: mirror = chain
    ├── a liar among three, with a quorum of two: found out, mirror = chain
    ├── partial logs that are only seen at the second look: repaired
    ├── A to B to A between two reads: mirror = chain
    └── a rebuild on a node that has pruned its logs: refused, nothing deleted
"""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from contracts.chain import Web3Transport
from contracts.errors import Retryable
from contracts.node_errors import (
    BodyTooLarge,
    MethodMissing,
    NodeFailure,
    NodeRefused,
    NodeUnavailable,
    NotYet,
    RangeRefused,
    RateLimited,
)
from contracts.pool import ChainPool
from contracts.reader import ChainReader
from contracts.transport import Call, HttpTransport, Transport
from indexer.health import Health
from indexer.main import HistoryPruned, check_history
from indexer.sync import Follower, Outcome, SyncRules
from ledger.chain.event_rows import load_oldest_event
from ledger.chain.mirror import load_mirror
from ledger.database.engine import read, write
from ledger.database.schema import bind_deployment
from scripts.audit import audit
from tests.support.anvil import CHAIN_ID, Anvil
from tests.support.deploy import USDC, World, deploy
from tests.support.ledgers import make_unbound_ledger
from tests.support.waiting import LIMIT_S, wait_until

RULES = SyncRules(confirmations=0, window_blocks=40, range_blocks_max=50, blocks_per_step_max=16)
ZERO = "0x" + "00" * 32

# --------------------------------------------------------------------------------------- transport

Reply = Callable[[BaseHTTPRequestHandler, bytes], None]


class Server:
    """An HTTP server that answers each request with the next of its replies, then with the last."""

    def __init__(self, *replies: Reply) -> None:
        self.bodies: list[Any] = []
        left = list(replies)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 5.0

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.bodies.append(json.loads(body))
                reply = left.pop(0) if len(left) > 1 else left[0]
                reply(self, body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False  # so that closing waits for them
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def text(body: str, *, status: int = 200, length: int | None = None, **headers: str) -> Reply:
    def reply(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body.encode())
        if length is not None:
            handler.close_connection = True

    return reply


def result(value: Any) -> Reply:
    return text(json.dumps({"jsonrpc": "2.0", "id": 1, "result": value}))


def batch_result(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    calls = json.loads(body)
    if isinstance(calls, dict):
        result(calls["params"])(handler, body)
        return
    answers = [{"id": call["id"], "result": call["params"]} for call in calls]
    text(json.dumps(answers[::-1]))(handler, body)


def silence(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    handler.close_connection = True
    handler.connection.settimeout(LIMIT_S)
    handler.connection.recv(1)  # until the other side hangs up


def endless(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    try:
        while True:
            handler.wfile.write(b" " * 65_536)
    except OSError:
        pass


def hang_up(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    result("0x1")(handler, body)
    handler.close_connection = True  # without saying so


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        (text('{"jsonrpc": "2.0", "id": 1, "resu'), NodeFailure.NOT_JSON),
        (text('{"jsonrpc": "2.0", "id": 1, "result": "0x1"}', length=400), NodeFailure.NOT_JSON),
        (text("<html>busy</html>"), NodeFailure.NOT_JSON),
        (text(""), NodeFailure.NOT_JSON),
        (text('"0x1"'), NodeFailure.NOT_JSON),
        (text('{"jsonrpc": "2.0", "id": 1}'), NodeFailure.NOT_JSON),
        (text("<html>bad gateway</html>", status=502), NodeFailure.UNREACHABLE),
        (text("", status=307, Location="http://127.0.0.1:9/"), NodeFailure.UNREACHABLE),
        (silence, NodeFailure.TIMED_OUT),
        (endless, NodeFailure.BODY_TOO_LARGE),
        (text("", status=413), NodeFailure.BODY_TOO_LARGE),
    ],
)
def test_request__no_answer__failure_by_name_and_then_recovers(
    reply: Reply, failure: NodeFailure
) -> None:
    with Server(reply, result("0x1")) as server:
        is_silent = failure is NodeFailure.TIMED_OUT
        patience_s = 0.2 if is_silent else LIMIT_S
        transport = HttpTransport(server.url, timeout_s=patience_s, body_bytes_max=1_000_000)
        with pytest.raises(NodeUnavailable) as caught:
            transport.request("eth_chainId", [])
        assert caught.value.failure is failure

        def is_served() -> bool:
            try:
                return bool(transport.request("eth_chainId", []) == "0x1")
            except NodeUnavailable:
                assert is_silent, "only its time may be too short on a busy machine"
                return False

        wait_until(is_served, "it is served again")
        transport.close()


def test_request__nobody_listens__unreachable() -> None:
    with Server(result("0x1")) as server:
        url = server.url
    with pytest.raises(NodeUnavailable) as caught:
        HttpTransport(url).request("eth_chainId", [])
    assert caught.value.failure is NodeFailure.UNREACHABLE


@pytest.mark.parametrize(("header", "wait_s"), [("2.5", 2.5), ("9999", 30.0), ("Tue, 1 Jan", None)])
def test_request__429__carries_the_nodes_wish(header: str, wait_s: float | None) -> None:
    with (
        Server(text("slow down", status=429, Retry_After=header)) as server,
        closing(HttpTransport(server.url)) as transport,
        pytest.raises(RateLimited) as caught,
    ):
        transport.request("eth_getLogs", [])
    assert caught.value.retry_after_s == wait_s


def test_request__rpc_error_with_status_400__is_read() -> None:
    body = json.dumps({"error": {"code": -32602, "message": "block range too large"}})
    with (
        Server(text(body, status=400)) as server,
        closing(HttpTransport(server.url)) as transport,
        pytest.raises(RangeRefused),
    ):
        transport.request("eth_getLogs", [])


def test_request__connection_closed_meanwhile__asked_again_on_another() -> None:
    with Server(hang_up) as server:
        transport = HttpTransport(server.url)
        for _ in range(3):
            assert transport.request("eth_chainId", []) == "0x1"
            time.sleep(0.05)
        assert transport.connections_opened == 3
        transport.close()


def test_request__answered_well__connection_is_kept() -> None:
    with Server(result("0x1")) as server:
        transport = HttpTransport(server.url)
        for _ in range(3):
            transport.request("eth_chainId", [])
        assert transport.connections_opened == 1
        transport.close()


def test_request_batch__answers_in_any_order__each_at_its_place() -> None:
    with Server(batch_result) as server:
        transport = HttpTransport(server.url)
        answers = transport.request_batch([("eth_call", [place]) for place in range(250)])
        assert answers == [[place] for place in range(250)]
        assert [len(body) for body in server.bodies] == [100, 100, 50]
        transport.close()


def test_request_batch__refused__asked_one_by_one() -> None:
    refused = text(json.dumps({"error": {"code": -32600, "message": "batches are not allowed"}}))
    with Server(refused, batch_result) as server:
        transport = HttpTransport(server.url)
        calls: list[Call] = [("eth_call", [place]) for place in range(3)]
        assert transport.request_batch(calls) == [[0], [1], [2]]
        assert [isinstance(body, list) for body in server.bodies] == [True, False, False, False]
        transport.close()


def test_request_batch__one_answer_missing__only_that_one_fails() -> None:
    with Server(text(json.dumps([{"id": 0, "result": 7}]))) as server:
        transport = HttpTransport(server.url)
        answers = transport.request_batch([("eth_call", []), ("eth_call", [])])
        assert answers[0] == 7
        assert isinstance(answers[1], NodeUnavailable)
        transport.close()


def test_request_batch__rate_limited_as_a_whole__is_not_split() -> None:
    limited = text(json.dumps({"error": {"code": -32005, "message": "rate limit"}}))
    with (
        Server(limited) as server,
        closing(HttpTransport(server.url)) as transport,
        pytest.raises(RateLimited),
    ):
        transport.request_batch([("eth_call", []), ("eth_call", [])])
    assert len(server.bodies) == 1


LIMIT = 10
TOO_MANY = {"code": -32000, "message": "cannot serve this"}


def limited(refuse: Reply) -> Reply:
    """Return a node that answers at most ``LIMIT`` requests at once, and ``refuse`` for more."""

    def reply(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        calls = json.loads(body)
        is_too_long = isinstance(calls, list) and len(calls) > LIMIT
        (refuse if is_too_long else batch_result)(handler, body)

    return reply


def refuse_the_rest(error: dict[str, Any] | None) -> Reply:
    """Return what answers the first requests of a batch, and each beyond with ``error``."""

    def reply(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        calls = json.loads(body)
        answers = [{"id": call["id"], "result": call["params"]} for call in calls[:LIMIT]]
        if error is not None:
            answers += [{"id": call["id"], "error": error} for call in calls[LIMIT:]]
        text(json.dumps(answers))(handler, body)

    return reply


def drop(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    handler.close_connection = True


SHAPES: dict[str, Reply] = {
    "429": text("too many", status=429),
    "405 text": text("method not allowed", status=405),
    "400 text": text("bad request", status=400),
    "413": text("", status=413),
    "500 html": text("<html>no</html>", status=500),
    "one error": text(json.dumps({"id": None, "error": TOO_MANY})),
    "one rate limit": text(json.dumps({"error": {"code": 429, "message": "too many requests"}})),
    "a list of one error": text(json.dumps([{"id": None, "error": TOO_MANY}])),
    "an error in each beyond": refuse_the_rest(TOO_MANY),
    "a rate limit in each beyond": refuse_the_rest({"code": -32005, "message": "rate limit"}),
    "none for those beyond": refuse_the_rest(None),
    "an empty list": text("[]"),
    "not JSON": text("no"),
    "dropped": drop,
}


@pytest.mark.parametrize("count", [LIMIT + 1, 40, pytest.param(250, marks=pytest.mark.slow)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.sampled(2)
def test_request_batch__a_limit_in_any_shape__is_learnt_and_kept(shape: str, count: int) -> None:
    calls: list[Call] = [("eth_call", [place]) for place in range(count)]
    expected = [[place] for place in range(count)]
    with (
        Server(limited(SHAPES[shape])) as server,
        closing(HttpTransport(server.url)) as transport,
    ):
        answers: list[Any] = []
        for _ in range(3):
            with suppress(NodeUnavailable):
                answers = transport.request_batch(calls)
            if answers == expected:
                break
        assert answers == expected
        server.bodies.clear()
        for _ in range(3):
            assert transport.request_batch(calls) == expected
        lengths = [len(body) if isinstance(body, list) else 1 for body in server.bodies]
        assert max(lengths) <= LIMIT, "remembered"
        assert max(lengths) > 1, "not one by one where more are taken"


def test_request_batch__a_node_in_trouble__is_asked_for_whole_batches_afterwards() -> None:
    calls: list[Call] = [("eth_call", [place]) for place in range(40)]
    away = text("<html>bad gateway</html>", status=502)
    with (
        Server(*[away] * 20, batch_result) as server,
        closing(HttpTransport(server.url)) as transport,
    ):
        for _ in range(20):
            with suppress(NodeUnavailable):
                transport.request_batch(calls)
        server.bodies.clear()
        transport.request_batch(calls)
        assert [len(body) for body in server.bodies] == [40]


def test_request_batch__one_bad_item_at_its_end__is_asked_for_alone_and_told() -> None:
    def reply(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        calls = json.loads(body)
        broken = {"error": {"code": -32603, "message": "Internal error"}}
        one = {"jsonrpc": "2.0", "id": 1, **broken}
        both = [{"id": 0, "result": 7}, {"id": 1, **broken}]
        text(json.dumps(both if isinstance(calls, list) else one))(handler, body)

    with Server(reply) as server, closing(HttpTransport(server.url)) as transport:
        for _ in range(6):
            head, logs = transport.request_batch([("eth_call", []), ("eth_getLogs", [])])
            assert head == 7
            assert isinstance(logs, NodeRefused)
        assert any(len(body) == 2 for body in server.bodies[-2:]), "still in batches"


# ---------------------------------------------------------------------------------------- follower

Fault = Callable[[str, list[Any], Any], Any]
"""Makes a wrong answer out of a method, its parameters and the right answer; or raises one."""


class Injector:
    """A transport whose answers pass through ``fault`` as long as there is one."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.fault: Fault | None = None
        self.without_receipts = False
        self.used = 0

    def request(self, method: str, params: list[Any]) -> Any:
        [answer] = self.request_batch([(method, params)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def request_batch(self, calls: Sequence[Call]) -> list[Any]:
        return [self._spoil(*call) for call in calls]

    def _spoil_with(self, fault: Fault, method: str, params: list[Any], answer: Any) -> Any:
        try:
            return fault(method, params, answer)
        except (NodeUnavailable, NodeRefused):
            self.used += 1
            raise

    def _spoil(self, method: str, params: list[Any]) -> Any:
        if method == "eth_getBlockReceipts" and self.without_receipts:
            return MethodMissing(-32601, "the method does not exist")
        try:
            answer = self._transport.request(method, params)
            if self.fault is None:
                return answer
            spoilt = self._spoil_with(self.fault, method, params, answer)
        except (NodeUnavailable, NodeRefused) as error:
            return error
        self.used += spoilt is not answer
        return spoilt


def _logs(change: Callable[[list[dict[str, Any]]], Any]) -> Fault:
    """Spoil answers about logs that are not empty."""
    return lambda method, _, answer: (
        change(answer) if method == "eth_getLogs" and answer else answer
    )


def _block(change: Callable[[dict[str, Any]], Any]) -> Fault:
    return lambda method, _, answer: (
        change(answer) if method == "eth_getBlockByNumber" and answer else answer
    )


def _head(change: Callable[[dict[str, Any]], Any]) -> Fault:
    return lambda method, params, answer: (
        change(answer) if method == "eth_getBlockByNumber" and params[0] == "latest" else answer
    )


def _raise(error: Exception) -> Any:
    raise error


FAULTS: dict[str, Fault] = {
    "empty_logs": _logs(lambda _: []),
    "partial_logs": _logs(lambda logs: logs[:-1]),
    "unknown_block": _logs(lambda _: _raise(NotYet("?", failure=NodeFailure.UNKNOWN_BLOCK))),
    "other_blocks_logs": _logs(lambda logs: [{**log, "blockHash": ZERO} for log in logs]),
    "null_blocks": lambda method, params, answer: (
        None if method == "eth_getBlockByNumber" and params[0] != "latest" else answer
    ),
    "rate_limited": _logs(lambda _: _raise(RateLimited("slow"))),
    "range_refused": _logs(lambda _: _raise(RangeRefused(-32005, "too many results"))),
    "too_large": _logs(lambda _: _raise(BodyTooLarge("huge"))),
    "not_json": _logs(lambda _: _raise(NodeUnavailable("<html>", failure=NodeFailure.NOT_JSON))),
    "duplicate_log": _logs(lambda logs: [*logs, logs[0]]),
    "two_logs_at_one_index": _logs(lambda logs: [*logs, {**logs[0], "data": "0x"}]),
    "zero_tx_hash": _logs(lambda logs: [{**log, "transactionHash": ZERO} for log in logs]),
    "cut_data": _logs(lambda logs: [{**log, "data": log["data"][:-2]} for log in logs]),
    "wrong_bloom": _block(lambda block: {**block, "logsBloom": "0x" + "00" * 256}),
    "malformed_block": _head(lambda block: {**block, "hash": None}),
}
HARMLESS = {"duplicate_log", "wrong_bloom"}
"""Faults in spite of which a lone endpoint's answers can be used."""


class Scene:
    """A follower of one world through endpoints that can be spoilt."""

    def __init__(self, world: World, path: Path, *, endpoints: int = 1, quorum: int = 1) -> None:
        self.world = world
        self.health = Health()
        self.http = [HttpTransport(world.anvil.url) for _ in range(endpoints)]
        self.nodes = [Injector(transport) for transport in self.http]
        self.pool = ChainPool(
            {f"node{place}": node for place, node in enumerate(self.nodes)},
            chain_id=CHAIN_ID,
            quorum=quorum,
            listener=self.health.note_failure,
        )
        self.engine = make_unbound_ledger(path / "ledger.sqlite3")
        with write(self.engine) as connection:
            bind_deployment(connection, world.deployment)
        self.follower = Follower(
            self.engine, self.pool, world.deployment, RULES, health=self.health
        )

    def close(self) -> None:
        self.follower.close()
        self.pool.close()
        for transport in self.http:
            transport.close()
        self.engine.dispose()

    def sync(self) -> None:
        """Converge until there is nothing new three times in a row, through whatever fails."""
        quiet = 0

        def is_at_rest() -> bool:
            nonlocal quiet
            try:
                outcome = self.follower.converge()
            except Retryable:
                quiet = 0
                return False
            quiet = quiet + 1 if outcome is Outcome.NOTHING_NEW else 0
            return quiet == 3

        wait_until(is_at_rest, poll_s=0.0)

    def live(self) -> None:
        """Let a position be opened, earn and be held; three blocks of several events, some none."""
        world = self.world
        token_id = world.open_position()
        world.earn(10 * USDC)
        world.send("outsider", world.contracts.adapter.functions.harvest(token_id))
        world.anvil.mine(2)
        request = (token_id, USDC, world.anvil.now_s() + 3_600, 0)
        world.send("keeper", world.contracts.position.functions.hold([request]))

    def assert_mirror_is_chain(self) -> None:
        with read(self.engine) as connection:
            cursor = load_mirror(connection)
        assert cursor is not None
        assert cursor.block_hash == self.world.anvil.head().block_hash
        assert audit(self.engine, self.world.anvil.web3, self.world.deployment) == []

    def failures(self) -> set[NodeFailure]:
        return {failure for _, failure in self.health.report().failures}


Open = Callable[..., Scene]


@pytest.fixture
def open_scene(world: World, tmp_path: Path) -> Iterator[Open]:
    scenes: list[Scene] = []

    def build(**options: Any) -> Scene:
        scenes.append(Scene(world, tmp_path, **options))
        return scenes[-1]

    yield build
    for scene in scenes:
        scene.close()


@pytest.mark.parametrize("receipts", [True, False], ids=["receipts", "no_receipts"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.sampled(8)
def test_fault__for_a_while__mirror_is_chain(open_scene: Open, fault: str, receipts: bool) -> None:
    scene = open_scene()
    scene.sync()
    [node] = scene.nodes
    node.without_receipts = not receipts
    scene.live()
    node.fault = FAULTS[fault]
    for _ in range(6):
        try:
            scene.follower.converge()
        except Retryable:
            continue
    assert node.used > 0
    node.fault = None
    scene.sync()
    scene.assert_mirror_is_chain()
    assert scene.failures() or fault in HARMLESS


@pytest.mark.parametrize(
    ("seed", "endpoints", "quorum"), [(1, 1, 1), (2, 1, 1), (3, 2, 1), (4, 2, 1), (5, 3, 2)]
)
@pytest.mark.sampled(5)
def test_faults__all_mixed_with_reorgs__mirror_is_chain(
    open_scene: Open, seed: int, endpoints: int, quorum: int
) -> None:
    scene = open_scene(endpoints=endpoints, quorum=quorum)
    scene.sync()
    chance = random.Random(seed)
    names = sorted(FAULTS)

    def mixed(method: str, params: list[Any], answer: Any) -> Any:
        if chance.random() < 0.5:
            return answer
        return FAULTS[chance.choice(names)](method, params, answer)

    for round_number in range(4):
        for node in scene.nodes[: max(1, endpoints - quorum + 1)]:
            node.fault = mixed
        scene.live()
        for _ in range(12):
            with suppress(Retryable):
                scene.follower.converge()
        if round_number % 2:
            scene.world.anvil.reorg(chance.randrange(1, 6))
    assert sum(node.used for node in scene.nodes) > 5
    for node in scene.nodes:
        node.fault = None
    scene.sync()
    scene.assert_mirror_is_chain()


def test_event_missing__before_one_that_builds_on_it__found_in_the_receipts(
    open_scene: Open,
) -> None:
    scene = open_scene()
    scene.sync()
    scene.live()
    [node] = scene.nodes
    # The mint's block loses its logs wherever they are asked for, but not its receipts.
    minted = load_minted_block(scene)
    node.fault = lambda method, _, answer: (
        [log for log in answer if log["blockNumber"] != hex(minted)]
        if method == "eth_getLogs"
        else {**answer, "logsBloom": "0x0"}
        if method == "eth_getBlockByNumber" and answer
        else answer
    )
    scene.sync()
    scene.assert_mirror_is_chain()
    assert NodeFailure.PARTIAL_LOGS in scene.failures()


def load_minted_block(scene: Scene) -> int:
    minted = scene.world.contracts.position.events.PositionMinted.get_logs(from_block=0)
    return int(minted[-1]["blockNumber"])


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - {"partial_logs"}))
@pytest.mark.sampled(3)
def test_fault__for_ever_at_one_of_two__mirror_is_chain(open_scene: Open, fault: str) -> None:
    scene = open_scene(endpoints=2)
    for node in scene.nodes:
        node.without_receipts = True
    scene.nodes[0].fault = FAULTS[fault]
    scene.live()
    scene.sync()
    scene.assert_mirror_is_chain()


@pytest.mark.parametrize("fault", ["empty_logs", "partial_logs", "cut_data", "null_blocks"])
@pytest.mark.sampled(2)
def test_quorum__one_liar_of_three__found_out_and_mirror_is_chain(
    open_scene: Open, fault: str
) -> None:
    scene = open_scene(endpoints=3, quorum=2)
    for node in scene.nodes:
        node.without_receipts = True
    scene.nodes[1].fault = FAULTS[fault]
    scene.sync()
    for _ in range(2):
        scene.live()
        scene.sync()
    scene.assert_mirror_is_chain()
    named = {name for name, failure in scene.health.report().failures if failure != "no_quorum"}
    assert named & {"node0", "node2"} <= ({"node0", "node2"} if fault == "null_blocks" else set())
    assert (
        fault == "null_blocks" or ("node1", NodeFailure.OUTVOTED) in scene.health.report().failures
    )


def test_partial_logs__believed_at_first__repaired_at_the_second_look(open_scene: Open) -> None:
    scene = open_scene()
    scene.sync()
    [node] = scene.nodes
    node.without_receipts = True
    scene.world.open_position()
    node.fault = FAULTS["partial_logs"]
    assert scene.follower.converge() is Outcome.ADVANCED
    node.fault = None
    scene.sync()
    scene.assert_mirror_is_chain()
    report = scene.health.report()
    assert report.repairs > 0
    assert NodeFailure.PARTIAL_LOGS in scene.failures()
    assert report.reorgs == {}


def test_empty_logs__no_receipts_and_never_any__believed_in_the_end(open_scene: Open) -> None:
    scene = open_scene()
    scene.sync()
    [node] = scene.nodes
    node.without_receipts = True
    scene.world.fund_usdc(scene.world.accounts["outsider"].address, 1)
    spoilt: list[int] = []

    def saying_maybe(block: dict[str, Any]) -> dict[str, Any]:
        # A bloom that names one of our contracts and events, as a false alarm would.
        source = scene.follower._source._bloom
        spoilt.append(1)
        return {**block, "logsBloom": hex(source._addresses[0] | source._topics[0])}

    node.fault = _block(saying_maybe)
    scene.sync()
    assert spoilt
    assert {NodeFailure.EMPTY_LOGS, NodeFailure.BELIEVED_EMPTY} <= scene.failures()
    node.fault = None
    scene.assert_mirror_is_chain()


def test_reorg__there_and_back_between_two_reads__mirror_is_chain(tmp_path: Path) -> None:
    # A chain of its own: loading a state forgets the snapshots that other tests go back to.
    with Anvil() as anvil, closing(Scene(deploy(anvil), tmp_path)) as scene:
        _fork_and_return(scene)


def _fork_and_return(scene: Scene) -> None:
    scene.live()
    scene.sync()
    anvil = scene.world.anvil
    first = anvil.head()
    scene.live()
    later = anvil.head()
    state = anvil.request("anvil_dumpState")
    [node] = scene.nodes

    def fork_under_the_read(method: str, _: list[Any], answer: Any) -> Any:
        if method != "eth_getLogs":
            return answer
        node.fault = None
        anvil.reorg(later.number - first.number)
        return list(answer)

    node.fault = fork_under_the_read
    with suppress(Retryable):
        for _ in range(3):
            scene.follower.converge()
    assert node.used > 0
    anvil.request("anvil_loadState", state)
    scene.sync()
    scene.assert_mirror_is_chain()


def test_rebuild__pruned_node__refused_and_nothing_deleted(open_scene: Open) -> None:
    scene = open_scene()
    scene.live()
    scene.sync()
    deployment = scene.world.deployment
    check_history(scene.engine, scene.pool, deployment)
    scene.nodes[0].fault = FAULTS["empty_logs"]
    with pytest.raises(HistoryPruned, match="whole history"):
        check_history(scene.engine, scene.pool, deployment)
    with read(scene.engine) as connection:
        assert load_oldest_event(connection) is not None


def test_observed_at__node_behind_the_mirror__does_not_look_fresh(
    world: World, tmp_path: Path
) -> None:
    engine = _open_ledger(world, tmp_path)
    now = [1_000.0]
    reader = ChainReader(Web3Transport(world.anvil.web3))
    follower = Follower(engine, reader, world.deployment, RULES, clock=lambda: now[0])
    while follower.converge() is not Outcome.NOTHING_NEW:
        pass
    world.anvil.mine()  # the way back to the snapshot needs a block that stays
    world.anvil.mine()
    while follower.converge() is not Outcome.NOTHING_NEW:
        pass
    now[0] = 2_000.0
    world.anvil.rollback(1)
    follower.converge()
    with read(engine) as connection:
        cursor = load_mirror(connection)
    assert cursor is not None
    assert cursor.observed_at_s == 1_000
    follower.close()
    engine.dispose()


def _open_ledger(world: World, path: Path) -> Engine:
    engine = make_unbound_ledger(path / "ledger.sqlite3")
    with write(engine) as connection:
        bind_deployment(connection, world.deployment)
    return engine
