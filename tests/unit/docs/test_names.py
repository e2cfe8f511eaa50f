"""What the documents name exists, and what exists is named: nothing of either is forgotten.

::

    routes, metrics with their labels, alarms, exit codes, invariants, processes
    ├── named in a document, not in the code: the test names it
    └── in the code, not in a document: the test names it
    settings: each that is named exists (docs/settings.md is generated from them)
"""

import re

import pytest
from prometheus_client.metrics_core import Metric

from indexer.health import Health
from indexer.metrics import build_registry
from keeper.alarms import NAMES as ALARMS
from keeper.metrics import KeeperMetrics
from market.metrics import Metrics as MarketMetrics
from proxy.mcp_door import MCP_PATH
from proxy.metrics import Metrics as ProxyMetrics
from scripts.export_settings import CLASSES, list_settings
from scripts.stack.anvil_path import ROOT
from serving.http.security_text import PATH as SECURITY_TEXT_PATH
from serving.http.text_pages import FULL_PATH, INDEX_PATH
from serving.process.exit_codes import ExitCode
from tests.support.documents import (
    Document,
    expand_range,
    find_document,
    find_metrics,
    find_routes,
    find_settings,
    first_cells,
    load_documents,
    normalize_path,
)
from tests.support.openapi import get_market_document, get_proxy_document

DOCUMENTS = [pytest.param(document, id=document.name) for document in load_documents()]
PROXY_PREFIX = "/api/current"
"""docs/api.md leaves it out."""


def get_routes() -> set[tuple[str, str]]:
    """Return each method and path of both servers, parameters as ``{}``."""
    routes = {("GET", SECURITY_TEXT_PATH), ("POST", MCP_PATH)}
    routes |= {("GET", path) for path in (INDEX_PATH, FULL_PATH, "/docs/{}.md")}
    for document in (get_market_document(), get_proxy_document()):
        for path, operations in document.written["paths"].items():
            routes |= {(method.upper(), normalize_path(path)) for method in operations}
    return routes


def test_routes__named__exist() -> None:
    routes = get_routes()
    unknown = [
        f"{document.name}: {method} {path}"
        for document in load_documents()
        for method, path in find_routes(document)
        if not {(method, path), (method, PROXY_PREFIX + path)} & routes
    ]

    assert unknown == []


def test_routes__existing__are_named() -> None:
    named = {
        (method, prefix + path)
        for document in load_documents()
        for method, path in find_routes(document)
        for prefix in ("", PROXY_PREFIX)
    }

    assert sorted(get_routes() - named) == []


def get_metrics() -> dict[str, frozenset[str] | None]:
    """Return the labels of each metric by its name; None where it has no value before its first."""
    registries = (
        build_registry(Health()),
        KeeperMetrics().registry,
        MarketMetrics().registry,
        ProxyMetrics().registry,
    )
    return {
        _exported_name(metric): _find_labels(metric)
        for registry in registries
        for metric in registry.collect()
    }


def _exported_name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def _find_labels(metric: Metric) -> frozenset[str] | None:
    for sample in metric.samples:
        return frozenset(sample.labels) - {"le"}
    return None


def test_metrics__named__exist_with_the_labels_that_are_named() -> None:
    metrics = get_metrics()
    wrong = [
        (document.name, name, sorted(labels))
        for document in load_documents()
        for name, labels in find_metrics(document)
        if name not in metrics or not labels <= (metrics[name] or labels)
    ]

    assert wrong == []


def test_metrics__existing__are_named() -> None:
    named = {name for document in load_documents() for name, _ in find_metrics(document)}

    assert sorted(set(get_metrics()) - named) == []


def test_alarms__table__has_each_and_no_other() -> None:
    table = find_document("docs/operations.md").section("Keeper: metrics and alarms")

    named = [name for name in first_cells(table) if not name.startswith("current_")]
    assert named == list(ALARMS)


def test_exit_codes__table__has_each_and_no_other() -> None:
    section = find_document("docs/operations.md").section("Exit codes")
    documented = [int(code) for code in re.findall(r"^\| (\d+) \|", section, re.M)]

    assert documented == [code.value for code in ExitCode]


def test_invariants_of_contracts__security_page__says_the_ranges_that_the_sources_number() -> None:
    sources = [path.read_text() for path in sorted((ROOT / "contracts").glob("*.vy"))]
    numbered = set(re.findall(r"^ {4,6}([PAY]\d)  ", "\n".join(sources), re.M))
    ranges = re.findall(r"\b([PAY]\d)\u2013([PAY]\d)\b", find_document("docs/security.md").text)

    assert {name for bounds in ranges for name in expand_range(*bounds)} == numbered


def test_invariants_of_the_ledger__page__has_each_that_the_audit_finds_and_those_of_tests() -> None:
    paths = [*(ROOT / "ledger").rglob("*.py"), ROOT / "scripts" / "audit.py"]
    found = set(re.findall(r"\bViolation\(\s*\"(L\d)\"", "".join(p.read_text() for p in paths)))
    page = find_document("docs/ledger.md")
    documented = re.findall(r"^\| \*\*(L\d)\*\* \|", page.section("Invariants"), re.M)

    assert documented == expand_range("L1", documented[-1])
    # No row can show L2 afterwards: the page says so, and that a test does.
    assert set(documented) == found | {"L2"}


def test_processes__each__is_in_the_readme_and_among_an_operators_parts() -> None:
    processes = sorted(path.parent.name for path in ROOT.glob("*/__main__.py"))
    parts = first_cells(find_document("docs/operations.md").section("Parts"))
    house = find_document("README.md").section("The house")
    numbers = {3: "Three", 4: "Four", 5: "Five", 6: "Six"}

    assert sorted(part.removeprefix("current ") for part in parts) == processes
    assert sorted(re.findall(r"^\| \[(\w+)/\].*`current \w+", house, re.M)) == processes
    assert f"{numbers[len(processes)]} processes" in house


@pytest.mark.parametrize("document", DOCUMENTS)
def test_settings__named__exist(document: Document) -> None:
    names = {name for settings in CLASSES.values() for name, _ in list_settings(settings)}

    assert {name for name in find_settings(document) if name.removesuffix("_FILE") not in names} - (
        names
    ) == set()
