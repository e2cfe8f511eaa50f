"""The endpoints' health, in the metrics of a running indexer and by ``current indexer endpoints``.

::

    pool: who is asked, who rests, which head each has shown; with a quorum all are asked
    metrics: of a dead endpoint and a good one, who serves, lag, rest, failures by kind
    current indexer endpoints
    ├── beside a running indexer: also who serves it, and what each did wrong
    ├── alone: says that no indexer was asked; 0 where all are good
    ├── an endpoint behind the others: named, with the blocks; 1
    └── an endpoint of another chain: named; its head does not count
    what a running indexer has seen: nothing, where another service listens there
"""

import json
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from contracts.pool import SCOUT_S, ChainPool
from contracts.pool_endpoint import EndpointState
from contracts.transport import HttpTransport
from indexer.endpoint_health import EndpointHealth, EndpointRecord, examine, load_seen
from indexer.health import Health
from indexer.metrics import serve_metrics
from indexer.settings import IndexerSettings
from scripts.stack.ports import free_port
from tests.support.anvil import CHAIN_ID, Anvil
from tests.support.deploy import World
from tests.support.forking import run_command
from tests.support.mirroring import make_environment, running
from tests.support.waiting import wait_until

BEGAN_S = 1_700_000_000


@pytest.fixture(scope="module")
def behind_and_ahead() -> Iterator[tuple[str, str]]:
    """Return the URLs of two nodes of one chain, the second seven blocks ahead."""
    # Of one first block: nodes that begin in two different seconds would have two.
    with Anvil(timestamp_s=BEGAN_S) as behind, Anvil(timestamp_s=BEGAN_S) as ahead:
        ahead.mine(7)
        yield behind.url, ahead.url


