"""Nodes: each endpoint by itself, and all of them beside each other."""

import json
import time
from collections.abc import Iterator
from typing import Any, Final

from websockets.sync.client import connect
from websockets.sync.connection import Connection

from contracts.errors import CurrentError
from contracts.node_errors import NodeRefused, NodeUnavailable
from contracts.reader import ChainReader, mask_url
from scripts.doctor.examination import Finding, advise, bad, check, good, unknown
from scripts.doctor.patient import Absent, Patient

LAG_BLOCKS_MAX: Final = 5
ANSWER_TIMEOUT_S: Final = 5.0
"""How long an endpoint of heads has for an answer, whatever it says meanwhile."""
HEAD_AGE_S_MAX: Final = 120
"""Every chain that Current runs on makes a block in far less."""
FUTURE_S_MAX: Final = 30
BATCH: Final = 10
HISTORY_BLOCKS: Final = 100
"""Within so many blocks of its first one, every deployment has logs: its rights are given there."""
OTHER: Final = "use another endpoint, or mend this one"


def _name(patient: Patient, url: str) -> str:
    return f"{mask_url(url)} ({', '.join(patient.endpoints[url])})"


def _setting(patient: Patient, url: str) -> str:
    return f"{patient.endpoints[url][0].upper()}_RPC_URL"


def _answering(patient: Patient) -> Iterator[tuple[str, ChainReader]]:
    """Yield the endpoints that serve the right chain; ``rpc.chain`` tells of the others."""
    for url, reader in patient.readers.items():
        try:
            if reader.fetch_chain_id() == patient.deployment.chain_id:
                yield url, reader
        except CurrentError:
            continue


@check("rpc.chain")
def check_chain_ids(patient: Patient) -> Iterator[Finding]:
    """Every endpoint answers and serves the deployment's chain."""
    chain_id = patient.deployment.chain_id
    for url, reader in patient.readers.items():
        name, setting = _name(patient, url), _setting(patient, url)
        try:
            served = reader.fetch_chain_id()
        except CurrentError as error:
            yield bad(name, f"does not answer: {error}", f"{setting}=<an endpoint that answers>")
            continue
        if served != chain_id:
            yield bad(
                name,
                f"serves chain {served}, and the deployment is on {chain_id}",
                f"{setting}=<an endpoint of chain {chain_id}>",
            )
        else:
            yield good(name, f"serves chain {chain_id}")


@check("rpc.lag")
def check_lag(patient: Patient) -> Iterator[Finding]:
    """Every endpoint is at the head, as far as the others and the clock know it."""
    heads = {url: reader.fetch_head() for url, reader in _answering(patient)}
    newest = max((head.number for head in heads.values()), default=0)
    for url, head in heads.items():
        name, age_s = _name(patient, url), patient.now() - head.timestamp_s
        if newest - head.number > LAG_BLOCKS_MAX:
            yield bad(name, f"is {newest - head.number} blocks behind the best endpoint", OTHER)
        elif age_s > HEAD_AGE_S_MAX:
            says = (
                f"its newest block is {age_s:.0f} s old: chain or node stands, or this host's clock"
            )
            yield bad(name, f"{says} is ahead", OTHER)
        elif age_s < -FUTURE_S_MAX:
            yield bad(
                name,
                f"its newest block is {-age_s:.0f} s in the future: this host's clock is behind",
                "set the clock: timedatectl set-ntp true",
            )
        else:
            yield good(name, f"is at block {head.number}, {max(age_s, 0):.0f} s old")


@check("rpc.limits")
def check_limits(patient: Patient) -> Iterator[Finding]:
    """An endpoint takes ranges of logs and batches as long as they are asked for."""
    span = patient.indexer.range_blocks_max if "indexer" in patient.settings else 1
    for url, reader in _answering(patient):
        name, head = _name(patient, url), reader.fetch_head().number
        if "indexer" in patient.endpoints[url]:
            first = max(patient.deployment.block_number, head - span + 1)
            try:
                reader.transport.request("eth_getLogs", [_query(patient, first, head)])
            except (NodeRefused, NodeUnavailable) as error:
                yield advise(
                    name,
                    f"refuses {head - first + 1} blocks of logs at once ({error}): a backfill asks"
                    " again and again with less",
                    f"INDEXER_RANGE_BLOCKS_MAX={max(1, span // 10)}, or another endpoint",
                )
        calls: list[tuple[str, list[Any]]] = [
            ("eth_getBlockByNumber", [hex(max(0, head - number)), False]) for number in range(BATCH)
        ]
        answers = reader.transport.request_batch(calls)
        refused = [one for one in answers if isinstance(one, NodeUnavailable | NodeRefused)]
        if refused:
            yield advise(
                name,
                f"answered {len(refused)} of {BATCH} requests at once with an error ({refused[0]})",
                "a plan with a higher rate, or another endpoint",
            )
        else:
            yield good(name, f"answers {BATCH} requests at once")


