"""Third parties' contracts from npm, for the gas bench and for the contract tests.

``bench/package-lock.json`` names them. They are compiled when a bench or a test first asks, and
again only when the lock, ``bench/peers.cjs`` or one of its sources has changed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.install import npm_stage, prepare
from scripts.setup import Stage, run_visibly
from scripts.stack.anvil_path import ROOT

BENCH: Final = ROOT / "bench"
COLLECTED: Final = ROOT / ".cache" / "peers" / "peers.json"
_SCRIPT: Final = BENCH / "peers.cjs"


@dataclass(frozen=True, slots=True)
class Code:
    """A compiled contract: what creates it, but of Permit2 the code as it lies on chain."""

    abi: list[dict[str, Any]]
    bytecode: str


@dataclass(frozen=True, slots=True)
class Peer:
    """One package's contracts by name."""

    version: str
    codes: dict[str, Code]


@dataclass(frozen=True, slots=True)
class Peers:
    """All packages by the name of their makers, and why some are missing."""

    settings: dict[str, Any]  # of the compiler
    found: dict[str, Peer]
    failures: dict[str, str]


def load_peers() -> Peers:
    """Return the peers, installed and compiled if they are not yet.

    Raises ``BenchError`` where npm or the compiler cannot be run.
    """
    sources = sorted((BENCH / "contracts").glob("*.sol"))
    collect = Stage(
        stamp=COLLECTED.with_name(".stamp"),
        inputs=[BENCH / "package-lock.json", _SCRIPT, *sources],
        run=_collect,
    )
    prepare([npm_stage(BENCH), collect])
    return parse_peers(json.loads(COLLECTED.read_text()))


def parse_peers(collected: dict[str, Any]) -> Peers:
    """Read what ``bench/peers.cjs`` wrote."""
    found: dict[str, Peer] = {}
    failures: dict[str, str] = {}
    for name, peer in collected["peers"].items():
        if "failure" in peer:
            failures[name] = peer["failure"]
            continue
        codes = {key: Code(**code) for key, code in peer["contracts"].items()}
        found[name] = Peer(version=peer["version"], codes=codes)
    return Peers(settings=collected["settings"], found=found, failures=failures)


def _collect(lock_fd: int) -> None:
    COLLECTED.parent.mkdir(parents=True, exist_ok=True)
    draft: Path = COLLECTED.with_suffix(".draft")
    command = ["node", str(_SCRIPT), str(draft)]
    failure = "third parties' contracts could not be compiled"
    run_visibly(command, lock_fd=lock_fd, failure=failure, usual="10 seconds")
    draft.replace(COLLECTED)
