"""Workers that cannot be started, or that say that they cannot run."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from scripts.stack.anvil_path import ROOT
from tests.support.waiting import LIMIT_S, wait_until

PARENT: Final = """
import os, socket, sys
from serving.process.workers import Workers
Workers(sys.argv[1:], [socket.create_server(("127.0.0.1", 0))], environment=os.environ,
        drain_timeout_s=1).run()
"""


@contextmanager
def parent_of(log: Path, *command: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the first process of workers that are this command."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", PARENT, *command], cwd=ROOT, stdout=file, stderr=file
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_worker__cannot_be_started__is_tried_again_until_the_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with parent_of(log, str(tmp_path / "nowhere")) as process:
        wait_until(lambda: log.read_text().count("worker_not_started") >= 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0


@pytest.mark.parametrize(("code", "is_the_end"), [(2, True), (1, False)])
def test_worker__ends_at_once__unusable_ends_all_and_anything_else_is_tried_again(
    tmp_path: Path, code: int, is_the_end: bool
) -> None:
    log = tmp_path / "log"
    with parent_of(log, sys.executable, "-c", f"raise SystemExit({code})") as process:
        if is_the_end:
            assert process.wait(LIMIT_S) != 0
            assert "WorkerUnusable" in log.read_text()
        else:
            wait_until(lambda: log.read_text().count("worker_ended") >= 2)
            assert process.poll() is None
