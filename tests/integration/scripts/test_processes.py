"""The supervisor of a local stack, with real processes.

::

    Stack
    ├── start
    │   ├── ready by pattern, by callable, at once
    │   ├── dies before it is ready: ChildDied, with the end of its log
    │   └── is never ready: NotReady
    ├── end of the block, by leaving it, by SIGTERM, by kill -9 of the parent: no child is left
    ├── a child is killed
    │   ├── restart: back, as a new process
    │   ├── its guard is killed: no second copy
    │   ├── never comes back: ChildDied
    │   └── no restart: ChildDied
    └── restart by name
    run directory: side by side, after a kill, fresh, temporary
    ports: taken
"""

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack.ports import PortTaken, free_port, port_is_free, preferred_port, require_port
from scripts.stack.processes import ChildDied, NotReady, Stack
from scripts.stack.run_directory import (
    RunDirectory,
    claim_run_directory,
    temporary_run_directory,
)
from tests.support.waiting import LIMIT_S, wait_until

ROOT = Path(__file__).resolve().parents[3]
SLEEPER = [sys.executable, "-c", "import time; print('awake', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('awake', flush=True); time.sleep(600)",
]
AWAKE = re.compile("awake")


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and was not collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return bool(state) and not state.startswith("Z")


def running_pid(stack: Stack, name: str) -> int:
    assert wait_until(lambda: stack.child(name).pid is not None)
    pid = stack.child(name).pid
    assert pid is not None
    return pid


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def directory(tmp_path: Path, lines: list[str]) -> Iterator[RunDirectory]:
    with claim_run_directory("stack", root=tmp_path, say=lines.append) as claimed:
        yield claimed


@pytest.fixture
def stack(directory: RunDirectory, lines: list[str]) -> Iterator[Stack]:
    with Stack(directory, say=lines.append, grace_s=5.0) as running:
        yield running


def test_start__pattern_in_log__returns_the_match(stack: Stack, lines: list[str]) -> None:
    command = [sys.executable, "-c", "import time; print('port 4711'); time.sleep(600)"]

    child = stack.start("server", command, ready=re.compile(r"port (\d+)"))

    assert child.match is not None
    assert child.match[1] == "4711"
    assert any(line.startswith("server is ready after") for line in lines)


def test_start__takes_its_time__says_what_it_waits_for_and_how_long_it_usually_does(
    stack: Stack, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.stack.processes.PROGRESS_EVERY_S", 0.01)
    silent = [sys.executable, "-c", "import time; time.sleep(600)"]

    # Each is ready once its wait was told.
    stack.start("market", silent, ready=lambda: "nothing" in "".join(lines), usual_s=5)
    stack.start("server", SLEEPER, ready=lambda: "last line: awake" in "".join(lines))

    assert re.fullmatch(
        r"market is starting, for \d+ s now, usually 5 s on an idle machine;"
        r" it has logged nothing yet",
        lines[0],
    )
    assert any(
        re.fullmatch(r"server is starting, for \d+ s now; its last line: awake", line)
        for line in lines
    )


def test_start__callable__is_asked_until_true(stack: Stack, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    command = [
        sys.executable,
        "-c",
        f"import pathlib; pathlib.Path({str(flag)!r}).touch(); input()",
    ]

    with pytest.raises(ChildDied, match="EOFError"):  # no child can read from our terminal
        stack.start("reader", command, ready=lambda: False)

    assert flag.exists()
    stack.start("sleeper", SLEEPER, ready=flag.exists)


def test_start__command_fails__says_how_with_its_log(stack: Stack) -> None:
    command = [sys.executable, "-c", "import sys; print('no such table'); sys.exit(3)"]

    with pytest.raises(ChildDied) as caught:
        stack.start("ledger", command, ready=AWAKE)

    message = str(caught.value)
    assert "ledger stopped with exit status 3" in message
    assert "no such table" in message


def test_start__command_missing__says_so(stack: Stack) -> None:
    with pytest.raises(ChildDied, match="No such file or directory"):
        stack.start("ghost", ["/nowhere/ghost"], ready=AWAKE)


def test_start__never_ready__raises(stack: Stack) -> None:
    with pytest.raises(NotReady, match="was not ready after 0 s"):
        stack.start("mute", SLEEPER, ready=re.compile("never said"), timeout_s=0.3)

    stack.start("mute", SLEEPER, ready=AWAKE)  # the name is free again


def test_exit__children__stop_in_reverse_order(directory: RunDirectory) -> None:
    with Stack(directory, say=lambda _: None) as stack:
        first = stack.start("first", SLEEPER, ready=AWAKE)
        alive_at_callback: list[bool] = []
        stack.on_exit(lambda: alive_at_callback.append(first.is_running))
        stack.start("second", SLEEPER, ready=AWAKE)
        stack.on_exit(lambda: alive_at_callback.append(second_is_gone()))
        pids = [running_pid(stack, "first"), running_pid(stack, "second")]

        def second_is_gone() -> bool:
            return not is_alive(pids[1])

    assert alive_at_callback == [False, True]
    assert not any(is_alive(pid) for pid in pids)


def test_exit__child_ignores_sigterm__is_killed(directory: RunDirectory) -> None:
    lines: list[str] = []
    with Stack(directory, say=lines.append, grace_s=0.3) as stack:
        stack.start("stubborn", STUBBORN, ready=AWAKE)
        pid = running_pid(stack, "stubborn")

    assert not is_alive(pid)
    assert "stubborn did not stop in time and is killed" in lines


PARENT = textwrap.dedent(
    """
    import re, sys
    from pathlib import Path
    from scripts.stack.processes import Stack
    from scripts.stack.run_directory import claim_run_directory

    command = [sys.executable, "-c", sys.argv[2]]
    with claim_run_directory("stack", root=Path(sys.argv[1])) as directory:
        with Stack(directory, grace_s=3) as stack:
            for name in ("one", "two"):
                stack.start(name, command, ready=re.compile("awake"), restart=True)
            print("all up", flush=True)
            stack.wait()
    """
)


def start_parent(root: Path, child: list[str]) -> tuple[subprocess.Popen[str], list[int]]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(root), child[-1]],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert parent.stdout is not None
    for line in parent.stdout:
        if line == "all up\n":
            break
    pids = [int((root / "stack" / "pids" / name).read_text()) for name in ("one", "two")]
    assert all(is_alive(pid) for pid in pids)
    return parent, pids


@pytest.mark.parametrize(
    ("signal_number", "returncode"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, -signal.SIGINT)],
)
def test_parent__asked_to_stop__leaves_no_child(
    tmp_path: Path, signal_number: signal.Signals, returncode: int
) -> None:
    parent, pids = start_parent(tmp_path, SLEEPER)

    parent.send_signal(signal_number)
    parent.communicate(timeout=120)

    assert parent.returncode == returncode
    assert not any(is_alive(pid) for pid in pids)


