"""How the chain's endpoints are: each asked now, and what a running indexer has seen of them."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Final
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from contracts.node_errors import NodeRefused, NodeUnavailable
from contracts.pool import SCOUT_LEAD
from contracts.reader import ChainReader
from contracts.transport import HttpTransport

PROBE_TIMEOUT_S: Final = 5.0
METRICS_TIMEOUT_S: Final = 2.0
SERVES: Final = "current_indexer_endpoint_serves"
FAILURES: Final = "current_indexer_node_failures_total"


@dataclass(frozen=True, slots=True)
class EndpointRecord:
    """What a running indexer has seen of one endpoint since it began."""

    serves: bool
    failures: Mapping[str, int] = field(default_factory=dict)
    """How often each failure happened, by its name in ``docs/indexer.md``."""


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """One endpoint; the figures are None where it gave no usable answer."""

    endpoint: str
    chain_id: int | None
    head_number: int | None
    lag_blocks: int | None
    """Blocks behind the highest head of the right chain."""
    answered_in_ms: int | None
    problem: str | None
    """What an operator has to look at; None where the endpoint is good."""
    seen: EndpointRecord | None
    """None where no running indexer was found, or where it does not know this endpoint."""


@dataclass(frozen=True, slots=True)
class _Probed:
    chain_id: int | None = None
    head_number: int | None = None
    answered_in_ms: int | None = None
    problem: str | None = None


def examine(
    endpoints: Mapping[str, str], *, chain_id: int, seen: Mapping[str, EndpointRecord]
) -> list[EndpointHealth]:
    """Ask every endpoint (its URL, by its name) at once; wait at most some seconds for each.

    ``seen`` is what ``load_seen`` returned.
    """
    with ThreadPoolExecutor(len(endpoints)) as pool:
        probed = dict(zip(endpoints, pool.map(_probe, endpoints.values()), strict=True))
    heads = [one.head_number or 0 for one in probed.values() if one.chain_id == chain_id]
    return [
        _judge(name, one, chain_id=chain_id, best=max(heads, default=0), seen=seen.get(name))
        for name, one in probed.items()
    ]


def _judge(
    name: str, probed: _Probed, *, chain_id: int, best: int, seen: EndpointRecord | None
) -> EndpointHealth:
    lag, problem = None, probed.problem
    if problem is None and probed.chain_id != chain_id:
        problem = f"serves chain {probed.chain_id}, and the deployment is on {chain_id}"
    elif probed.head_number is not None:
        lag = best - probed.head_number
        if lag > SCOUT_LEAD:
            problem = f"is {lag:,} blocks behind"
    return EndpointHealth(
        endpoint=name,
        chain_id=probed.chain_id,
        head_number=probed.head_number,
        lag_blocks=lag,
        answered_in_ms=probed.answered_in_ms,
        problem=problem,
        seen=seen,
    )


def _probe(url: str) -> _Probed:
    transport = HttpTransport(url, timeout_s=PROBE_TIMEOUT_S)
    reader = ChainReader(transport)
    try:
        chain_id = reader.fetch_chain_id()
        began_s = time.monotonic()  # the connection is open by now
        head = reader.fetch_head()
        took_ms = round((time.monotonic() - began_s) * 1_000)
        return _Probed(chain_id=chain_id, head_number=head.number, answered_in_ms=took_ms)
    except (NodeUnavailable, NodeRefused) as error:
        return _Probed(problem=f"{error.failure.value}: {str(error)[:200]}")
    finally:
        transport.close()


def load_seen(*, host: str, port: int) -> dict[str, EndpointRecord]:
    """Return what the indexer whose metrics are served there has seen, by endpoint.

    Empty where ``port`` is 0, where nothing answers or something else than an indexer does, and on
    standby: it has asked nobody.
    """
    if port == 0:
        return {}
    shown = f"[{host}]" if ":" in host else host
    try:
        with urlopen(f"http://{shown}:{port}/metrics", timeout=METRICS_TIMEOUT_S) as answer:
            return _read_seen(answer.read().decode())
    except (OSError, HTTPException, ValueError, KeyError):
        return {}


def _read_seen(text: str) -> dict[str, EndpointRecord]:
    """Return what metrics say. Raises ``ValueError``, ``KeyError`` where they are no indexer's."""
    serves: dict[str, bool] = {}
    failures: dict[str, dict[str, int]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == SERVES:
                serves[sample.labels["endpoint"]] = sample.value == 1
            elif sample.name == FAILURES:
                of_endpoint = failures.setdefault(sample.labels["endpoint"], {})
                of_endpoint[sample.labels["failure"]] = int(sample.value)
    return {
        name: EndpointRecord(is_asked, failures.get(name, {})) for name, is_asked in serves.items()
    }


def describe(health: EndpointHealth) -> str:
    """Return the line that an operator reads."""
    words = [health.endpoint + ":"]
    if health.head_number is not None:
        words.append(
            f"block {health.head_number:,}, {health.lag_blocks or 0:,} behind,"
            f" answered in {health.answered_in_ms} ms"
            if health.lag_blocks is not None
            else f"block {health.head_number:,}"
        )
    if health.problem is not None:
        words.append(f"[{health.problem}]")
    if health.seen is not None:
        words.append("; serves" if health.seen.serves else "; stands by")
        counts = ", ".join(f"{name} {count:,}" for name, count in health.seen.failures.items())
        words.append(f"; failures since the indexer began: {counts or 'none'}")
    return " ".join(words).replace(" ;", ";")
