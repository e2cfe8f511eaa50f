"""Break the contracts on purpose and see that the tests notice: ``python -m scripts.mutants``.

Each mutation of ``mutations.toml`` is one mistake somebody could make. It is made in a copy of the
tree, compiled, and played against the tests: first those that should notice, then the random play,
then every other contract test, until one fails. Nothing here touches the tree itself.

Left out are the tests that see a change without running it: ``test_sources.py`` (a reason that is
gone) and ``test_gas.py``; ``test_deploy.py``, which tests a script; and the contracts of third
parties, which are not in the copy.

It fails when a mutation survives without an excuse, is killed in spite of one, does not compile,
or compiles to the same code; and when the tests fail without any mutation.
"""

from __future__ import annotations

import queue
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import click

from contracts.errors import Fatal
from scripts.mutants_copy import PLAY, Codes, Copy, Life, MutantsError
from scripts.mutants_list import (
    Mutation,
    MutationResult,
    digest_sources,
    keep,
    load_kept,
    load_mutations,
)
from scripts.stack.anvil_path import ROOT
from serving.process.command_line import command
from serving.process.exit_codes import ExitCode

DOCUMENT: Final = ROOT / "docs" / "mutants.md"
CONTRACT_TESTS: Final = Path("tests/contract")
NOT_PLAYED: Final = ("test_sources.py", "test_gas.py", "test_deploy.py")
NEEDS_NPM: Final = "test_third_party_"
DEPLOYED: Final = ("YieldFundedPosition", "LendingYieldAdapter", "Payouts")


class MutationUnknown(Fatal):
    """No mutation has a name that was asked for."""


def deployed_from(source: str, contracts: Path) -> list[str]:
    """Name the deployed contracts that ``source`` is compiled into, itself or by import."""

    def reaches(module: str) -> bool:
        if f"{module}.vy" == source:
            return True
        text = (contracts / f"{module}.vy").read_text()
        return any(map(reaches, re.findall(r"^from \. import (\w+)", text, re.M)))

    return [name for name in DEPLOYED if reaches(name)]


class Run:
    """Mutations, the unchanged copy they are measured against, and who judges them."""

    def __init__(self, folder: Path, life: Life, jobs: int) -> None:
        self._life = life
        self._jobs = jobs
        self._folder = folder
        self._passed: set[str] = set()
        self._lock = threading.Lock()
        self._free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        self._copies: list[Copy] = []
        self._codes: Codes = {}
        self.unchanged = self._copy("unchanged")
        self.others = sorted(
            str(path.relative_to(self.unchanged.root))
            for path in (self.unchanged.root / CONTRACT_TESTS).glob("test_*.py")
            if path.name not in NOT_PLAYED and not path.name.startswith(NEEDS_NPM)
        )

    def _copy(self, name: str) -> Copy:
        copy = Copy(ROOT, self._folder / name, self._life)
        self._copies.append(copy)
        return copy

    def close(self) -> None:
        """End what runs in the copies."""
        for copy in self._copies:
            copy.close()

    def prepare(self) -> None:
        """Compile, and make the copies."""
        self._codes = self.unchanged.compile(*DEPLOYED)
        self.unchanged.install(self._codes)
        for index in range(self._jobs):
            self._free.put(self._copy(f"copy-{index}"))

    def _check_unchanged(self, *files: str) -> None:
        """Raise MutantsError unless the tests pass on the unchanged tree; asked once a file."""
        with self._lock:
            fresh = [file for file in files if file not in self._passed]
            failed = self.unchanged.test(*fresh) if fresh else None
            if failed is not None:
                raise MutantsError(f"fails without any mutation: {failed}")
            self._passed.update(fresh)

    def judge(self, mutation: Mutation) -> MutationResult:
        """Make a mutation in a free copy, and look for a test that notices."""
        copy = self._free.get()
        began_s = time.monotonic()
        try:
            killer = self._find_killer(copy, mutation)
            outcome, detail = ("killed", killer) if killer else ("survived", mutation.excuse)
        except MutantsError as error:
            outcome, detail = "error", str(error)
        finally:
            self._free.put(copy)
        return MutationResult(mutation, outcome, detail, time.monotonic() - began_s)

    def _find_killer(self, copy: Copy, mutation: Mutation) -> str | None:
        names = deployed_from(mutation.source, copy.root / "contracts")
        with mutated(copy.root / "contracts" / mutation.source, mutation):
            codes = copy.compile(*names)
        if all(codes[name] == self._codes[name] for name in names):
            raise MutantsError("compiles to the same code")
        copy.install({**self._codes, **codes})
        first = [f"{CONTRACT_TESTS}/{test}" for test in mutation.tests]
        rest = [file for file in self.others if file not in first]
        for files in (first, [PLAY], rest):
            self._check_unchanged(*files)
            with ExitStack() as stack:
                if files == [PLAY]:
                    source = copy.root / "contracts" / mutation.source
                    stack.enter_context(mutated(source, mutation))
                killer = copy.test(*files)
            if killer is not None:
                return killer
        return None


@contextmanager
def mutated(source: Path, mutation: Mutation) -> Iterator[None]:
    """Have the mutation in the source."""
    original = source.read_text()
    source.write_text(mutation.apply(original))
    try:
        yield
    finally:
        source.write_text(original)


# --- the command ---------------------------------------------------------------------------------


def choose(mutations: Sequence[Mutation], names: Sequence[str]) -> list[Mutation]:
    """Return the mutations whose name contains one of ``names``; all when there are none.

    Raises MutationUnknown for a name that is in none.
    """
    for name in names:
        if not any(name in mutation.name for mutation in mutations):
            raise MutationUnknown(f"no mutation is called {name!r}")
    return [m for m in mutations if not names or any(name in m.name for name in names)]


