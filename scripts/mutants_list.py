"""The mutations of ``scripts.mutants``, and the verdicts on them that are kept between runs."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from scripts.mutants_copy import MutantsError
from scripts.stack.anvil_path import ROOT

LIST: Final = Path(__file__).with_name("mutations.toml")
KEPT: Final = ROOT / ".cache" / "mutants.jsonl"


@dataclass(frozen=True, slots=True)
class Mutation:
    """One deliberate mistake: ``new`` instead of ``old``, which ``source`` has exactly once."""

    name: str
    source: str
    old: str
    new: str
    breaks: str
    tests: tuple[str, ...]
    excuse: str = ""

    def apply(self, text: str) -> str:
        """Return the mutated source. Raises MutantsError unless ``old`` is there exactly once."""
        count = text.count(self.old)
        if count != 1:
            raise MutantsError(f"{self.name}: its old text is {count} times in {self.source}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class MutationResult:
    """What became of a mutation; ``detail`` is the first failing test, or what went wrong."""

    mutation: Mutation
    outcome: str  # killed | survived | error
    detail: str
    elapsed_s: float

    @property
    def is_good(self) -> bool:
        return self.outcome == ("survived" if self.mutation.excuse else "killed")


def load_mutations(path: Path = LIST) -> list[Mutation]:
    """Read the list."""
    entries = tomllib.loads(path.read_text())["mutation"]
    return [Mutation(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


def load_kept(sources_digest: str | None, path: Path = KEPT) -> dict[str, MutationResult]:
    """Return the newest verdicts that earlier runs left for the same sources, by mutation's name.

    None: for whatever sources they were given.
    """
    kept: dict[str, MutationResult] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        entry = json.loads(line)
        if entry.pop("sources") == sources_digest or sources_digest is None:
            made = Mutation(**{**entry["mutation"], "tests": tuple(entry["mutation"]["tests"])})
            kept[made.name] = MutationResult(**{**entry, "mutation": made})
    return kept


def keep(verdict: MutationResult, sources_digest: str, path: Path = KEPT) -> None:
    """Write a verdict down, so that a later run with ``--resume`` need not find it again."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps({"sources": sources_digest, **asdict(verdict)}) + "\n")


def digest_sources(contracts: Path = ROOT / "contracts") -> str:
    """Return what changes with any contract (SHA-256, hex)."""
    digest = hashlib.sha256()
    for source in sorted(contracts.rglob("*.vy*")):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()