def run_endpoints(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Run ``current indexer endpoints``; return its exit code and all that it said."""
    whole = {**os.environ, **environment}
    done = run_command("indexer", "endpoints", *arguments, environment=whole)
    return done.returncode, done.stdout + done.stderr


def test_pool__endpoint_behind__leaves_the_first_place_and_rests(
    behind_and_ahead: tuple[str, str],
) -> None:
    started_s, ticks = time.monotonic(), [0.0]
    behind, ahead = (HttpTransport(url) for url in behind_and_ahead)
    pool = ChainPool(
        {"behind": behind, "ahead": ahead}, chain_id=CHAIN_ID, clock=lambda: started_s + ticks[0]
    )
    try:
        pool.fetch_head()
        assert pool.list_states() == [
            EndpointState("behind", serves=True, head_number=0, rests_for_s=0.0),
            EndpointState("ahead", serves=False, head_number=None, rests_for_s=0.0),
        ]

        ticks[0] = SCOUT_S
        wait_until(lambda: pool.fetch_head().number == 7)

        late, first = pool.list_states()
        assert (late.serves, late.head_number) == (False, 0)
        assert late.rests_for_s > 0
        assert first == EndpointState("ahead", serves=True, head_number=7, rests_for_s=0.0)
    finally:
        pool.close()
        behind.close()
        ahead.close()


def test_pool__with_a_quorum__every_endpoint_serves_and_shows_its_head(
    behind_and_ahead: tuple[str, str],
) -> None:
    transports = {str(index): HttpTransport(url) for index, url in enumerate(behind_and_ahead)}
    pool = ChainPool(transports, chain_id=CHAIN_ID, quorum=2)
    try:
        assert pool.fetch_head().number == 0  # the newest that both have
        assert [(one.serves, one.head_number) for one in pool.list_states()] == [
            (True, 0),
            (True, 7),
        ]
    finally:
        pool.close()
        for transport in transports.values():
            transport.close()


def test_endpoints__running_indexer_with_a_dead_one__who_serves_and_what_failed(
    world: World, tmp_path: Path
) -> None:
    port, dead = free_port(), f"http://127.0.0.1:{free_port()}"
    environment = make_environment(
        world, tmp_path, RPC_URL=f"{dead} {world.anvil.url}", METRICS_PORT=str(port)
    )
    with running(IndexerSettings.from_environment(environment)) as health:
        wait_until(lambda: health.report().is_leader and health.report().observed_at_s > 0)
        seen = load_seen(host="127.0.0.1", port=port)
        code, said = run_endpoints(environment)
        _, lines = run_endpoints(environment, "--json")

    head = world.anvil.head().number
    assert seen[world.anvil.url] == EndpointRecord(serves=True, failures={})
    assert not seen[dead].serves
    assert set(seen[dead].failures) == {"unreachable"}
    assert code == 1
    broken, good = said.splitlines()
    assert broken.startswith(f"{dead}: [unreachable: ")
    assert "; stands by; failures since the indexer began: unreachable " in broken
    assert good.startswith(f"{world.anvil.url}: block {head:,}, 0 behind, answered in ")
    assert good.endswith(" ms; serves; failures since the indexer began: none")
    shown = [json.loads(line) for line in lines.splitlines()]
    assert [(one["endpoint"], one["head_number"]) for one in shown] == [
        (dead, None),
        (world.anvil.url, head),
    ]


def test_endpoints__no_indexer_and_all_good__says_so_and_exits_0(
    world: World, tmp_path: Path
) -> None:
    code, said = run_endpoints(make_environment(world, tmp_path))

    assert code == 0
    assert said.splitlines()[1:] == [
        "no running indexer was asked: see INDEXER_METRICS_PORT in docs/settings.md"
    ]


def test_examine__endpoint_behind__named_with_its_blocks(
    behind_and_ahead: tuple[str, str],
) -> None:
    behind, ahead = examine(
        dict(zip(("behind", "ahead"), behind_and_ahead, strict=True)), chain_id=CHAIN_ID, seen={}
    )

    assert (behind.lag_blocks, behind.problem) == (7, "is 7 blocks behind")
    assert (ahead.lag_blocks, ahead.problem) == (0, None)


def test_examine__endpoint_of_another_chain__its_head_does_not_count(
    behind_and_ahead: tuple[str, str],
) -> None:
    (other,) = examine({"node": behind_and_ahead[1]}, chain_id=8453, seen={})

    assert other == EndpointHealth(
        endpoint="node",
        chain_id=CHAIN_ID,
        head_number=7,
        lag_blocks=None,
        answered_in_ms=other.answered_in_ms,
        problem=f"serves chain {CHAIN_ID}, and the deployment is on 8453",
        seen=None,
    )


def test_metrics__endpoints__lag_unknown_until_a_head_was_shown() -> None:
    health, port = Health(), free_port()
    states = [
        EndpointState("first", serves=True, head_number=90, rests_for_s=0.0),
        EndpointState("late", serves=False, head_number=84, rests_for_s=0.5),
        EndpointState("silent", serves=False, head_number=None, rests_for_s=30.0),
    ]
    health.watch_endpoints(lambda: states)
    close = serve_metrics(health, host="127.0.0.1", port=port)
    try:
        seen = load_seen(host="127.0.0.1", port=port)
        lags = health.report().endpoint_lags
        shown = read_gauges(port)
    finally:
        close()

    assert {name: one.serves for name, one in seen.items()} == {
        "first": True,
        "late": False,
        "silent": False,
    }
    assert lags == {"first": 0, "late": 6, "silent": None}
    assert shown["lag_blocks", "late"] == 6
    assert math.isnan(shown["lag_blocks", "silent"])
    assert shown["rest_seconds", "silent"] == 30


def read_gauges(port: int) -> dict[tuple[str, str], float]:
    """Return the endpoints' gauges by the end of their name and the endpoint."""
    prefix = "current_indexer_endpoint_"
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    return {
        (sample.name.removeprefix(prefix), sample.labels["endpoint"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(prefix)
    }


@pytest.mark.parametrize(
    "said",
    [
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe",
        b"HTTP/1.1 200 OK\r\n\r\n<html>it works</html>",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nshort",
    ],
)
def test_seen__another_service_listens_there__no_indexer(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4_096)
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            seen = load_seen(host="127.0.0.1", port=server.getsockname()[1])
        finally:
            thread.join()

    assert seen == {}
