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

import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from contracts.errors import Fatal, Retryable
from scripts.stack.anvil_path import ROOT
from serving.process.command_line import command
from serving.process.exit_codes import ExitCode

LIST: Final = Path(__file__).with_name("mutations.toml")
DOCUMENT: Final = ROOT / "docs" / "mutants.md"
GUARD: Final = ROOT / "scripts" / "stack" / "process_guard.py"
CONTRACT_TESTS: Final = Path("tests/contract")
PLAY: Final = "tests/property/contracts/test_play.py"
NOT_PLAYED: Final = ("test_sources.py", "test_gas.py", "test_deploy.py")
NEEDS_NPM: Final = "test_third_party_"
DEPLOYED: Final = ("YieldFundedPosition", "LendingYieldAdapter", "Payouts")
FOLDERS: Final = (
    *("contracts", "indexer", "keeper", "ledger"),
    *("market", "proxy", "scripts", "serving", "tests"),
)
FILES: Final = ("ape-config.yaml", "pyproject.toml")
GRACE_S: Final = 5
STEP_S_MAX: Final = 1_800
# On a busy machine anvil may start or answer too late: that kills nothing, the tests run again.
TRIES: Final = 3
TOO_LATE: Final = re.compile(r"^(FAILED|ERROR) .*(Timeout|timed out|ConnectionError)", re.M)
# The same games in every run, and no time spent on the smallest one that fails.
PYTEST: Final = """
import sys, pytest
from hypothesis import Phase, settings
settings.register_profile("mutants", phases=[Phase.generate], derandomize=True, database=None)
settings.load_profile("mutants")
sys.exit(pytest.main(sys.argv[1:]))
"""
PYTEST_OPTIONS: Final = (
    *("-q", "-x", "--tb=no", "-rfE", "-p", "no:cacheprovider"),
    # Hypothesis is imported above, before pytest could rewrite its asserts.
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)


class MutantsError(Retryable):
    """The run means nothing; the message is the one sentence to print."""


class MutationUnknown(Fatal):
    """No mutation has a name that was asked for."""


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


def deployed_from(source: str, contracts: Path) -> list[str]:
    """Name the deployed contracts that ``source`` is compiled into, itself or by import."""

    def reaches(module: str) -> bool:
        if f"{module}.vy" == source:
            return True
        text = (contracts / f"{module}.vy").read_text()
        return any(map(reaches, re.findall(r"^from \. import (\w+)", text, re.M)))

    return [name for name in DEPLOYED if reaches(name)]


def first_failure(output: str) -> str:
    """Return the first failed test of pytest's short summary, without its folder."""
    found = re.search(r"^(FAILED|ERROR) (\S+?::.+?)(?: - .*)?$", output, re.M)
    if found is None:
        return "pytest named no test"
    test = found.group(2).rpartition("tests/")[2].partition("/")[2]
    return test if found.group(1) == "FAILED" else f"{test} (its setup)"


# --- running in a copy ---------------------------------------------------------------------------


class Life:
    """What keeps this run's commands alive: they end with it, however it ends (process_guard)."""

    def __init__(self) -> None:
        self.fd, self._own_end = os.pipe()
        self.is_over = False

    def end(self) -> None:
        """End every command that runs."""
        if not self.is_over:
            self.is_over = True
            os.close(self._own_end)


