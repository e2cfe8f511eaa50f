"""A pooler in front of a test's PostgreSQL server, as strict as pgbouncer is by default.

It listens on a TCP port, refuses startup parameters that it does not know, and hands the server
connections that it has out for a session each, or for a transaction each.
"""

import contextlib
import socket
import struct
import threading
from pathlib import Path
from typing import Final, Literal, Self

_SSL_REQUEST: Final = 80_877_103
_GSS_REQUEST: Final = 80_877_104
_KNOWN: Final = frozenset(
    {"user", "database", "client_encoding", "datestyle", "timezone", "application_name"}
)
_READY: Final = b"Z"
_TERMINATE: Final = b"X"


class Pooler:
    """One pooler for one database. A context manager."""

    def __init__(self, server_folder: Path, mode: Literal["session", "transaction"]) -> None:
        self._server = str(server_folder / ".s.PGSQL.5432")
        self._mode = mode
        self._idle: list[_Wire] = []
        self._lock = threading.Lock()
        self._greeting = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for opened in self._open:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database behind the pooler."""
        port = self._listener.getsockname()[1]
        return f"postgresql+psycopg://postgres@127.0.0.1:{port}/{database}?sslmode=disable"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        wire = _Wire(client)
        server: _Wire | None = None
        with contextlib.suppress(OSError, EOFError):
            startup = self._greet(wire)
            if startup is None:
                return
            while True:
                message = wire.read_message()
                if message[:1] == _TERMINATE:
                    break
                if server is None:
                    server = self._take(startup)
                server.send(message)
                if message[:1] not in (b"Q", b"S"):  # a query, or the end of a pipeline
                    continue
                if self._answer(server, wire) == b"I" and self._mode == "transaction":
                    self._give_back(server)
                    server = None
        client.close()
        if server is not None:
            server.socket.close()

    def _answer(self, server: "_Wire", client: "_Wire") -> bytes:
        """Pass on what the server says until it is ready; return its transaction status."""
        while True:
            message = server.read_message()
            client.send(message)
            if message[:1] == _READY:
                return message[-1:]

    def _greet(self, client: "_Wire") -> bytes | None:
        """Read the startup packet and answer it; return it, or None where it was refused."""
        startup = client.read_packet()
        while struct.unpack("!I", startup[4:8])[0] in (_SSL_REQUEST, _GSS_REQUEST):
            client.send(b"N")
            startup = client.read_packet()
        names = startup[8:].split(b"\0")[0:-2:2]
        unknown = [name.decode() for name in names if name.decode().lower() not in _KNOWN]
        if unknown:
            text = f"SFATAL\0C08P01\0Munsupported startup parameter: {unknown[0]}\0\0".encode()
            client.send(b"E" + struct.pack("!I", len(text) + 4) + text)
            return None
        server = self._take(startup)
        client.send(self._greeting)
        self._give_back(server)
        return startup

    def _take(self, startup: bytes) -> "_Wire":
        with self._lock:
            if self._idle:
                return self._idle.pop()  # the one that was used last
        server = _Wire(socket.socket(socket.AF_UNIX))
        self._open.append(server.socket)
        server.socket.connect(self._server)
        server.send(startup)
        greeting = b""
        while not greeting.endswith(b"Z\0\0\0\5I"):
            greeting += server.read_message()
        self._greeting = greeting
        return server

    def _give_back(self, server: "_Wire") -> None:
        with self._lock:
            self._idle.append(server)


class _Wire:
    """One end of a connection, read message by message."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read_packet(self) -> bytes:
        """Return the first packet, which has no type."""
        head = self._read(4)
        return head + self._read(struct.unpack("!I", head)[0] - 4)

    def read_message(self) -> bytes:
        kind = self._read(1)
        return kind + self.read_packet()

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data
