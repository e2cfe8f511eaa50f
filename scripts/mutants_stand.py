"""Compile and test in a copy of the tree, from one process that has loaded everything already.

``python -m scripts.mutants_stand``, in the copy: a line of JSON is a task, and a line of JSON is
its answer, until standard input ends. Each task runs in a fork, so that it leaves nothing behind.

::

    {"compile": ["Payouts"]}      {"status": 0, "output": "{\\"Payouts\\": [creation, runtime]}"}
    {"test": ["-q", "tests/…"]}   {"status": 1, "output": "FAILED tests/…"}

``status`` is the exit status, or the negative number of the signal that ended the task. Loading
pytest, Ape, the EVM that Ape imports and the compiler takes longer than most mutations live.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

# Imported before the first fork. The modules of the tests are not among them: pytest has to load
# those itself, to rewrite their asserts.
LOADED_FIRST: Final = (
    *("pytest", "hypothesis.stateful", "web3", "eth_account", "eth_abi.abi"),
    *("ape.contracts", "ape.managers.project", "ape.utils.testing", "ape.pytest.runners"),
    *("ape_accounts", "ape_compile", "ape_ethereum.ecosystem", "ape_foundry.provider"),
    *("ape_test.provider", "ape_vyper.compiler", "vyper.cli.vyper_compile"),
)
TASK_S_MAX: Final = 1_800
POLL_S: Final = 0.02


def compile_contracts(names: Sequence[str]) -> int:
    """Print the creation and the runtime code (0x hex) of each contract, without metadata.

    The metadata carries a digest of the sources: with it, no two sources compile to the same code.
    """
    from vyper.cli.vyper_compile import compile_files
    from vyper.compiler.settings import Settings

    compiled = compile_files(
        [f"contracts/{name}.vy" for name in names],
        output_formats=("bytecode", "bytecode_runtime"),
        paths=["."],
        settings=Settings(evm_version="cancun"),
        no_bytecode_metadata=True,
    )
    codes = {path.stem: list(output.values()) for path, output in compiled.items()}
    sys.stdout.write(json.dumps(codes))
    return 0


def run_pytest(arguments: Sequence[str]) -> int:
    """Run pytest; the random games are the same in every run, and no failing one is made small."""
    import pytest
    from hypothesis import Phase, settings

    settings.register_profile("mutants", phases=[Phase.generate], derandomize=True, database=None)
    settings.load_profile("mutants")
    return int(pytest.main(list(arguments)))


TASKS: Final[dict[str, Callable[[Sequence[str]], int]]] = {
    "compile": compile_contracts,
    "test": run_pytest,
}


def run_in_fork(task: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> tuple[int, str]:
    """Run a task in a fork; return its exit status and all it said."""
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        child = os.fork()
        if child == 0:
            _be_the_fork(task, arguments, said.fileno())
        status = _wait(child)
        said.seek(0)
        return status, said.read()


def _be_the_fork(
    task: Callable[[Sequence[str]], int], arguments: Sequence[str], output_fd: int
) -> None:
    """Run the task and end this process."""
    status = 2
    try:
        os.dup2(output_fd, 1)
        os.dup2(output_fd, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        random.seed()  # or every fork would choose the same ports
        status = task(arguments)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 2
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            atexit._run_exitfuncs()  # Ape stops its node there
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _wait(child: int) -> int:
    """Wait for a fork, at most ``TASK_S_MAX``; return its exit status or minus its signal."""
    ends_s = time.monotonic() + TASK_S_MAX
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > ends_s:
            os.kill(child, signal.SIGKILL)
        time.sleep(POLL_S)


def load() -> None:
    """Import what every task needs, and spare the forks from collecting it as garbage."""
    from scripts.stack.anvil_path import anvil_path

    # Ape looks for `anvil` on PATH when it is imported.
    os.environ["PATH"] = os.pathsep.join([str(anvil_path().parent), os.environ.get("PATH", "")])
    for name in LOADED_FIRST:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def main() -> None:
    """Answer tasks until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    load()
    for line in sys.stdin:
        ((name, arguments),) = json.loads(line).items()
        status, output = run_in_fork(TASKS[name], arguments)
        answers.write(json.dumps({"status": status, "output": output}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
