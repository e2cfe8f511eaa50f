"""Where tests keep their files: in memory where there is room, since every commit is flushed.

SQLite flushes each commit to the disk, as the product has it. On a busy disk a flush takes 5 ms, in
memory none, and what a test proves is the same: nothing here is about a power cut.
"""

import atexit
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")
FREE_BYTES_MIN: Final = 2 * 1024**3
ABANDONED_AFTER_S: Final = 86_400.0
_PREFIX: Final = "current-tests-"


def find_root() -> Path:
    """Return the folder for tests' files: in memory where 2 GiB are free there, else on disk."""
    has_memory = MEMORY.is_dir() and os.access(MEMORY, os.W_OK)
    if has_memory and shutil.disk_usage(MEMORY).free >= FREE_BYTES_MIN:
        return MEMORY
    return Path(tempfile.gettempdir())


def own_folder() -> Path:
    """Return a folder for ``tmp_path`` that no other run uses; it goes at the end of the process.

    Runs must not share one. With the policy ``failed``, pytest gives a folder's number again once a
    passed run has removed it, while that run is still ending: its last act is to delete the lock of
    the folder of that number, which is another run's by then, and any third run may remove it. What
    a failed test left is kept for a day.
    """
    root = find_root()
    for old in root.glob(f"{_PREFIX}*"):
        owner = old.name.removeprefix(_PREFIX).partition("-")[0]
        with suppress(OSError):
            age_s = time.time() - old.stat().st_mtime
            # Whatever a clock says: not below the feet of a run that goes on.
            if age_s > ABANDONED_AFTER_S and not (owner.isdigit() and is_running(int(owner))):
                shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=root))
    # What is registered first runs last: after pytest has removed what is not to be kept.
    atexit.register(_remove_unless_kept, folder)
    return folder


def is_running(pid: int) -> bool:
    """Tell whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _remove_unless_kept(folder: Path) -> None:
    if not any(folder.glob("pytest-of-*/pytest-[0-9]*")):
        shutil.rmtree(folder, ignore_errors=True)


def temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder of its own, for tests that hypothesis runs many times within one."""
    return tempfile.TemporaryDirectory(prefix="current-test-", dir=find_root())
