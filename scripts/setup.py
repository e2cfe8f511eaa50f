"""Set up what the project needs, once: ``python3 -m scripts.setup``.

Every ``make`` target calls it first. It creates ``.venv``, installs ``requirements.lock`` and the
project, installs anvil, compiles the contracts and builds the pages. What is done already is
recognised by a stamp that holds the fingerprint of its inputs, so a second run returns at once.

Standard library only, and no syntax newer than Python 3.8, so that an old Python reaches the
sentence that says it is too old.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Iterator, Sequence  # noqa: UP035 - an older Python reads this file

from scripts.stack.anvil_path import ROOT, anvil_path

PYTHON_MIN = (3, 11)
# The newest Python for which every package in the lock comes ready-made.
PYTHON_BEST_MAX = (3, 13)
# By major version: the oldest that the page tools take. Majors above the last one are all taken.
NODE_MIN = {20: 19, 22: 12}
NODE_SAID = " or ".join(f"{major}.{minor}" for major, minor in NODE_MIN.items())
DISK_FREE_BYTES_MIN = 2 * 1024**3
HEARTBEAT_S = 5.0

VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements.lock"
STATE = ROOT / ".current"
WEB = ROOT / "web"


class SetupError(Exception):
    """A stage could not be done; the message is the one sentence to print."""


class Stage:
    """A step that is skipped while ``stamp`` holds the fingerprint of its inputs.

    The stamp lives inside what the step makes, so deleting that deletes the stamp too.
    """

    def __init__(self, *, stamp: Path, inputs: Sequence[Path], run: Callable[[int], None]) -> None:
        self.stamp = stamp
        self.inputs = inputs
        self.run = run

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        # A virtual environment and an editable install name absolute paths: a moved or copied
        # tree is another tree.
        digest.update(str(ROOT).encode())
        for path in self.inputs:
            name = str(path.relative_to(ROOT)).encode()
            content = path.read_bytes()
            digest.update(b"%d:%s%d:%s" % (len(name), name, len(content), content))
        return digest.hexdigest()

    def is_done(self) -> bool:
        try:
            return self.stamp.read_text() == self.fingerprint()
        except OSError:
            return False

    def finish(self, fingerprint: str) -> None:
        """Write the stamp last and at once, so that a killed run leaves none."""
        self.stamp.parent.mkdir(parents=True, exist_ok=True)
        draft = self.stamp.with_name(self.stamp.name + ".draft")
        draft.write_text(fingerprint)
        draft.replace(self.stamp)


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


# --- running a command visibly -----------------------------------------------------------------


class Progress:
    """The last thing a command said: rewritten in place on a terminal, else every few seconds."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.started_s = time.monotonic()
        self.printed_s = self.started_s

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_s

    def show(self, line: str) -> None:
        if self.is_terminal:
            width = max(20, shutil.get_terminal_size().columns - 1)
            text = f"setup:   {self.elapsed_s:3.0f} s  {line}"
            print(f"\r{text[:width]:<{width}}", end="", flush=True)
        elif time.monotonic() - self.printed_s >= HEARTBEAT_S:
            self.printed_s = time.monotonic()
            say(f"  {self.elapsed_s:3.0f} s  {line}")

    def clear(self) -> None:
        if self.is_terminal:
            width = max(20, shutil.get_terminal_size().columns - 1)
            print(f"\r{'':<{width}}\r", end="", flush=True)


def run_visibly(
    command: Sequence[str],
    *,
    lock_fd: int,
    failure: str,
    usual: str,
    env: dict[str, str] | None = None,
) -> None:
    """Run ``command``; its whole output goes to ``.current/setup.log``.

    ``usual`` is how long it takes on an idle machine, in words.

    The child inherits ``lock_fd``: if this process is killed, the child keeps the lock until it
    ends, so no second setup works in the same folder beside it. Raises SetupError(failure, …).
    """
    log_path = STATE / "setup.log"
    with log_path.open("ab") as log:
        log.write(f"\n$ {' '.join(command)}\n".encode())
        # The `with` closes the pipe, which a test would otherwise be blamed for.
        with subprocess.Popen(
            list(command),
            cwd=str(ROOT),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            pass_fds=[lock_fd],
        ) as child:
            try:
                silent = f"{_name(command)}, usually {usual}"
                lines = _follow(child, log.write, silent=silent)
            except BaseException:
                child.terminate()
                child.wait()
                raise
    if child.returncode != 0:
        raise SetupError(f"{failure}: {_reason(lines)} (all of its output: {log_path})")


