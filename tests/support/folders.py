"""Where tests keep their files: in memory where there is room, since every commit is flushed.

SQLite flushes each commit to the disk, as the product has it. On a busy disk a flush takes 5 ms, in
memory none, and what a test proves is the same: nothing here is about a power cut.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")
FREE_BYTES_MIN: Final = 2 * 1024**3


def find_root() -> Path:
    """Return the folder for tests' files: in memory where 2 GiB are free there, else on disk."""
    has_memory = MEMORY.is_dir() and os.access(MEMORY, os.W_OK)
    if has_memory and shutil.disk_usage(MEMORY).free >= FREE_BYTES_MIN:
        return MEMORY
    return Path(tempfile.gettempdir())


def temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder of its own, for tests that hypothesis runs many times within one."""
    return tempfile.TemporaryDirectory(prefix="current-test-", dir=find_root())
