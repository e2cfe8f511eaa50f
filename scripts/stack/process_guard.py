"""Run one command that must not outlive the process that asked for it.

``python -IS process_guard.py LIFE_FD GRACE_S PID_FILE -- COMMAND…``

``LIFE_FD`` is the reading end of a pipe whose writing end only the parent holds: when the parent is
gone, ``kill -9`` included, the pipe closes and the guard ends its whole process group, politely
first. That works alike on Linux and macOS. The guard leads the group, writes the command's process
id to ``PID_FILE``, and ends the way the command ended, by the same signal or status.

Run by path with ``-IS``, so that it starts in milliseconds; standard library only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path


def _end_group_when_parent_is_gone(
    life_fd: int, grace_s: float, child: subprocess.Popen[bytes], parent_is_gone: threading.Event
) -> None:
    os.read(life_fd, 1)  # returns only at end of file: nobody ever writes
    parent_is_gone.set()
    os.killpg(0, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(grace_s)
    os.killpg(0, signal.SIGKILL)


def _end_like(returncode: int) -> int:
    """Return the exit status to end with, or end by the signal that ended the command."""
    if returncode >= 0:
        return returncode
    signal_number = -returncode
    if signal_number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(signal_number, signal.SIG_DFL)
    os.kill(os.getpid(), signal_number)
    return 128 + signal_number


def main(arguments: list[str]) -> int:
    life_fd, grace_s, pid_file = int(arguments[0]), float(arguments[1]), Path(arguments[2])
    command = arguments[4:]
    # The group's signals are for the command; the guard stays to report how it ended. A handler
    # that does nothing, not SIG_IGN: an ignored signal would stay ignored in the command.
    for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signal_number, lambda *_: None)
    try:
        child = subprocess.Popen(command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    draft = pid_file.with_suffix(".draft")
    draft.write_text(str(child.pid))
    draft.replace(pid_file)
    parent_is_gone = threading.Event()
    threading.Thread(
        target=_end_group_when_parent_is_gone,
        args=(life_fd, grace_s, child, parent_is_gone),
        daemon=True,
    ).start()
    returncode = child.wait()
    if parent_is_gone.is_set():
        os.killpg(0, signal.SIGKILL)  # what the command itself had started
    return _end_like(returncode)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