def test_group__asked_to_stop__is_a_calm_stop(tmp_path: Path) -> None:
    parent, pids = start_parent(tmp_path, SLEEPER)

    # As a service manager does: the children a moment before their parent.
    for pid in (*pids, parent.pid):
        os.kill(pid, signal.SIGTERM)
    said, _ = parent.communicate(timeout=120)

    assert parent.returncode == 143
    assert "killed" not in said
    assert "is back" not in said
    assert not any(is_alive(pid) for pid in pids)


@pytest.mark.parametrize("child", [SLEEPER, STUBBORN], ids=["polite", "stubborn"])
def test_parent__killed__leaves_no_child_and_frees_its_directory(
    tmp_path: Path, child: list[str]
) -> None:
    parent, pids = start_parent(tmp_path, child)

    parent.kill()
    parent.communicate(timeout=120)
    lines: list[str] = []
    with claim_run_directory("stack", root=tmp_path, say=lines.append) as directory:
        # The lock is the guards' too: whoever gets it finds nobody at work in the directory.
        assert not any(is_alive(pid) for pid in pids)
        assert directory.name == "stack"


def test_child_killed__restart__comes_back(stack: Stack, lines: list[str]) -> None:
    stack.start("sleeper", SLEEPER, ready=AWAKE, restart=True)
    for _ in range(3):
        pid = running_pid(stack, "sleeper")
        lines.clear()

        os.kill(pid, signal.SIGKILL)

        assert wait_until(lambda: bool(lines))
        assert lines[0].startswith("sleeper was killed (SIGKILL); it is back after")
        assert running_pid(stack, "sleeper") != pid
    stack.check()


def test_guard_killed__restart__no_second_copy(stack: Stack, lines: list[str]) -> None:
    child = stack.start("sleeper", SLEEPER, ready=AWAKE, restart=True)
    pid = running_pid(stack, "sleeper")
    lines.clear()
    assert child.guard is not None

    os.kill(child.guard.pid, signal.SIGKILL)

    assert wait_until(lambda: bool(lines))
    assert not is_alive(pid)
    assert is_alive(running_pid(stack, "sleeper"))


def test_child_killed__command_is_a_callable__is_built_anew(stack: Stack) -> None:
    starts: list[int] = []

    def build_command() -> list[str]:
        starts.append(len(starts))
        return SLEEPER

    stack.start("sleeper", build_command, ready=AWAKE, restart=True)
    os.kill(running_pid(stack, "sleeper"), signal.SIGKILL)

    assert wait_until(lambda: len(starts) == 2)