def _name(command: Sequence[str]) -> str:
    """Say what is run while it says nothing itself: ``python -m pip``, ``npm ci``."""
    return " ".join([Path(command[0]).name, *command[1:3]])


def _follow(
    child: subprocess.Popen[bytes], write: Callable[[bytes], object], *, silent: str
) -> list[str]:
    """Show a child's output, ``silent`` until there is any, until it ends; return its lines."""
    assert child.stdout is not None
    fd = child.stdout.fileno()
    progress = Progress()
    lines = [""]
    while True:
        if select.select([fd], [], [], 1.0)[0]:
            chunk = os.read(fd, 65536)
            if not chunk:
                break
            write(chunk)
            fresh = re.split(r"[\r\n]+", lines.pop() + chunk.decode(errors="replace"))
            lines.extend(fresh)
        progress.show(_brief(next((line for line in reversed(lines) if line.strip()), silent)))
    progress.clear()
    return lines


def _brief(line: str) -> str:
    """Shorten a line of pip or npm to what a person waits for."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", line).strip()
    plain = re.sub(r" \(from .*\)$", "", plain)
    plain = re.sub(r"(?<=Processing )\S*/", "", plain)
    plain = re.sub(r"^[━╸╺\s]+", "downloading ", plain)
    return plain if len(plain) <= 80 else plain[:79] + "…"


def _reason(lines: Sequence[str]) -> str:
    """Pick the line of a failed command's output that says most: the first error, else the last."""
    said = [line.strip() for line in lines if line.strip()]
    errors = [line for line in said if re.match(r"(ERROR|npm error|error)\b", line, re.I)]
    return (errors or said[-1:] or ["it said nothing"])[0]


# --- what must be there ------------------------------------------------------------------------


def find_python() -> str:
    """Return the Python to build the environment with: the running one if it suits.

    A newer one than PYTHON_BEST_MAX also works but compiles some packages, so it comes last.
    """
    running = sys.version_info[:2]
    # Not the Python of an environment that may be ours and about to be replaced.
    executable = str(getattr(sys, "_base_executable", sys.executable))
    if PYTHON_MIN <= running <= PYTHON_BEST_MAX:
        return executable
    broken = []
    for minor in (12, 13, 11):
        found = shutil.which(f"python3.{minor}")
        if found:
            why = find_defect(found)
            if why is None:
                return found
            broken.append(f"{found} does not start ({why})")
    if running > PYTHON_BEST_MAX:
        return executable
    newer = shutil.which("python3.14")
    if newer and find_defect(newer) is None:
        return newer
    told = "; ".join(broken) or "there is no python3.11 to python3.14 on the PATH"
    raise SetupError(
        f"Python {PYTHON_MIN[0]}.{PYTHON_MIN[1]} or newer is needed, this is "
        f"{running[0]}.{running[1]} and {told}"
    )


def find_defect(python: str) -> str | None:
    """Tell why a Python does not start; None where it does.

    A version manager puts a shim on the PATH for versions too that are not chosen, or are gone.
    """
    try:
        done = subprocess.run(
            [python, "-c", ""], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return type(error).__name__
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]