class Copy:
    """A copy of the tree in which contracts are compiled and tests are run."""

    def __init__(self, origin: Path, root: Path, life: Life) -> None:
        self.root = root
        self._life = life
        for folder in (*FOLDERS, ".build", ".cache"):
            if (origin / folder).exists():
                skip = shutil.ignore_patterns("__pycache__", "results")
                shutil.copytree(origin / folder, root / folder, ignore=skip)
        for file in FILES:
            shutil.copy(origin / file, root / file)
        (root / "node_modules").symlink_to(ROOT / "node_modules")

    def run(self, *command: str) -> tuple[int, str]:
        """Run a command in the copy; return its exit status and all it said."""
        binaries = str(Path(sys.executable).parent)
        guard = [sys.executable, "-IS", str(GUARD), str(self._life.fd), str(GRACE_S)]
        child = subprocess.Popen(
            [*guard, str(self.root / "command.pid"), "--", *command],
            cwd=self.root,
            env={
                **os.environ,
                "APE_DATA_FOLDER": str(self.root / ".ape"),
                "PATH": os.pathsep.join([binaries, os.environ.get("PATH", "")]),
                "PYTHONPATH": str(self.root),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=[self._life.fd],
            start_new_session=True,
        )
        try:
            output, _ = child.communicate(timeout=STEP_S_MAX)
        except subprocess.TimeoutExpired as error:
            raise MutantsError(f"no end after {STEP_S_MAX} s: {' '.join(command[-3:])}") from error
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        if self._life.is_over:
            raise MutantsError("stopped")
        return child.returncode, output

    def compile(self, *names: str) -> None:
        """Compile contracts, or all. Raises MutantsError with the compiler's words."""
        # By force: Ape's own cache does not see that an imported module has changed.
        paths = [f"contracts/{name}.vy" for name in names]
        status, output = self.run("ape", "compile", "--force", *paths)
        if status != 0:
            said = [line.strip() for line in output.splitlines() if "ERROR" in line]
            raise MutantsError(f"does not compile: {(said or ['ape said nothing'])[0]}")

    def bytecode(self, name: str) -> str:
        """Return the creation code that was compiled last."""
        built = json.loads((self.root / ".build" / "__local__.json").read_text())
        return str(built["contractTypes"][name]["deploymentBytecode"]["bytecode"])

    def test(self, *files: str, jobs: int = 1) -> str | None:
        """Run test files until one test fails; return that test, None when all passed."""
        is_play = files == (PLAY,)
        options = ["-m", "not slow"] if is_play else ["-p", "ape_test"]
        if jobs > 1 and not is_play:
            options += ["-n", str(jobs)]
        command = [sys.executable, "-c", PYTEST, *PYTEST_OPTIONS, *options, *files]
        for _ in range(TRIES):
            status, output = self.run(*command)
            if status == 0:
                return None
            if status == 1 and not TOO_LATE.search(output):
                return first_failure(output)
        raise MutantsError(f"pytest ended with status {status}:\n{output[-2_000:]}")


class Run:
    """Mutations, the unchanged copy they are measured against, and who judges them."""

    def __init__(self, folder: Path, life: Life, jobs: int) -> None:
        self._life = life
        self._jobs = jobs
        self._folder = folder
        self._passed: set[str] = set()
        self._lock = threading.Lock()
        self._free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        self.unchanged = Copy(ROOT, folder / "unchanged", life)
        self.others = sorted(
            str(path.relative_to(self.unchanged.root))
            for path in (self.unchanged.root / CONTRACT_TESTS).glob("test_*.py")
            if path.name not in NOT_PLAYED and not path.name.startswith(NEEDS_NPM)
        )

    def prepare(self, mutations: Sequence[Mutation]) -> None:
        """Compile, and see that the tests to be run first pass without a mutation."""
        self.unchanged.compile()
        first = {f"{CONTRACT_TESTS}/{test}" for mutation in mutations for test in mutation.tests}
        self._check_unchanged(*sorted(first))
        for index in range(self._jobs):
            copy = Copy(self.unchanged.root, self._folder / f"copy-{index}", self._life)
            self._free.put(copy)

    def _check_unchanged(self, *files: str) -> None:
        """Raise MutantsError unless the tests pass on the unchanged tree; asked once a file."""
        with self._lock:
            fresh = [file for file in files if file not in self._passed]
            failed = self.unchanged.test(*fresh, jobs=self._jobs) if fresh else None
            if failed is not None:
                raise MutantsError(f"fails without any mutation: {failed}")
            self._passed.update(fresh)

    def judge(self, mutation: Mutation) -> MutationResult:
        """Make a mutation in a free copy, look for a test that notices, and put the copy back."""
        copy = self._free.get()
        began_s = time.monotonic()
        source = copy.root / "contracts" / mutation.source
        original = source.read_text()
        build = copy.root / ".build"
        try:
            source.write_text(mutation.apply(original))
            killer = self._find_killer(copy, mutation)
            outcome, detail = ("killed", killer) if killer else ("survived", mutation.excuse)
        except MutantsError as error:
            outcome, detail = "error", str(error)
        finally:
            source.write_text(original)
            shutil.rmtree(build)
            shutil.copytree(self.unchanged.root / ".build", build)
            self._free.put(copy)
        return MutationResult(mutation, outcome, detail, time.monotonic() - began_s)

    def _find_killer(self, copy: Copy, mutation: Mutation) -> str | None:
        names = deployed_from(mutation.source, copy.root / "contracts")
        copy.compile(*names)
        if all(copy.bytecode(name) == self.unchanged.bytecode(name) for name in names):
            raise MutantsError("compiles to the same code")
        first = [f"{CONTRACT_TESTS}/{test}" for test in mutation.tests]
        rest = [file for file in self.others if file not in first]
        for files in (first, [PLAY], rest):
            self._check_unchanged(*files)
            killer = copy.test(*files)
            if killer is not None:
                return killer
        return None


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


def build_tables(verdicts: Sequence[MutationResult]) -> str:
    """Return the verdicts as the tables of ``docs/mutants.md``, one for each source."""
    lines: list[str] = []
    source = ""
    for verdict in verdicts:
        mutation = verdict.mutation
        if mutation.source != source:
            source = mutation.source
            lines += [
                "",
                f"### {source}",
                "",
                "| mutation | breaks | noticed by |",
                "|---|---|---|",
            ]
        killer = f"`{verdict.detail.partition('[')[0]}`"
        noticed = killer if verdict.outcome == "killed" else f"**{verdict.outcome}**"
        lines.append(f"| {mutation.name} | {mutation.breaks} | {noticed} |")
    return "\n".join(lines) + "\n"


def record(verdicts: Sequence[MutationResult], document: Path = DOCUMENT) -> None:
    """Put the tables into the document, instead of those it has."""
    head = document.read_text().partition("\n### ")[0]
    document.write_text(head.rstrip("\n") + "\n" + build_tables(verdicts))


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


def judge_all(mutations: Sequence[Mutation], jobs: int) -> list[MutationResult]:
    """Judge every mutation, printing as it goes; return the verdicts in the list's order."""
    verdicts: dict[str, MutationResult] = {}
    with (
        tempfile.TemporaryDirectory(prefix="mutants-") as folder,
        ThreadPoolExecutor(jobs) as pool,
        ending_with_us() as life,
    ):
        run = Run(Path(folder), life, jobs)
        print(f"{len(mutations)} mutations; first the tests without any", flush=True)
        run.prepare(mutations)
        futures: list[Future[MutationResult]] = [pool.submit(run.judge, each) for each in mutations]
        try:
            for future in as_completed(futures):
                verdict = future.result()
                verdicts[verdict.mutation.name] = verdict
                print_verdict(verdict)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [verdicts[mutation.name] for mutation in mutations]


@command("mutants", help=__doc__)
@click.option("--jobs", type=click.IntRange(1), default=2, help="Copies side by side.")
@click.option("--only", multiple=True, help="A part of a mutation's name; repeatable.")
@click.option("--list", "is_list", is_flag=True, help="Print the list and do nothing.")
@click.option("--record", "is_recorded", is_flag=True, help="Renew the tables of docs/mutants.md.")
def main(jobs: int, only: tuple[str, ...], is_list: bool, is_recorded: bool) -> ExitCode:
    """Judge the mutations and print what became of each."""
    if is_recorded and only:
        raise click.UsageError("only a run of all mutations can be recorded")
    began_s = time.monotonic()
    mutations = choose(load_mutations(), only)
    if is_list:
        for mutation in mutations:
            print(f"{mutation.source:<24}  {mutation.name}: {mutation.breaks}")
        return ExitCode.DONE
    verdicts = judge_all(mutations, jobs)
    if is_recorded:
        record(verdicts)
    print_summary(verdicts, time.monotonic() - began_s)
    return ExitCode.DONE if all(verdict.is_good for verdict in verdicts) else ExitCode.FAILED


if __name__ == "__main__":
    main(prog_name="python -m scripts.mutants")