def test_child_cannot_come_back__after_some_tries__has_failed(
    directory: RunDirectory, lines: list[str], tmp_path: Path
) -> None:
    marker = tmp_path / "started"
    command = [
        sys.executable,
        "-c",
        f"import pathlib, time; pathlib.Path({str(marker)!r}).mkdir(); print('awake', flush=True);"
        "time.sleep(600)",
    ]
    with Stack(directory, say=lines.append, grace_s=5.0, restarts_in_a_row_max=2) as stack:
        stack.start("once", command, ready=AWAKE, restart=True)

        os.kill(running_pid(stack, "once"), signal.SIGKILL)

        with pytest.raises(ChildDied, match="FileExistsError"):
            stack.wait(timeout_s=LIMIT_S)


def test_child_cannot_come_back__for_a_while__is_tried_until_it_does(
    stack: Stack, lines: list[str], tmp_path: Path
) -> None:
    obstacle = tmp_path / "obstacle"
    command = [
        sys.executable,
        "-c",
        "import pathlib, sys, time;"
        f"pathlib.Path({str(obstacle)!r}).exists() and sys.exit(1);"
        "print('awake', flush=True); time.sleep(600)",
    ]
    stack.start("hindered", command, ready=AWAKE, restart=True)
    obstacle.touch()
    os.kill(running_pid(stack, "hindered"), signal.SIGKILL)

    assert wait_until(lambda: any("did not come back (try 3)" in line for line in lines))
    stack.check()
    obstacle.unlink()

    assert wait_until(lambda: any("hindered" in line and "is back" in line for line in lines))
    assert is_alive(running_pid(stack, "hindered"))


def test_child_killed__no_restart__wait_raises(stack: Stack) -> None:
    stack.start("sleeper", SLEEPER, ready=AWAKE)
    os.kill(running_pid(stack, "sleeper"), signal.SIGKILL)

    with pytest.raises(ChildDied, match=r"sleeper was killed \(SIGKILL\)"):
        stack.wait(timeout_s=LIMIT_S)


def test_restart__by_name__is_a_new_process(stack: Stack) -> None:
    stack.start("sleeper", SLEEPER, ready=AWAKE, restart=True)
    pid = running_pid(stack, "sleeper")

    stack.restart("sleeper")

    assert not is_alive(pid)
    assert is_alive(running_pid(stack, "sleeper"))


def test_stop__by_name__may_be_started_again(stack: Stack) -> None:
    stack.start("sleeper", SLEEPER, ready=AWAKE, restart=True)
    pid = running_pid(stack, "sleeper")

    stack.stop("sleeper")
    stack.start("sleeper", SLEEPER, ready=AWAKE)

    assert not is_alive(pid)


def test_run_directory__second_at_the_same_time__gets_its_own(tmp_path: Path) -> None:
    lines: list[str] = []
    with (
        claim_run_directory(root=tmp_path, say=lines.append) as first,
        claim_run_directory(root=tmp_path, say=lines.append) as second,
    ):
        assert (first.name, second.name) == ("devnet", "devnet-2")
    assert lines == ["devnet is in use by a stack that is running; this one gets its own files"]


def test_run_directory__again__keeps_its_files_unless_fresh(tmp_path: Path) -> None:
    with claim_run_directory(root=tmp_path) as directory:
        directory.ledger_path.touch()
    with claim_run_directory(root=tmp_path) as directory:
        assert directory.ledger_path.exists()
    with claim_run_directory(root=tmp_path, fresh=True) as directory:
        assert not directory.ledger_path.exists()
        assert directory.logs.is_dir()


def test_temporary_run_directory__all_well__leaves_nothing(tmp_path: Path) -> None:
    with temporary_run_directory(root=tmp_path) as directory:
        directory.ledger_path.touch()

    assert list(tmp_path.iterdir()) == []


def test_temporary_run_directory__failure__keeps_the_last_few(tmp_path: Path) -> None:
    lines: list[str] = []
    for _ in range(5):
        with (
            pytest.raises(ValueError, match="a step failed"),
            temporary_run_directory(root=tmp_path, say=lines.append),
        ):
            raise ValueError("a step failed")

    assert lines[-1].startswith("the logs are kept in ")
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 4


def test_ports__taken__one_clear_sentence() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port: int = other.getsockname()[1]

        assert not port_is_free(port)
        assert preferred_port(port) != port
        with pytest.raises(PortTaken) as caught:
            require_port(port, what="the proxy")

    assert str(caught.value) == (
        f"port {port}, meant for the proxy, is taken by another program: "
        "stop that one or choose another port"
    )


def test_ports__free__is_itself() -> None:
    port = free_port()

    assert port_is_free(port)
    assert preferred_port(port) == port
    assert require_port(port, what="the proxy") == port
