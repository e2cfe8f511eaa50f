"""The layout is the architecture: what `pyproject.toml` and `docs/` say of modules is so.

::

    import rules      what ``lint-imports`` checks
    pure modules      each says so in its docstring, and the import rules hold each to it
    names             a module's stem stands in two rooms only where it means one thing, and so
                      does a class's name in two modules
    wall clock        a host's own decides nothing: the modules that read it say what for
    mentions          every module that a docstring or comment names exists
"""

import ast
import re
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from importlinter.cli import lint_imports

ROOT: Final = Path(__file__).resolve().parents[2]
ROOMS: Final = (
    "contracts",
    "indexer",
    "keeper",
    "ledger",
    "market",
    "proxy",
    "scripts",
    "serving",
)
_PURE: Final = re.compile(r"\bPure[.;]")
_NAMED: Final = re.compile(
    rf"``((?:{'|'.join(ROOMS)}|tests|bench)(?:\.(?!md\b)[A-Za-z_]\w*)+)(?:\(\))?``"
)
_WALL_CLOCK: Final = re.compile(r"\btime\.time(?:_ns)?\b|\bdatetime\.(?:now|utcnow|today)\b")
_PATH: Final = re.compile(rf"\b((?:{'|'.join(ROOMS)}|tests|bench)/[\w/]+\.(?:py|vy|md|toml))\b")

SHARED_STEMS: Final = {
    "app": "the composition of a server from its services and routes",
    "audit": "the invariants of the ledger: the check, and the command that runs it",
    "authentication": "who asks, by the key of a request",
    "background": "work beside the requests, while a server runs",
    "batches": "settlement batches: on chain, in the ledger",
    "bodies": "the bodies of requests, read within bounds",
    "callers": "who asks as a supplier, by a session or a key",
    "chain": "what is read of the chain, and its rows",
    "commands": "a room's commands, with their arguments and help",
    "dependencies": "what a route asks FastAPI for",
    "errors": "the errors that a room raises",
    "front": "the outermost layer of a server",
    "health": "what is known of whether an endpoint works: a node, or an offer",
    "jobs": "media jobs",
    "keys": "API keys",
    "main": "the composition root of a process",
    "metering": "reserve, post and void of what a request costs",
    "metrics": "the metrics of a process",
    "offers": "what sellers sell",
    "operator": "what an operator does at the command line",
    "own_providers": "a buyer's own providers",
    "positions": "yield positions",
    "prices": "what models and media cost",
    "rests": "how long what failed is left alone",
    "routes": "HTTP routes",
    "schemas": "requests and answers as OpenAPI has them",
    "services": "what the routes of a server share",
    "settings": "the settings of a process",
    "store": "what a server reads from the ledger",
    "upstream": "asking a provider",
    "usage": "what requests used",
    "wallet_sessions": "browsers in which a wallet is signed in",
    "x402": "payments by x402",
}
"""The stems that may stand in more than one room, and the one thing that each means there."""

SHARED_CLASSES: Final = {
    "CompletionRequest": "the body of a completion, as each server's document names it",
    "Deployment": "the contracts of one chain: as recorded, and as the ledger mirrors them",
    "Health": "what is known of whether an endpoint works: a node, or an offer",
    "HealthReport": "a moment of ``Health``",
    "KeyIssued": "a new API key, shown once, as each server's document names it",
    "Metrics": "the metrics of a process",
    "ModelEntry": "a model in a list, as each server's document names it",
    "NewOffer": "an offer to be listed: as its seller sends it, and as it is stored",
    "NewProvider": "an own provider to be listed: as its buyer sends it, and as it is stored",
    "PayoutItem": "one payout in a batch: as it is planned, and as it is stored",
    "Readiness": "whether a server lets requests through, as each document names it",
    "Services": "what the routes of a server share",
    "SessionView": "a signed-in session, as each server's document names it",
    "TokenDomain": "what signatures over a token's authorizations are bound to",
    "Usage": "what a request used: as it is stored, and as an answer states it",
}
"""The classes whose names may stand in more than one module, and what each means there."""


