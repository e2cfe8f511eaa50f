"""Install a bench's peers from a lock, once: npm packages, or a virtual environment of their own.

Each is installed when a bench first asks, and again only when its lock has changed. Every download
is checked against the hash in the lock. Safe in two processes at once: the second waits.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.report import BenchError
from scripts.setup import SetupError, Stage, check_node, only_one, run_visibly, say
from scripts.stack.anvil_path import ROOT

VENVS: Final = ROOT / ".cache" / "bench"
"""Here each Python peer has an environment; ``make clean`` deletes them."""


def prepare(stages: Sequence[Stage]) -> None:
    """Do the stages that are not done, in their order.

    Raises ``BenchError`` with the reason where a package or a tool cannot be had.
    """
    if all(stage.is_done() for stage in stages):
        return
    try:
        with only_one() as lock_fd:
            for stage in stages:
                if stage.is_done():
                    continue  # by the run that was waited for
                fingerprint = stage.fingerprint()
                stage.run(lock_fd)
                stage.finish(fingerprint)
    except (SetupError, OSError) as error:
        raise BenchError(str(error)) from error


def npm_stage(folder: Path) -> Stage:
    """Return the stage that installs ``folder``'s ``package-lock.json``, without any script."""

    def install(lock_fd: int) -> None:
        check_node()
        say(f"installing {folder.relative_to(ROOT)}/package-lock.json")
        command = ["npm", "ci", "--prefix", str(folder), "--ignore-scripts", "--no-audit"]
        failure = f"the packages of {folder.relative_to(ROOT)} could not be installed"
        run_visibly([*command, "--no-fund"], lock_fd=lock_fd, failure=failure, usual="a minute")

    return Stage(
        stamp=folder / "node_modules" / ".stamp",
        inputs=[folder / "package.json", folder / "package-lock.json"],
        run=install,
    )


def venv_stage(venv: Path, lock: Path) -> Stage:
    """Return the stage that makes ``venv`` hold exactly what ``lock`` names, hash by hash."""

    def install(lock_fd: int) -> None:
        shutil.rmtree(venv, ignore_errors=True)
        say(f"installing {lock.relative_to(ROOT)} into an environment of its own")
        failure = f"the packages of {lock.relative_to(ROOT)} could not be installed"
        make = [sys.executable, "-m", "venv", str(venv)]
        run_visibly(make, lock_fd=lock_fd, failure=failure, usual="10 seconds")
        pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--no-input", "--no-deps"]
        # Only what the peer imports is worth compiling, and Python does that by itself.
        pip += ["--no-compile"]
        run_visibly(
            [*pip, "--require-hashes", "-r", str(lock)],
            lock_fd=lock_fd,
            failure=failure,
            usual="1 to 3 minutes",
            env={"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )

    return Stage(stamp=venv / ".stamp", inputs=[lock], run=install)
