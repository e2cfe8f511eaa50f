"""TCP ports on this machine: is one free, and which one to take.

A port that is handed out is claimed for this process's life: a stack whose proxy was killed finds
its port again, although another stack starts in that very moment.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import Final

from contracts.errors import Rejected

LOOPBACK: Final = "127.0.0.1"
CLAIMS: Final = Path(tempfile.gettempdir()) / f"current-ports-{os.getuid()}"
"""One locked file for each port that some stack of this user uses, in whatever checkout."""
FIRST_PORT: Final = 20_000
LAST_PORT: Final = 32_000
"""Below the range from which systems give ports to outgoing connections."""
TRIES: Final = 1_000

_claimed: dict[int, int] = {}  # port -> the descriptor that holds its lock


class PortTaken(Rejected):
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


def claim_port(port: int) -> bool:
    """Claim ``port`` until this process ends; tell whether it is ours, not whether it is free."""
    if port in _claimed:
        return True
    CLAIMS.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(CLAIMS / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    _claimed[port] = descriptor
    return True


def free_port(*, host: str = LOOPBACK) -> int:
    """Return a port that nobody listens on or has claimed, and claim it.

    Raises OSError where a thousand tries found none.
    """
    for _ in range(TRIES):
        port = random.randint(FIRST_PORT, LAST_PORT)
        if port not in _claimed and port_is_free(port, host=host) and claim_port(port):
            return port
    raise OSError("no free TCP port was found")


def preferred_port(port: int, *, host: str = LOOPBACK) -> int:
    """Return ``port`` when it is free, else any free one: for a default nobody insisted on."""
    is_ours = port_is_free(port, host=host) and claim_port(port)
    return port if is_ours else free_port(host=host)


def require_port(port: int, *, what: str, host: str = LOOPBACK) -> int:
    """Return ``port``, which a person asked for. Raises PortTaken when it is not free."""
    if not (port_is_free(port, host=host) and claim_port(port)):
        raise PortTaken(port, what)
    return port
