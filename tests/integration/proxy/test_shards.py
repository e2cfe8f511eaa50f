"""A request stays with its position: every statement that one makes, read as the server got it.

A distributed PostgreSQL may keep a position's rows together. That works as long as a request finds
them by their keys, never looks through other positions' rows, and writes no table that all share.
The tables are those of ``docs/performance.md``, "What may be distributed".
"""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import Engine

from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import POSTGRES, Databases
from tests.support.plans import Plans, watched
from tests.support.postgres import needs_postgres
from tests.support.proxy import CHAT, RunningProxy, make_body, make_key, run_proxy, settings_for

DOCS: Final = Path(__file__).parents[3] / "docs" / "performance.md"
TABLES: Final = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE) (?!unnest)(\w+)")


def read_documented() -> tuple[dict[str, set[str]], set[str]]:
    """Return the columns that may name a position's rows, by table, and the shared tables."""
    text = DOCS.read_text(encoding="utf-8")
    section = text.partition("### What may be distributed")[2].partition("\n## ")[0]
    keys: dict[str, set[str]] = {}
    shared = set[str]()
    for line in section.splitlines():
        cells = [set(re.findall(r"`(\w+)`", cell)) for cell in line.split("|")[1:-1]]
        if len(cells) == 3 and cells[0]:
            for table in cells[0]:
                if cells[1]:
                    keys[table] = cells[1]
                else:
                    shared.add(table)
    return keys, shared


def find_mismatches(statement: str, keys: dict[str, set[str]], shared: set[str]) -> Iterator[str]:
    """Yield what a statement does that keeps its table from being distributed so."""
    touched = set(TABLES.findall(statement))
    owned = touched & keys.keys()
    if touched - owned - shared:
        yield f"a table that the documents do not name: {touched - owned - shared}"
    if len(owned) > 1:
        yield f"tables of positions joined: {owned}"
    if touched & shared and not statement.startswith("SELECT"):
        yield f"writes what all share: {touched & shared}"
    for table in owned:
        names = "|".join(sorted(keys[table]))
        where = rf"WHERE .*?\b(?:{table}\.)?(?:{names}) (?:=|IN) "
        row = rf"^INSERT INTO {table} \([^)]*\b(?:{names})\b"
        if not re.search(where, statement) and not re.search(row, statement):
            yield f"rows of {table} are not named by {names}"


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[Databases]:
    with Databases(POSTGRES, tmp_path) as databases:
        yield databases


@pytest.fixture
async def seen(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> AsyncIterator[tuple[RunningProxy, Plans]]:
    with watched(engine) as plans:
        async with run_proxy(settings_for(provider, tmp_path), engine) as running:
            yield running, plans


@needs_postgres
async def test_request__any_ending__is_of_one_position_and_writes_nothing_that_all_share(
    seen: tuple[RunningProxy, Plans], provider: FakeEndpoint
) -> None:
    proxy, plans = seen
    root = {"authorization": f"Bearer {make_key()}"}
    made = await proxy.client.post("/api/current/keys/children", json={}, headers=root)
    child = {"authorization": f"Bearer {made.json()['apiKey']}"}
    before = set(plans.by_statement)
    for key in (root, child):
        for stream in (False, True):
            headers = {**key, "idempotency-key": f"{key is root}-{stream}"}
            for _ in range(2):  # the second time it is repeated
                answer = await proxy.client.post(
                    CHAT, json=make_body(stream=stream), headers=headers
                )
                assert answer.status_code == 200, answer.text
    provider.behaviour = "status_500"
    assert (await proxy.client.post(CHAT, json=make_body(), headers=child)).status_code == 502

    keys, shared = read_documented()
    statements = [
        statement
        for statement in plans.by_statement.keys() - before
        # A process's own pulse is of no request.
        if TABLES.search(statement) and "lease_holder" not in statement
    ]
    found = {statement: list(find_mismatches(statement, keys, shared)) for statement in statements}
    assert {statement: wrong for statement, wrong in found.items() if wrong} == {}
    # What is looked through here is a whole request: reserved, posted, voided, counted, kept.
    written = {TABLES.findall(one)[0] for one in statements if not one.startswith("SELECT")}
    assert written == {"usage", "position", "child_key", "kept_answer"}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT usage.request_id FROM usage WHERE usage.state = 'reserved'",
        "SELECT position.owner FROM position JOIN usage ON position.token_id = usage.token_id"
        " WHERE usage.request_id = $1",
        "UPDATE mirror SET block_number = $1",
        "SELECT event.name FROM event WHERE event.token_id = $1",
    ],
)
def test_find_mismatches__crossing_statement__is_found(statement: str) -> None:
    assert list(find_mismatches(statement, *read_documented()))
