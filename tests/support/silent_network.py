"""A network of its own between this machine and PostgreSQL, that can fall silent.

Packets are dropped, no connection is closed: as when a cable is cut or a machine vanishes. A TCP
relay runs in a network namespace of Linux and passes on to the server's socket file. Making one
takes the rights of root and ``ip``; where they are missing, what needs it is skipped.

Run by path with ``-IS`` this file is the relay: ``ADDRESS PORT SOCKET_FILE``, until its standard
input ends; standard library only.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final, Self

PREFIX: Final = "current-"
PORT: Final = 5432


class SilentNetwork:
    """One network namespace with a relay to one server's socket file. A context manager.

    Skips the test where no namespace can be made.
    """

    def __init__(self, socket_file: Path) -> None:
        self._socket_file = socket_file
        number = os.getpid() % 16_384
        # Four addresses for each process of a machine's tests.
        high, low = divmod(number * 4, 256)
        self._here, self._there = f"10.203.{high}.{low + 1}", f"10.203.{high}.{low + 2}"
        self._name = f"{PREFIX}{os.getpid()}"
        self._cable = f"cur{number}"
        self._relay: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        import pytest  # the relay has only the standard library

        if os.geteuid() != 0 or shutil.which("ip") is None:
            pytest.skip("a network of its own takes root and `ip` (Debian: iproute2)")
        try:
            self._make()
        except subprocess.CalledProcessError as error:
            self.close()
            pytest.skip(f"no network of its own here: {error.stderr.decode().strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make(self) -> None:
        _delete_abandoned()
        inside = ["-n", self._name]
        _ip("netns", "add", self._name)
        far_end = ["peer", "name", "far", "netns", self._name]
        _ip("link", "add", self._cable, "type", "veth", *far_end)
        _ip("addr", "add", f"{self._here}/30", "dev", self._cable)
        _ip("link", "set", self._cable, "up")
        _ip(*inside, "addr", "add", f"{self._there}/30", "dev", "far")
        _ip(*inside, "link", "set", "far", "up")
        relay = [sys.executable, "-IS", __file__, self._there, str(PORT), str(self._socket_file)]
        self._relay = subprocess.Popen(
            ["ip", "netns", "exec", self._name, *relay],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._relay.stdout is not None
        assert self._relay.stdout.readline() == b"ready\n"

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database of the server, through this network."""
        address = f"{self._there}:{PORT}"
        return f"postgresql+psycopg://postgres@{address}/{database}?sslmode=disable"

    def fall_silent(self) -> None:
        """Drop every packet from the server's side, acknowledgements too."""
        _ip("-n", self._name, "route", "add", "blackhole", f"{self._here}/32")

    def speak_again(self) -> None:
        """Deliver again; does nothing while packets are delivered."""
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("-n", self._name, "route", "del", "blackhole", f"{self._here}/32")

    def close(self) -> None:
        """End the relay and delete the network."""
        if self._relay is not None:
            assert self._relay.stdin is not None and self._relay.stdout is not None
            self._relay.stdin.close()
            self._relay.wait()
            self._relay.stdout.close()
            self._relay = None
        _delete(self._name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _delete(name: str) -> None:
    # The cable goes with its far end.
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _delete_abandoned() -> None:
    """Delete the networks of processes that were killed."""
    listed = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True).stdout
    for line in listed.decode().splitlines():
        name = line.split()[0]
        number = name.removeprefix(PREFIX)
        if name.startswith(PREFIX) and number.isdigit() and not Path("/proc", number).exists():
            _delete(name)


# ------------------------------------------------------------------------------------- the relay


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, socket_file: str) -> None:
    while True:
        client, _ = listener.accept()
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(socket_file)
        except OSError:
            client.close()
            continue
        for ends in ((client, server), (server, client)):
            threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _relay() -> None:
    address, port, socket_file = sys.argv[1:]
    listener = socket.create_server((address, int(port)), backlog=128)
    threading.Thread(target=_accept, args=(listener, socket_file), daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    _relay()
