"""What holds for all tests: the folder gives the marker, and Ape is there only for `contract`."""

import os
import time
import zlib
from collections import Counter
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.support.examples import examples
from tests.support.folders import own_folder
from tests.support.postgres import close_shared_server
from tests.support.statements import share_compiled_statements

# `tmp_path` is made below it. The workers of a run inherit the folder from the run's first process.
if "PYTEST_DEBUG_TEMPROOT" not in os.environ:
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(own_folder())

# A busy machine only makes an example slower: how long one takes is never what a property is about,
# nor how many were drawn in vain or grew too long before enough had fitted.
settings.register_profile(
    "current",
    deadline=None,
    max_examples=examples(100),
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
    ],
)
settings.load_profile("current")

# A traceback with all values of all frames takes minutes to draw, and its server stands still then.
_renderer = structlog.dev.ConsoleRenderer(
    colors=False, exception_formatter=structlog.dev.plain_traceback
)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _renderer])

share_compiled_statements()

HERE = Path(__file__).resolve().parent
FOLDERS = ("unit", "contract", "integration", "property", "e2e", "bench")
BOTH_KINDS = frozenset({"sqlite", "postgresql"})
LONGEST_FIRST = ("bench", "e2e", "property", "integration", "contract", "unit")
MIDNIGHT_S = 90.0
DAY_S = 86_400


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(HERE).parts[0]
        if folder in FOLDERS:
            item.add_marker(folder)
    _sample(items)
    _alternate(items)
    # Files are handed out whole: one that takes minutes must not be the last that is begun.
    items.sort(key=lambda item: LONGEST_FIRST.index(item.path.relative_to(HERE).parts[0]))
    needs_ape = any(item.get_closest_marker("contract") for item in items)
    # Ape's plugin starts a chain for whatever it finds collected, so it is off by default.
    if needs_ape and not config.pluginmanager.has_plugin("ape-test"):
        raise pytest.UsageError("the contract tests need Ape: pytest -p ape_test tests/contract")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a long text by its argument. It may hold a nonce or the time, and every worker must give
    a test the same name."""
    return argname if isinstance(val, str | bytes) and len(val) > 100 else None


def _sample(items: list[pytest.Item]) -> None:
    """Keep each n-th case of a ``sampled(n)`` test among the quick ones; the others are slow.

    ``first`` is the number of the first that is kept, 0 unless told otherwise, so that tests over
    the same cases keep different ones.
    """
    seen: Counter[str] = Counter()
    for item in items:
        marker = item.get_closest_marker("sampled")
        if marker is not None:
            name = item.nodeid.partition("[")[0]
            if seen[name] % int(marker.args[0]) != marker.kwargs.get("first", 0):
                item.add_marker("slow")
            seen[name] += 1


def _alternate(items: list[pytest.Item]) -> None:
    """Run what runs on both databases on one of them quickly, on the other among the slow tests.

    Which of them is quick changes from test to test, and is always the same for a test. The
    ledger's own tests are not concerned: there the database is what is tested.
    """
    kinds: dict[str, dict[str, pytest.Item]] = {}
    for item in items:
        test, _, case = item.nodeid.partition("[")
        if not case or item.path.is_relative_to(HERE / "integration" / "ledger"):
            continue
        words = case.rstrip("]").split("-")
        for kind in BOTH_KINDS.intersection(words):
            words[words.index(kind)] = ""
            kinds.setdefault(f"{test}[{'-'.join(words)}", {})[kind] = item
    for name, of_kind in kinds.items():
        if len(of_kind) == len(BOTH_KINDS):
            slow = sorted(BOTH_KINDS)[zlib.crc32(name.encode()) % len(BOTH_KINDS)]
            of_kind[slow].add_marker("slow")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    # Settlements, caps and reports go by UTC days: none may turn in the middle of a test.
    left_s = DAY_S - time.time() % DAY_S
    if left_s < MIDNIGHT_S:
        time.sleep(left_s)


def pytest_unconfigure() -> None:
    close_shared_server()
