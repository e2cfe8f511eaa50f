"""A copy of the tree for ``scripts.mutants``, and the process that compiles and tests in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from contracts.errors import Retryable
from scripts.stack.anvil_path import ROOT

GUARD: Final = ROOT / "scripts" / "stack" / "process_guard.py"
PLAY: Final = "tests/property/contracts/test_play.py"
FOLDERS: Final = (
    *("contracts", "indexer", "keeper", "ledger"),
    *("market", "proxy", "scripts", "serving", "tests"),
)
FILES: Final = ("ape-config.yaml", "pyproject.toml")
GRACE_S: Final = 5
# On a busy machine anvil may start or answer too late: that kills nothing, the tests run again.
TRIES: Final = 3
TOO_LATE: Final = re.compile(r"^(FAILED|ERROR) .*(Timeout|timed out|ConnectionError)", re.M)
PYTEST_OPTIONS: Final = (
    *("-q", "-x", "--tb=no", "-rfE", "-p", "no:cacheprovider"),
    # Hypothesis is imported before pytest could rewrite its asserts.
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
# What Ape reads of a contract to find the line of a revert: slow to load, and a mutant's is not
# known.
LEFT_OUT: Final = ("ast", "pcmap", "sourcemap")

Codes = dict[str, list[str]]
"""Creation and runtime code (0x hex, no metadata) by contract."""


class MutantsError(Retryable):
    """The run means nothing; the message is the one sentence to print."""


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
    """A copy of the tree, with a stand (``mutants_stand``) that starts when it is first asked."""

    def __init__(self, origin: Path, root: Path, life: Life) -> None:
        self.root = root
        self._life = life
        self._stand: subprocess.Popen[str] | None = None
        for folder in (*FOLDERS, ".build", ".cache"):
            if (origin / folder).exists():
                skip = shutil.ignore_patterns("__pycache__", "results")
                shutil.copytree(origin / folder, root / folder, ignore=skip)
        for file in FILES:
            shutil.copy(origin / file, root / file)
        (root / "node_modules").symlink_to(ROOT / "node_modules")

    def compile(self, *names: str) -> Codes:
        """Compile contracts. Raises MutantsError with the compiler's words."""
        status, output = self._ask({"compile": names})
        if status != 0:
            said = [line.strip() for line in output.splitlines() if "Exception" in line]
            raise MutantsError(f"does not compile: {(said or ['the compiler said nothing'])[0]}")
        codes: Codes = json.loads(output.splitlines()[-1])
        return codes

    def install(self, codes: Codes) -> None:
        """Let the contract tests deploy this code; ``PLAY`` compiles the sources itself."""
        path = self.root / ".build" / "__local__.json"
        built = json.loads(path.read_text())
        types: dict[str, dict[str, Any]] = built["contractTypes"]
        for contract in types.values():
            for key in LEFT_OUT:
                contract.pop(key, None)
        for name, (creation, runtime) in codes.items():
            types[name]["deploymentBytecode"]["bytecode"] = creation
            types[name]["runtimeBytecode"]["bytecode"] = runtime
        path.write_text(json.dumps(built))

    def test(self, *files: str) -> str | None:
        """Run test files until one test fails; return that test, None when all passed."""
        options = ["-m", "not slow"] if files == (PLAY,) else ["-p", "ape_test"]
        for _ in range(TRIES):
            status, output = self._ask({"test": (*PYTEST_OPTIONS, *options, *files)})
            if status == 0:
                return None
            if status == 1 and not TOO_LATE.search(output):
                return first_failure(output)
        raise MutantsError(f"pytest ended with status {status}:\n{output[-2_000:]}")

    def _ask(self, task: dict[str, tuple[str, ...]]) -> tuple[int, str]:
        """Give the stand a task; return the task's exit status and all it said.

        A stand that ended, killed perhaps for the memory, is replaced.
        """
        for _ in range(TRIES):
            answer = self._try_to_ask(task)
            if self._life.is_over:
                raise MutantsError("stopped")
            if answer:
                said = json.loads(answer)
                return said["status"], said["output"]
            self.close()
        raise MutantsError("the process that compiles and tests has ended again and again")

    def _try_to_ask(self, task: dict[str, tuple[str, ...]]) -> str:
        """Return the stand's answer; empty where the stand has ended."""
        self._stand = stand = self._stand or self._start()
        assert stand.stdin is not None and stand.stdout is not None
        with suppress(BrokenPipeError):
            stand.stdin.write(json.dumps(task) + "\n")
            stand.stdin.flush()
            return stand.stdout.readline()
        return ""

    def _start(self) -> subprocess.Popen[str]:
        binaries = str(Path(sys.executable).parent)
        guard = [sys.executable, "-IS", str(GUARD), str(self._life.fd), str(GRACE_S)]
        stand = [sys.executable, "-m", "scripts.mutants_stand"]
        return subprocess.Popen(
            [*guard, str(self.root / "command.pid"), "--", *stand],
            cwd=self.root,
            env={
                **os.environ,
                "APE_DATA_FOLDER": str(self.root / ".ape"),
                "PATH": os.pathsep.join([binaries, os.environ.get("PATH", "")]),
                "PYTHONPATH": str(self.root),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[self._life.fd],
            start_new_session=True,
        )

    def close(self) -> None:
        """End the stand and all that its tasks left behind."""
        if self._stand is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._stand.pid, signal.SIGKILL)
            self._stand.wait()
            for pipe in (self._stand.stdin, self._stand.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()
            self._stand = None


def first_failure(output: str) -> str:
    """Return the first failed test of pytest's short summary, without its folder."""
    found = re.search(r"^(FAILED|ERROR) (\S+?::.+?)(?: - .*)?$", output, re.M)
    if found is None:
        return "pytest named no test"
    path = f"tests/{found.group(2).rpartition('tests/')[2]}"
    test = path.removeprefix("tests/contract/")
    return test if found.group(1) == "FAILED" else f"{test} (its setup)"
