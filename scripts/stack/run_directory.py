"""Where a local stack keeps its files: ``.current/<name>/``, one stack at a time.

A lock file beside the directory (``.current/<name>.lock``) belongs to the process that uses it and
to the guards of its children, so it is free only when the last of them has ended.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2] / ".current"
# A killed stack's guards give its processes 5 s to end; then they kill them.
STOPPING_S_MAX: Final = 15.0
KEPT_FAILURES: Final = 3


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The files of one stack. ``lock_fd`` is to be inherited by what must end before the next."""

    path: Path
    lock_fd: int

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def ledger_path(self) -> Path:
        return self.path / "ledger.sqlite3"

    @property
    def deployments(self) -> Path:
        return self.path / "deployments"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def pids(self) -> Path:
        """One file a running process, named like it, holding its process id."""
        return self.path / "pids"

    @property
    def anvil_state(self) -> Path:
        return self.path / "anvil.json"

    def make_folders(self) -> None:
        for folder in (self.deployments, self.logs, self.pids):
            folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def claim_run_directory(
    name: str = "devnet",
    *,
    fresh: bool = False,
    root: Path = ROOT,
    say: Callable[[str], None] = print,
) -> Iterator[RunDirectory]:
    """Hold ``<root>/<name>``, or ``<name>-2``, ``-3``… when another stack runs in it.

    The files stay for the next time; ``fresh`` empties the directory first. A directory whose
    stack was just killed is waited for, so that the same command again finds the same files.
    """
    root.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        candidate = name if number == 1 else f"{name}-{number}"
        lock_fd = _lock(root / f"{candidate}.lock", say=say)
        if lock_fd is None:
            say(f"{candidate} is in use by a stack that is running; this one gets its own files")
            continue
        try:
            directory = RunDirectory(path=root / candidate, lock_fd=lock_fd)
            if fresh:
                shutil.rmtree(directory.path, ignore_errors=True)
            directory.make_folders()
            yield directory
        finally:
            os.close(lock_fd)
        return


@contextmanager
def temporary_run_directory(
    prefix: str = "demo", *, root: Path = ROOT, say: Callable[[str], None] = print
) -> Iterator[RunDirectory]:
    """Hold a new directory that is removed at the end if all went well, and kept if not.

    The logs of the last few failures stay; older ones are removed.
    """
    root.mkdir(parents=True, exist_ok=True)
    _prune(root, prefix)
    with claim_run_directory(f"{prefix}-{secrets.token_hex(3)}", root=root, say=say) as directory:
        try:
            yield directory
        except BaseException:
            say(f"the logs are kept in {directory.logs}")
            raise
        _remove(directory.path)


def _lock(path: Path, *, say: Callable[[str], None]) -> int | None:
    """Lock ``path`` and write our process id into it; None when a living process holds it."""
    lock_fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    deadline_s = time.monotonic() + STOPPING_S_MAX
    is_said = False
    while True:
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if _owner_is_alive(lock_fd) or time.monotonic() > deadline_s:
                os.close(lock_fd)
                return None
        if not is_said:
            say("waiting for the processes of a stack that was killed to end")
            is_said = True
        time.sleep(0.1)
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, str(os.getpid()).encode(), 0)
    return lock_fd


def _owner_is_alive(lock_fd: int) -> bool:
    """Tell whether the process that took the lock lives; True when that is not known."""
    try:
        pid = int(os.pread(lock_fd, 32, 0))
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (ValueError, PermissionError):
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Tell whether a process has ended and only waits for its parent; False where unknown."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    # The state follows the name, which is in parentheses and may hold anything.
    return status.rpartition(")")[2].split()[:1] == ["Z"]


def _prune(root: Path, prefix: str) -> None:
    """Remove all but the newest few directories that earlier runs left behind."""
    left = [path for path in root.glob(f"{prefix}-*") if path.is_dir()]
    left.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in left[KEPT_FAILURES:]:
        with path.with_name(f"{path.name}.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # it is running
            _remove(path)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)


def keep_secret(path: Path, text: str) -> Path:
    """Write a secret that only its owner can read, unless the file is there; return the path."""
    if not path.exists():
        draft = path.with_suffix(".draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
        draft.replace(path)
    return path
