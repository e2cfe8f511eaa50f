"""TCP ports on this machine: is one free, and which one to take."""

from __future__ import annotations

import socket
from typing import Final

LOOPBACK: Final = "127.0.0.1"


class PortTaken(Exception):
    """Another program listens where one of ours should. The message is for the person."""

    def __init__(self, port: int, what: str) -> None:
        self.port = port
        self.what = what
        super().__init__(
            f"port {port}, meant for {what}, is taken by another program: "
            "stop that one or choose another port"
        )


def port_is_free(port: int, *, host: str = LOOPBACK) -> bool:
    """Tell whether a server could listen on ``port`` now. The answer may be out of date at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do, so that connections still closing there are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(*, host: str = LOOPBACK) -> int:
    """Return a port nobody listens on, chosen by the system."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def preferred_port(port: int, *, host: str = LOOPBACK) -> int:
    """Return ``port`` when it is free, else any free one: for a default nobody insisted on."""
    return port if port_is_free(port, host=host) else free_port(host=host)


def require_port(port: int, *, what: str, host: str = LOOPBACK) -> int:
    """Return ``port``, which a person asked for. Raises PortTaken when it is not free."""
    if not port_is_free(port, host=host):
        raise PortTaken(port, what)
    return port
