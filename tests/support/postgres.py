"""A private PostgreSQL server of the tests' own, and databases on it by the dozen.

The server's programs are found in ``CURRENT_POSTGRES_BIN``, on the ``PATH`` or where Debian puts
them; where there are none, what needs a server is skipped. It listens on a socket in a folder of
its own, so that no port is taken, and it dies with the process that started it, also by
``kill -9``.
"""

import atexit
import functools
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import psycopg
import pytest

from contracts.errors import Retryable
from tests.support.folders import is_running

_DEBIAN: Final = Path("/usr/lib/postgresql")
_GUARD: Final = Path(__file__).resolve().parents[2] / "scripts" / "stack" / "process_guard.py"
_START_TIMEOUT_S: Final = 60.0
_ABANDONED_AFTER_S: Final = 3_600.0
_SETTINGS: Final = {
    "listen_addresses": "",
    "shared_buffers": "32MB",
    "full_page_writes": "off",
    "logging_collector": "off",
    "deadlock_timeout": "100ms",
}
# initdb and the server refuse to run as root.
_STAND_INS: Final = ("postgres", "nobody")
# Our Python may be out of their reach, so it is asked to become one of them, and then the program.
_BECOME: Final = (
    "import os, sys; os.setgroups([]); os.setgid(int(sys.argv[2]));"
    " os.setuid(int(sys.argv[1])); os.execv(sys.argv[3], sys.argv[3:])"
)


class ServerError(Retryable):
    """The server did not start."""


def find_programs() -> Path | None:
    """Return the folder that holds ``initdb`` and ``postgres``, or None."""
    folders = [Path(os.environ["CURRENT_POSTGRES_BIN"])] if _is_told() else []
    on_path = shutil.which("initdb")
    if on_path is not None:
        folders.append(Path(on_path).resolve().parent)
    if _DEBIAN.is_dir():
        by_version = sorted(_DEBIAN.iterdir(), key=lambda p: _version_of(p.name), reverse=True)
        folders.extend(folder / "bin" for folder in by_version)
    for folder in folders:
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    return None


def _is_told() -> bool:
    return "CURRENT_POSTGRES_BIN" in os.environ


def _version_of(name: str) -> int:
    return int(name) if name.isdigit() else -1


needs_postgres = pytest.mark.skipif(
    find_programs() is None,
    reason="no PostgreSQL server: install one (Debian: postgresql) or set CURRENT_POSTGRES_BIN",
)