def check_node() -> str:
    """Return Node's version; it must be there with npm, and not too old for anvil's package."""
    for name in ("node", "npm"):
        if shutil.which(name) is None:
            raise SetupError(
                f"{name} is not installed: install Node.js {NODE_SAID} or newer with npm "
                "(the local chain, anvil, comes as an npm package, and the pages are built with it)"
            )
    try:
        said = subprocess.run(
            ["node", "--version"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
        version = said.strip().lstrip("v")
        major, minor = (int(part) for part in version.split(".")[:2])
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise SetupError(f"`node --version` does not work here: {error}") from error
    if major <= max(NODE_MIN) and minor < NODE_MIN.get(major, minor + 1):
        raise SetupError(f"Node.js {NODE_SAID} or newer is needed, this is {version}")
    return version


def check_disk() -> None:
    free = shutil.disk_usage(str(ROOT)).free
    if free < DISK_FREE_BYTES_MIN:
        raise SetupError(
            f"the disk is too full: {free / 1024**3:.1f} GiB free in {ROOT}, "
            f"{DISK_FREE_BYTES_MIN // 1024**3} GiB are needed"
        )


# --- the stages --------------------------------------------------------------------------------


def install_packages(lock_fd: int) -> None:
    """Make ``.venv`` hold exactly what the lock names, hash by hash, without resolving."""
    # The marker says that an install began; only a finished one takes it away. Half an install
    # may look whole to pip, so it is started over (the downloads are in pip's cache).
    marker = VENV / ".installing"
    if marker.exists() or not _works(VENV_PYTHON):
        shutil.rmtree(str(VENV), ignore_errors=True)
    if not VENV.exists():
        python = find_python()
        say("creating .venv")
        VENV.mkdir()
        marker.touch()
        run_visibly(
            [python, "-m", "venv", str(VENV)],
            lock_fd=lock_fd,
            failure="the virtual environment could not be made "
            "(on Debian and Ubuntu it needs the package python3-venv)",
            usual="10 seconds",
        )
    marker.touch()
    names = re.findall(r"^[a-z0-9][^=\s]*==", LOCK.read_text(), re.M)
    usual = "1 to 3 minutes"
    say(f"installing {len(names)} Python packages from requirements.lock; usually {usual}")
    # The few packages without a wheel are built with the locked setuptools, not a fresh one.
    build_tools = VENV / "build-tools.lock"
    build_tools.write_text(_lock_entries("setuptools", "wheel"))
    failure = "the Python packages could not be installed"
    _pip(
        "--require-hashes",
        "-r",
        str(build_tools),
        lock_fd=lock_fd,
        failure=failure,
        usual="seconds",
    )
    _pip(
        "--no-build-isolation",
        "--require-hashes",
        "-r",
        str(LOCK),
        lock_fd=lock_fd,
        failure=failure,
        usual=usual,
    )
    marker.unlink()


def _works(python: Path) -> bool:
    """Tell whether a virtual environment's Python starts, has pip and is new enough."""
    probe = f"import pip, sys; sys.exit(sys.version_info[:2] < {PYTHON_MIN})"
    try:
        return subprocess.run([str(python), "-c", probe], capture_output=True).returncode == 0
    except OSError:
        return False


def _lock_entries(*names: str) -> str:
    pattern = rf"^(?:{'|'.join(names)})==.*?(?=^[a-z0-9])"
    entries = re.findall(pattern, LOCK.read_text() + "\nz", re.M | re.S)
    assert len(entries) == len(names), f"requirements.lock must name {names}"
    return "".join(entries)


def _pip(*arguments: str, lock_fd: int, failure: str, usual: str) -> None:
    run_visibly(
        [str(VENV_PYTHON), "-m", "pip", "install", "--no-deps", "--no-input", *arguments],
        lock_fd=lock_fd,
        failure=failure,
        usual=usual,
        env={"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )


def install_project(lock_fd: int) -> None:
    say("installing the project")
    _pip(
        "--no-build-isolation",
        "-e",
        str(ROOT),
        lock_fd=lock_fd,
        failure="the project itself could not be installed",
        usual="10 seconds",
    )


def install_anvil(lock_fd: int) -> None:
    say("installing anvil from package-lock.json")
    # The install script only finds the binary, which `anvil_path` does by itself.
    run_visibly(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        lock_fd=lock_fd,
        failure="anvil could not be installed",
        usual="10 seconds",
    )
    try:
        anvil_path()
    except LookupError as error:
        raise SetupError(f"npm ran, but {error}") from error


def compile_contracts(lock_fd: int) -> None:
    say("compiling the contracts")
    # All of them: Ape's own cache does not see that an imported module has changed.
    run_visibly(
        [str(VENV / "bin" / "ape"), "compile", "--force"],
        lock_fd=lock_fd,
        failure="the contracts could not be compiled",
        usual="20 seconds",
        env={
            # Ape keeps its data in the project, not in the home folder, so that two checkouts and
            # other Ape projects do not meet there.
            "APE_DATA_FOLDER": str(ROOT / ".ape"),
            # It takes the `vyper` it finds there, and would else download one.
            "PATH": os.pathsep.join([str(VENV / "bin"), os.environ.get("PATH", "")]),
        },
    )


def install_page_tools(lock_fd: int) -> None:
    say("installing what the pages are built with from web/package-lock.json")
    run_visibly(
        ["npm", "ci", "--prefix", str(WEB), "--ignore-scripts", "--no-audit", "--no-fund"],
        lock_fd=lock_fd,
        failure="the pages' packages could not be installed",
        usual="10 seconds",
    )


def build_pages(lock_fd: int) -> None:
    say("building the pages")
    run_visibly(
        ["node", str(WEB / "build.mjs")],
        lock_fd=lock_fd,
        failure="the pages could not be built",
        usual="20 seconds",
    )


def page_sources() -> list[Path]:
    """Return what the pages are built from; the types of our HTTP change nothing of them."""
    sources = [path for path in (WEB / "src").rglob("*") if path.suffix in (".ts", ".tsx", ".css")]
    named = [WEB / name for name in ("build.mjs", "sites.json", "package-lock.json")]
    shells = [WEB / site / "index.html" for site in ("proxy", "market")]
    return sorted([*(path for path in sources if ".gen." not in path.name), *named, *shells])


def stages() -> list[Stage]:
    contracts = ROOT / "contracts"
    sources = sorted([*contracts.rglob("*.vy"), *contracts.rglob("*.vyi")])
    return [
        Stage(stamp=VENV / ".stamp", inputs=[LOCK], run=install_packages),
        Stage(
            stamp=VENV / ".stamp-project",
            inputs=[LOCK, ROOT / "pyproject.toml"],
            run=install_project,
        ),
        Stage(
            stamp=ROOT / "node_modules" / ".stamp",
            inputs=[ROOT / "package.json", ROOT / "package-lock.json"],
            run=install_anvil,
        ),
        Stage(
            stamp=ROOT / ".build" / ".stamp",
            inputs=[LOCK, ROOT / "ape-config.yaml", *sources],
            run=compile_contracts,
        ),
        Stage(
            stamp=WEB / "node_modules" / ".stamp",
            inputs=[WEB / "package.json", WEB / "package-lock.json"],
            run=install_page_tools,
        ),
        # The market's pages are built last.
        Stage(stamp=ROOT / "market" / "site" / ".stamp", inputs=page_sources(), run=build_pages),
    ]


@contextlib.contextmanager
def only_one() -> Iterator[int]:
    """Hold the setup lock of this folder; wait, and say so, while another run holds it."""
    STATE.mkdir(exist_ok=True)
    with (STATE / "setup.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another setup is running in this folder; waiting for it to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def set_up() -> None:
    """Do what is not done yet. Raises SetupError with the sentence to print."""
    if all(stage.is_done() for stage in stages()):
        return
    with only_one() as lock_fd:
        if all(stage.is_done() for stage in stages()):
            return  # the run that was waited for did it
        check_disk()
        say(f"Python: {find_python()}; Node.js: {check_node()}")
        (STATE / "setup.log").write_bytes(b"")
        began_s = time.monotonic()
        for stage in stages():
            if stage.is_done():
                continue
            stage_began_s = time.monotonic()
            fingerprint = stage.fingerprint()
            stage.run(lock_fd)
            stage.finish(fingerprint)
            say(f"  done in {time.monotonic() - stage_began_s:.1f} s")
        say(f"ready after {time.monotonic() - began_s:.1f} s")


def main(arguments: Sequence[str] = ()) -> int:
    """Set up; return 0, 1 where that failed, 2 for an argument, 130 after Ctrl-C."""
    if arguments:
        print(__doc__, file=sys.stdout if arguments[0] in ("-h", "--help") else sys.stderr)
        return 0 if arguments[0] in ("-h", "--help") else 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        set_up()
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"setup: {error.strerror or error}: {error.filename or ROOT}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; the next run goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
