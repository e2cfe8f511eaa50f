"""Unit tests reach no network: a socket is an error. What commands set for a process is undone."""

import os
from collections.abc import Iterator

import pytest
import structlog
from pytest_socket import disable_socket, enable_socket


@pytest.fixture(autouse=True)
def _no_sockets() -> Iterator[None]:
    disable_socket(allow_unix_socket=True)  # asyncio wakes its own loop through one
    yield
    enable_socket()


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """Undo what a command does to its process: its log, and the rights of new files."""
    mask = os.umask(0o022)
    os.umask(mask)
    yield
    os.umask(mask)
    structlog.reset_defaults()
