"""Hearing of blocks by WebSocket: fast where it works, harmless where it does not.

::

    HeadsListener
    ├── a new block: a hint, and awake
    ├── the server goes away and comes back: connects again
    ├── refuses the subscription, sends no JSON: named, connects again
    └── open and silent while the chain goes on: named, connects again
    run, with heads and a poll interval of a minute
    ├── a block is mirrored all the same at once
    └── two endpoints, one of them dead: likewise
    Settings: endpoints, quorum and heads that do not fit are refused, without showing a URL
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.server import Server, ServerConnection, serve

from contracts.blocks import Header
from contracts.errors import Fatal
from contracts.node_errors import NodeFailure
from indexer.heads import HeadsListener
from indexer.health import Health
from indexer.main import name_endpoints, run
from indexer.settings import IndexerSettings
from serving.process.settings import SettingsInvalid
from tests.support.anvil import CHAIN_ID, Anvil
from tests.support.deploy import World
from tests.support.waiting import LIMIT_S, wait_until

Handler = Callable[[ServerConnection], None]

BLOCK = {"number": "0x9", "hash": "0x" + "11" * 32, "parentHash": "0x" + "22" * 32}
NEWS = json.dumps({"params": {"result": {**BLOCK, "timestamp": "0x1"}}})


@contextmanager
def serving(handler: Handler) -> Iterator[Server]:
    with serve(handler, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def listening(url: str) -> Iterator[tuple[HeadsListener, threading.Event, Health]]:
    wake, health = threading.Event(), Health()
    listener = HeadsListener(url, name="heads", wake=wake, health=health)
    listener.start()
    yield listener, wake, health
    listener.close()


def url_of(server: Server) -> str:
    return f"ws://127.0.0.1:{server.socket.getsockname()[1]}"


def test_listener__new_block__hint_and_awake() -> None:
    with Anvil() as anvil, listening(anvil.url.replace("http", "ws")) as (listener, wake, health):
        hints: list[Header] = []

        def has_heard() -> bool:
            anvil.mine()
            hints.extend(filter(None, [listener.take_hint()]))
            return bool(hints)

        wait_until(has_heard)
        assert wake.is_set()
        mined = anvil.reader.fetch_header(hints[0].number)
        assert mined is not None
        assert hints[0].ref == mined.ref
        assert health.report().failures == {}


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        ('{"id": 1, "error": {"code": -32601, "message": "no"}}', NodeFailure.HEADS_LOST),
        ("<html>", NodeFailure.HEADS_LOST),
        ("[]", NodeFailure.HEADS_LOST),
        ('{"params": {"result": {"number": "0x1"}}}', NodeFailure.MALFORMED),
    ],
)
def test_listener__bad_answer__named_and_connects_again(answer: str, failure: NodeFailure) -> None:
    connected: list[int] = []

    def handle(socket: ServerConnection) -> None:
        connected.append(1)
        socket.recv()
        socket.send(answer if len(connected) == 1 else NEWS)
        for _ in socket:
            pass

    with serving(handle) as server, listening(url_of(server)) as (listener, _, health):
        wait_until(lambda: listener.take_hint() is not None)
        assert health.report().failures == {("heads", failure): 1}


def test_listener__connection_lost__connects_again() -> None:
    connected: list[int] = []

    def handle(socket: ServerConnection) -> None:
        connected.append(1)
        socket.recv()
        if len(connected) > 2:
            socket.send(NEWS)
            for _ in socket:
                pass

    with serving(handle) as server, listening(url_of(server)) as (listener, _, health):
        wait_until(lambda: listener.take_hint() is not None)
        assert health.report().failures == {("heads", NodeFailure.HEADS_LOST): 2}


def test_listener__silent_while_the_chain_goes_on__named_and_connects_again() -> None:
    connected: list[int] = []

    def handle(socket: ServerConnection) -> None:
        connected.append(1)
        for _ in socket:
            pass

    with serving(handle) as server, listening(url_of(server)) as (listener, _, health):
        wait_until(lambda: bool(connected))
        number = 0

        def is_found_out() -> bool:
            nonlocal number
            number += 1
            listener.note_polled(number)
            return len(connected) > 1

        wait_until(is_found_out)
        assert ("heads", NodeFailure.HEADS_SILENT) in health.report().failures


# --------------------------------------------------------------------------------------------- run


def settings_for(
    world: World, path: Path, *, chain_id: int = CHAIN_ID, **changes: str
) -> IndexerSettings:
    names = ("position", "adapter", "payouts", "usdc", "multicall3", "vault")
    deployment = world.deployment
    record: dict[str, Any] = {
        "chain_id": chain_id,
        "block_number": deployment.block_number,
        "block_hash": deployment.block_hash,
        "contracts": {name: getattr(deployment, name) for name in names},
    }
    file = path / "deployment.json"
    file.write_text(json.dumps(record))
    values = {
        "RPC_URL": world.anvil.url,
        "LEDGER_URL": f"sqlite:///{path / 'ledger.sqlite3'}",
        "DEPLOYMENT_FILE": str(file),
        **changes,
    }
    return IndexerSettings.from_environment({f"INDEXER_{k}": v for k, v in values.items()})


@contextmanager
def running(settings: IndexerSettings) -> Iterator[Health]:
    stop, health = threading.Event(), Health()
    thread = threading.Thread(target=run, args=(settings, stop), kwargs={"health": health})
    thread.start()
    try:
        yield health
    finally:
        stop.set()
        thread.join(timeout=LIMIT_S)
    assert not thread.is_alive()


def is_mirrored(health: Health, number: int) -> bool:
    return health.report().mirrored_number >= number


@pytest.mark.parametrize("dead", [False, True], ids=["one_endpoint", "another_is_dead"])
def test_run__heads_and_rare_polling__blocks_are_mirrored_at_once(
    world: World, tmp_path: Path, dead: bool
) -> None:
    url = world.anvil.url
    settings = settings_for(
        world,
        tmp_path,
        RPC_URL=f"http://127.0.0.1:9 {url}" if dead else url,
        HEADS_URL=url.replace("http", "ws"),
        POLL_INTERVAL_S="60",
    )
    with running(settings) as health:
        wait_until(lambda: health.report().observed_at_s > 0)
        for _ in range(3):
            head = world.anvil.mine()
            wait_until(partial(is_mirrored, health, head.number))
    assert health.report().lag_blocks == 0
    named = {failure for _, failure in health.report().failures}
    assert named == ({NodeFailure.UNREACHABLE} if dead else set())


def test_run__heads_that_lead_nowhere__polling_mirrors(world: World, tmp_path: Path) -> None:
    settings = settings_for(world, tmp_path, HEADS_URL="ws://127.0.0.1:9", POLL_INTERVAL_S="0.05")
    with running(settings) as health:
        head = world.anvil.mine()
        wait_until(lambda: health.report().mirrored_number == head.number)
    assert health.report().failures.keys() == {("ws://127.0.0.1:9", NodeFailure.HEADS_LOST)}


def test_run__every_endpoint_on_another_chain__stops(world: World, tmp_path: Path) -> None:
    urls = f"{world.anvil.url} {world.anvil.url}/?again"
    settings = settings_for(world, tmp_path, chain_id=5, RPC_URL=urls)
    with pytest.raises(Fatal, match="no endpoint serves chain 5"):
        run(settings, threading.Event())


def test_settings__that_do_not_fit__refused_without_showing_them(
    world: World, tmp_path: Path
) -> None:
    refused: list[dict[str, Any]] = [
        {"RPC_URL": "ftp://secret"},
        {"RPC_URL": ""},
        {"RPC_URL": "http://secret http://secret"},
        {"RPC_QUORUM": "2"},
        {"HEADS_URL": "http://secret"},
    ]
    for changes in refused:
        with pytest.raises(SettingsInvalid) as caught:
            settings_for(world, tmp_path, **changes)
        assert "secret" not in str(caught.value)
    assert settings_for(world, tmp_path, HEADS_URL="").heads_url is None


def test_name_endpoints__same_host__told_apart_without_their_tokens() -> None:
    names = name_endpoints(["https://rpc.example/token", "https://rpc.example/other"])
    assert list(names.values()) == ["https://rpc.example/token", "https://rpc.example/other"]
    assert len(names) == 2
    assert not any("token" in name or "other" in name for name in names)