class Postgres:
    """One server over one data folder. Use it as a context manager, or call ``close``.

    ``durable=False`` turns ``fsync`` off: quick, and good for everything but a power cut.
    ``connections_max``: how many it takes at once.
    """

    def __init__(self, *, durable: bool = False, connections_max: int = 60) -> None:
        programs = find_programs()
        if programs is None:
            raise ServerError("no PostgreSQL server is installed")
        self._programs = programs
        self._user = _stand_in()
        self._folder = Path(tempfile.mkdtemp(prefix="current-pg-", dir="/tmp"))
        self._data = self._folder / "data"
        self._settings = {
            **_SETTINGS,
            "max_connections": str(connections_max),
            "fsync": "on" if durable else "off",
        }
        self._numbers = itertools.count()
        self._templates: dict[Callable[[str], None], str] = {}
        self._guard: subprocess.Popen[bytes] | None = None
        self._life_fd = -1
        if self._user is not None:
            shutil.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        try:
            self._create()
            self.start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------ databases

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database, whether it exists or not."""
        return f"postgresql+psycopg://postgres@/{database}?host={self._folder}"

    def create_database(self) -> str:
        """Return the URL of a new, empty database."""
        return self._create_database("template0")

    def create_copy(self, prepare: Callable[[str], None]) -> str:
        """Return the URL of a copy of what ``prepare`` makes, once, of an empty database's URL."""
        if prepare not in self._templates:
            name = f"template_{prepare.__name__}"
            prepare(self._create_database("template0", name=name))
            self._templates[prepare] = name
        return self._create_database(self._templates[prepare])

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement as the superuser, outside any transaction."""
        with psycopg.connect(
            host=str(self._folder), user="postgres", dbname=database, autocommit=True
        ) as connection:
            connection.execute(statement.encode())

    def _create_database(self, template: str, *, name: str | None = None) -> str:
        chosen = f"ledger_{next(self._numbers)}" if name is None else name
        self.execute(f"CREATE DATABASE {chosen} TEMPLATE {template}")
        return self.url(chosen)

    # -------------------------------------------------------------------------------------- process

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        reading_fd, self._life_fd = os.pipe()
        pid_file = self._folder / "guarded.pid"
        pid_file.unlink(missing_ok=True)
        command = [str(self._programs / "postgres"), "-D", str(self._data)]
        command += ["-k", str(self._folder)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        guard = [sys.executable, "-IS", str(_GUARD), str(reading_fd), "5", str(pid_file), "--"]
        with (self._folder / "log").open("ab") as log:
            self._guard = subprocess.Popen(
                [*guard, *self._as_stand_in(command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                pass_fds=(reading_fd,),
                start_new_session=True,
            )
        os.close(reading_fd)
        self._wait_until_open()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server. ``SIGINT`` cuts its clients off, ``SIGQUIT`` is a crash."""
        if self._guard is None:
            return
        pid_file = self._folder / "guarded.pid"
        if self._guard.poll() is None and pid_file.exists():
            os.kill(int(pid_file.read_text()), how)
            try:
                self._guard.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(self._guard.pid, signal.SIGKILL)
        os.close(self._life_fd)
        self._guard.wait()
        self._guard = None

    def freeze(self, how: signal.Signals = signal.SIGSTOP) -> None:
        """Stop the server and all its sessions where they are; ``SIGCONT`` lets them go on."""
        pid = int((self._folder / "guarded.pid").read_text())
        sessions = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in (pid, *map(int, sessions)):
            os.kill(process, how)

    def close(self) -> None:
        """End the server and delete its data. Idempotent."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _create(self) -> None:
        command = [str(self._programs / "initdb"), "-D", str(self._data), "-U", "postgres"]
        command += ["-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        done = subprocess.run(
            self._as_stand_in(command),
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ServerError(f"initdb failed: {done.stderr}")

    def _wait_until_open(self) -> None:
        assert self._guard is not None
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg.OperationalError as error:
                if self._guard.poll() is not None or time.monotonic() > deadline_s:
                    said = (self._folder / "log").read_text(errors="replace")
                    raise ServerError(f"the server did not start: {said[-2_000:]}") from error
                time.sleep(0.02)

    def _as_stand_in(self, command: list[str]) -> list[str]:
        if self._user is None:
            return command
        identity = [str(self._user.pw_uid), str(self._user.pw_gid)]
        return [sys.executable, "-IS", "-c", _BECOME, *identity, *command]


def _stand_in() -> pwd.struct_passwd | None:
    """Return whom to run the server as, or None for ourselves."""
    if os.geteuid() != 0:
        return None
    for name in _STAND_INS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerError(f"PostgreSQL does not run as root, and there is no user {_STAND_INS}")


@functools.cache
def shared_server() -> Postgres:
    """Return the server that all tests of this process share; it ends with the process.

    Skips the test where no server is installed.
    """
    if find_programs() is None:
        pytest.skip(str(needs_postgres.kwargs["reason"]))
    _remove_abandoned()
    server = Postgres()
    atexit.register(server.close)
    return server


def close_shared_server() -> None:
    """End the shared server, where there is one: workers of a test run do not reach ``atexit``."""
    if shared_server.cache_info().currsize:
        shared_server().close()


def _remove_abandoned() -> None:
    """Delete the data of servers whose test run was killed.

    Younger ones may be another run's that stops and starts its server.
    """
    for folder in Path("/tmp").glob("current-pg-*"):
        pid_file = folder / "guarded.pid"
        with suppress(OSError, ValueError):
            age_s = time.time() - pid_file.stat().st_mtime
            if age_s > _ABANDONED_AFTER_S and not is_running(int(pid_file.read_text())):
                shutil.rmtree(folder, ignore_errors=True)