@check("rpc.archive")
def check_archive(patient: Patient) -> Iterator[Finding]:
    """An endpoint shows the deployment's first block and its logs: what a rebuild reads."""
    first = patient.deployment.block_number
    for url, reader in _answering(patient):
        name = _name(patient, url)
        header = reader.fetch_header(first)
        if header is None:
            yield bad(
                name,
                f"does not show block {first}, the deployment's first",
                "use an endpoint with the whole history for INDEXER_RPC_URL",
            )
            continue
        if header.block_hash != patient.deployment.block_hash:
            yield bad(
                name,
                f"its block {first} is {header.block_hash[:12]}…, the record says"
                f" {patient.deployment.block_hash[:12]}…: another chain with the same id",
                "use the record of this chain: …_DEPLOYMENT_FILE",
            )
            continue
        last = min(first + HISTORY_BLOCKS, reader.fetch_head().number)
        logs = reader.transport.request("eth_getLogs", [_query(patient, first, last)])
        if not logs:
            yield bad(
                name,
                f"shows no logs of blocks {first} to {last}, where the contracts were deployed:"
                " its history is pruned, and a rebuild would lose positions",
                "use an endpoint with the whole history for INDEXER_RPC_URL",
            )
        else:
            yield good(name, f"shows logs from block {first} on")


@check("rpc.state")
def check_state(patient: Patient) -> Iterator[Finding]:
    """The keeper's endpoints show the state of as many blocks back as it reads."""
    back = patient.keeper.give_up_blocks
    address = patient.deployment.position
    for url, reader in _answering(patient):
        if "keeper" not in patient.endpoints[url]:
            continue
        number = max(patient.deployment.block_number, reader.fetch_head().number - back)
        name = _name(patient, url)
        try:
            reader.transport.request("eth_getBalance", [address, hex(number)])
        except (NodeRefused, NodeUnavailable) as error:
            says = f"does not show the state of {back} blocks ago ({error})"
            yield bad(name, says, f"KEEPER_RPC_URL=<an endpoint that keeps {back} blocks of state>")
        else:
            yield good(name, f"shows the state of {back} blocks ago")


@check("rpc.heads")
def check_heads(patient: Patient) -> Iterator[Finding]:
    """The endpoint that tells of new blocks takes a subscription."""
    url = patient.indexer.heads_url
    if url is None:
        yield advise(
            "heads",
            "new blocks are polled for: revocations reach the proxy up to"
            f" {patient.indexer.poll_interval_s} s later",
            "INDEXER_HEADS_URL=wss://…",
        )
        return
    text = url.get_secret_value()
    asked = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
    try:
        with connect(text, open_timeout=5, close_timeout=1) as socket:
            socket.send(json.dumps(asked))
            answer = json.loads(socket.recv(timeout=5))
            socket.send(json.dumps({**asked, "id": 2, "method": "eth_chainId", "params": []}))
            served = _read_chain_id(_read_answer(socket, 2))
    except Exception as error:
        says = f"takes no subscription: {type(error).__name__}"
        yield bad(mask_url(text), says, "INDEXER_HEADS_URL=<a WebSocket endpoint>")
        return
    chain_id = patient.deployment.chain_id
    if "result" in answer and served not in (None, chain_id):
        says = f"tells of new blocks of chain {served}, the deployment is on {chain_id}"
        yield bad(mask_url(text), says, f"INDEXER_HEADS_URL=<an endpoint of chain {chain_id}>")
    elif "result" in answer:
        yield good(mask_url(text), "tells of new blocks")
    else:
        yield bad(
            mask_url(text),
            f"refuses eth_subscribe: {str(answer.get('error'))[:200]}",
            "INDEXER_HEADS_URL=<an endpoint with eth_subscribe>",
        )


def _read_chain_id(answer: Any) -> int | None:
    """Return the number of a chain; None where the call was refused. Raises ``ValueError``."""
    return None if answer is None else int(str(answer), 16)


def _read_answer(socket: Connection, number: int) -> Any:
    """Return a call's result, past what was subscribed to; None where it is refused."""
    ends_s = time.monotonic() + ANSWER_TIMEOUT_S
    while True:
        said = json.loads(socket.recv(timeout=max(0.0, ends_s - time.monotonic())))
        if said.get("id") == number:
            return said.get("result")


@check("rpc.providers")
def check_providers(patient: Patient) -> Iterator[Finding]:
    """The keeper's endpoints are of different providers: one that fails takes no other with it."""
    hosts = {mask_url(url) for url in patient.keeper.rpc_urls()}
    if len(hosts) < len(patient.keeper.rpc_urls()):
        yield advise(
            "keeper",
            "two of its endpoints are of one host: they fail, and lie, together",
            "KEEPER_RPC_URL='<provider A> <provider B> <provider C>'",
        )
    if not list(_answering(patient)):
        yield unknown("rpc", "no endpoint answers", "see rpc.chain")
        raise Absent("rpc")


def _query(patient: Patient, first: int, last: int) -> dict[str, Any]:
    record = patient.deployment
    addresses = [record.position, record.adapter, record.payouts]
    return {"fromBlock": hex(first), "toBlock": hex(last), "address": addresses}