WALL_CLOCKS: Final = {
    "indexer.health": "until the indexer's own clock is there",
    "keeper.daemon": "the scheduler's first round: now",
    "ledger.database.clock": "the ledger's clock, which compares this host's with the database's",
    "ledger.running": "what the ledger's clock is given as this host's",
    "market.app": "what the ledger's clock is given as this host's",
    "market.resale.api_client": "an API's dates are read as its own clock has them",
    "proxy.app": "what the ledger's clock is given as this host's",
    "serving.http.security_text": "until when what it says is good",
    "serving.models.upstream": "a provider's dates are read as its own clock has them",
    "serving.process.ids": "ids sort by it, and mean nothing else",
    "serving.process.logs": "lines of a log",
}
"""The modules that read this host's wall clock, and what for; the ledger's decides all else."""


@cache
def modules() -> dict[str, Path]:
    """Return every module of the rooms, by its dotted name."""
    paths = (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}


def docstring_of(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def enforced_as_pure() -> set[str]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (rule,) = (
        contract
        for contract in config["tool"]["importlinter"]["contracts"]
        if contract["name"].startswith("Pure modules")
    )
    return set(rule["source_modules"])


def test_import_rules__all__are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    exit_status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)

    assert exit_status == 0, capsys.readouterr().out


def test_pure_modules__each_says_so_and_is_held_to_it() -> None:
    said = {name for name, path in modules().items() if _PURE.search(docstring_of(path))}

    unenforced = [f'    "{name}",' for name in sorted(said - enforced_as_pure())]
    silent = sorted(enforced_as_pure() - said)
    assert not unenforced, "add to the pure modules of pyproject.toml:\n" + "\n".join(unenforced)
    assert not silent, "the docstring does not end with 'Pure.', but pyproject.toml says it is"


def test_names__in_two_rooms__mean_one_thing() -> None:
    rooms: dict[str, set[str]] = defaultdict(set)
    for name in modules():
        room, *_, stem = name.split(".")
        if not stem.startswith("__"):
            rooms[stem].add(room)

    shared = {stem for stem, found in rooms.items() if len(found) > 1}
    unknown = {stem: sorted(rooms[stem]) for stem in sorted(shared - SHARED_STEMS.keys())}
    assert not unknown, "rename all but one, or say in SHARED_STEMS what each means"
    alone = sorted(SHARED_STEMS.keys() - shared)
    assert not alone, "stands in one room now: take it from SHARED_STEMS"


def test_names__of_classes_in_two_modules__mean_one_thing() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for name, path in modules().items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name)

    shared = {name for name, found in places.items() if len(found) > 1}
    unknown = {name: places[name] for name in sorted(shared - SHARED_CLASSES.keys())}
    assert not unknown, "rename all but one, or say in SHARED_CLASSES what each means"
    alone = sorted(SHARED_CLASSES.keys() - shared)
    assert not alone, "stands in one module now: take it from SHARED_CLASSES"


def test_wall_clock__of_this_host__is_read_only_where_it_decides_nothing() -> None:
    found = {
        name
        for name, path in modules().items()
        if not name.startswith("scripts") and _WALL_CLOCK.search(path.read_text(encoding="utf-8"))
    }

    assert found == WALL_CLOCKS.keys(), "ask the ledger's clock: ledger.database.clock"


def sources() -> list[Path]:
    return [
        path
        for folder in (*ROOMS, "tests", "bench")
        for pattern in ("*.py", "*.vy", "*.vyi")
        for path in (ROOT / folder).rglob(pattern)
        if "node_modules" not in path.parts
    ]


def is_there(dotted: str) -> bool:
    """Tell whether a module has this name, or one that is a part of it has the rest inside."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:end])
        file = path.with_suffix(".py")
        if file.is_file():
            return end == len(parts) or parts[end] in file.read_text(encoding="utf-8")
        if path.is_dir():
            return end == len(parts)
    return False


def test_mentions__of_modules_and_files__are_of_what_is_there() -> None:
    gone = []
    for path in sources():
        text = path.read_text(encoding="utf-8")
        named = [name for name in _NAMED.findall(text) if not is_there(name)]
        named += [name for name in _PATH.findall(text) if not (ROOT / name).exists()]
        gone += [f"{path.relative_to(ROOT)}: {name}" for name in named]

    assert not gone, "\n".join(gone)