def print_verdict(verdict: MutationResult) -> None:
    mutation = verdict.mutation
    outcome = verdict.outcome if verdict.is_good else verdict.outcome.upper()
    place = f"{mutation.source.removesuffix('.vy')}: {mutation.name}"
    print(f"{outcome:<8}  {place:<72}  {verdict.elapsed_s:4.0f} s  {verdict.detail}", flush=True)


def _tell_verdict(
    mutation: Mutation,
    verdict: MutationResult | None,
    earlier: MutationResult | None,
) -> str:
    """Say what noticed a mutation, now or else on the contracts as they were before."""
    for found, when in ((verdict, ""), (earlier, ", earlier")):
        if found is None or found.mutation != mutation or found.outcome == "error":
            continue
        if found.outcome == "killed":
            return f"`{found.detail.partition('[')[0]}`{when}"
        return f"**{found.outcome}**{when}"
    return "not run"


def build_tables(
    mutations: Sequence[Mutation],
    verdicts: Mapping[str, MutationResult],
    earlier: Mapping[str, MutationResult],
) -> str:
    """Return the verdicts, by name, as the tables of ``docs/mutants.md``, one for each source.

    ``earlier`` are those of the same mistakes before the contracts last changed.
    """
    lines: list[str] = []
    source = ""
    for mutation in mutations:
        if mutation.source != source:
            source = mutation.source
            lines += [
                "",
                f"### {source}",
                "",
                "| mutation | breaks | noticed by |",
                "|---|---|---|",
            ]
        name = mutation.name
        noticed = _tell_verdict(mutation, verdicts.get(name), earlier.get(name))
        lines.append(f"| {mutation.name} | {mutation.breaks} | {noticed} |")
    return "\n".join(lines) + "\n"


def record(
    mutations: Sequence[Mutation],
    verdicts: Mapping[str, MutationResult],
    earlier: Mapping[str, MutationResult],
    document: Path = DOCUMENT,
) -> None:
    """Put the tables into the document, instead of those it has."""
    head = document.read_text().partition("\n### ")[0]
    document.write_text(head.rstrip("\n") + "\n" + build_tables(mutations, verdicts, earlier))


def print_summary(verdicts: Sequence[MutationResult], elapsed_s: float) -> None:
    killed = sum(verdict.outcome == "killed" for verdict in verdicts)
    excused = sum(verdict.is_good and verdict.outcome == "survived" for verdict in verdicts)
    print(
        f"\n{killed} of {len(verdicts)} mutations killed, {excused} survived as explained, "
        f"in {elapsed_s / 60:.1f} min"
    )
    for verdict in verdicts:
        if not verdict.is_good:
            print(f"  {verdict.outcome} unexpectedly: {verdict.mutation.name}: {verdict.detail}")


@contextmanager
def ending_with_us() -> Iterator[Life]:
    """End all commands with the block; SIGTERM and SIGHUP end the block."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    life = Life()
    try:
        yield life
    finally:
        life.end()


def judge_all(
    mutations: Sequence[Mutation], jobs: int, *, is_resumed: bool
) -> list[MutationResult]:
    """Judge every mutation, printing as it goes; return the verdicts in the list's order.

    ``is_resumed`` takes the good verdicts that earlier runs left for the same contracts.
    """
    sources = digest_sources()
    verdicts: dict[str, MutationResult] = {
        name: verdict
        for name, verdict in (load_kept(sources) if is_resumed else {}).items()
        if verdict.is_good and verdict.mutation in mutations
    }
    with (
        tempfile.TemporaryDirectory(prefix="mutants-") as folder,
        ThreadPoolExecutor(jobs) as pool,
        ending_with_us() as life,
    ):
        run = Run(Path(folder), life, jobs)
        print(f"{len(mutations)} mutations, of which {len(verdicts)} are judged", flush=True)
        try:
            run.prepare()
            futures: list[Future[MutationResult]] = [
                pool.submit(run.judge, each) for each in mutations if each.name not in verdicts
            ]
            for future in as_completed(futures):
                verdict = future.result()
                verdicts[verdict.mutation.name] = verdict
                print_verdict(verdict)
                keep(verdict, sources)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            run.close()
    return [verdicts[mutation.name] for mutation in mutations]


@command("mutants", help=__doc__)
@click.option("--jobs", type=click.IntRange(1), default=2, help="Copies side by side.")
@click.option("--only", multiple=True, help="A part of a mutation's name; repeatable.")
@click.option("--list", "is_list", is_flag=True, help="Print the list and run nothing.")
@click.option("--resume", "is_resumed", is_flag=True, help="Take what earlier runs have judged.")
@click.option("--record", "is_recorded", is_flag=True, help="Renew the tables of docs/mutants.md.")
def main(
    jobs: int, only: tuple[str, ...], is_list: bool, is_resumed: bool, is_recorded: bool
) -> ExitCode:
    """Judge the mutations and print what became of each."""
    began_s = time.monotonic()
    everything = load_mutations()
    mutations = choose(everything, only)
    if is_list:
        for mutation in mutations:
            print(f"{mutation.source:<24}  {mutation.name}: {mutation.breaks}")
    verdicts = [] if is_list else judge_all(mutations, jobs, is_resumed=is_resumed)
    if is_recorded:
        record(everything, load_kept(digest_sources()), load_kept(None))
    if is_list:
        return ExitCode.DONE
    print_summary(verdicts, time.monotonic() - began_s)
    return ExitCode.DONE if all(verdict.is_good for verdict in verdicts) else ExitCode.FAILED


if __name__ == "__main__":
    main(prog_name="python -m scripts.mutants")
