"""Serving an application until a signal ends it."""

import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final, TypeVar

import structlog
import uvicorn
from uvicorn.lifespan.on import LifespanOn

from contracts.errors import CurrentError, Fatal, Retryable
from serving.http.protocol import build_protocol
from serving.http.settings import ServerSettings
from serving.process.logs import configure_logs
from serving.process.workers import (
    Workers,
    build_command,
    end_with_parent,
    is_worker,
    open_own_socket,
)

S = TypeVar("S", bound=ServerSettings)

log = structlog.get_logger("serving")

BACKLOG: Final = 2_048
"""Connections of one worker that wait to be taken."""


class CannotListen(Fatal):
    """The address to listen on is taken, not of this machine, or not ours to use."""


class StartupFailed(Retryable):
    """The application's own startup failed; the log says why."""


class SentenceLifespan(LifespanOn):
    """uvicorn's lifespan, which keeps a failure of ours instead of logging its traceback."""

    failure: CurrentError | None = None

    async def send(self, message: Any) -> None:
        """Take a message of the application, which sends it while it handles its exception."""
        error = sys.exc_info()[1]
        if message["type"] == "lifespan.startup.failed" and isinstance(error, CurrentError):
            self.failure = error
            message = {"type": message["type"], "message": ""}
        await super().send(message)


def build_config(app: Any, settings: ServerSettings, **changes: Any) -> uvicorn.Config:
    """Return how uvicorn is to serve an ASGI application. ``changes`` take precedence."""
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "http": build_protocol(
            settings.headers_bytes_max,
            settings.headers_timeout_s,
            settings.build_silent_connections(),
            settings.build_silent_connections(),
        ),
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "server_header": False,
        "log_level": "warning",
        "timeout_keep_alive": settings.keep_alive_s,
        "timeout_graceful_shutdown": settings.drain_timeout_s,
        # Whose address a request has is read by `limits`, from proxies that the operator trusts.
        "proxy_headers": False,
    }
    return uvicorn.Config(app, **{**options, **changes})


def run(kind: type[S], build: Callable[[S], Any]) -> None:
    """Serve what ``build`` makes of the environment's settings, until SIGTERM or SIGINT.

    Raises what ``build`` and ``serve`` raise, and ``SettingsInvalid``.
    """
    settings = kind.from_environment()
    configure_logs(level=settings.log_level)
    if is_worker():
        end_with_parent()
        serve(build(settings), settings)
        return
    # First of all: where nobody can listen, nothing is opened, and one line says why.
    check_address(settings)
    if settings.processes > 1:
        run_workers(settings)
    else:
        serve(build(settings), settings)


def run_workers(settings: ServerSettings) -> None:
    """Let ``processes`` workers serve on the port, until SIGTERM or SIGINT.

    Raises ``CannotListen`` and ``WorkerUnusable``.
    """
    with ExitStack() as closing:
        sockets = [closing.enter_context(_listen(settings))]
        port = sockets[0].getsockname()[1]
        sockets += [
            closing.enter_context(_listen(settings, port)) for _ in range(settings.processes - 1)
        ]
        log.info("workers_start", host=settings.host, port=port, processes=settings.processes)
        Workers(
            build_command(),
            sockets,
            environment=os.environ,
            drain_timeout_s=settings.drain_timeout_s,
        ).run()


def _listen(settings: ServerSettings, port: int | None = None) -> socket.socket:
    """Return a socket that listens at the address beside others of this process."""
    address = (settings.host, settings.port if port is None else port)
    try:
        return socket.create_server(
            address, family=_get_family(settings), backlog=BACKLOG, reuse_port=True
        )
    except OSError as error:
        raise _cannot_listen(settings, (error.strerror or type(error).__name__).lower()) from error


def _get_family(settings: ServerSettings) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in settings.host else socket.AF_INET


def check_address(settings: ServerSettings) -> None:
    """Raise ``CannotListen`` where the address cannot be had now."""
    obstacle = _find_obstacle(settings)
    if obstacle is not None:
        raise _cannot_listen(settings, obstacle)


def serve(app: Any, settings: ServerSettings) -> None:
    """Serve until SIGTERM or SIGINT; open requests have ``drain_timeout_s`` to finish.

    Raises ``CannotListen`` where the address cannot be had; where the application did not start,
    its own ``CurrentError``, or ``StartupFailed`` for any other exception.
    """
    # Objects loaded by now stay: each time that the collector searched all of them, every request
    # waited for a tenth of a second.
    gc.collect()
    gc.freeze()
    for number in (signal.SIGTERM, signal.SIGINT):
        # The server stops gracefully, then raises the signal again; by then all is done.
        signal.signal(number, lambda *_: None)
    config = build_config(app, settings, loop="uvloop")
    config.load()
    config.lifespan_class = SentenceLifespan
    server = uvicorn.Server(config)
    try:
        own = open_own_socket()
        server.run(None if own is None else [own])
    except SystemExit as error:
        # How uvicorn ends where it cannot start or cannot bind; the application has ended in order.
        if server.lifespan.should_exit:
            if isinstance(server.lifespan, SentenceLifespan) and server.lifespan.failure:
                raise server.lifespan.failure from None
            raise StartupFailed("the server did not start; the log says why") from error
        obstacle = _find_obstacle(settings) or "the port was taken a moment ago"
        raise _cannot_listen(settings, obstacle) from error
    if not server.started:
        raise StartupFailed("the server did not start; the log says why")


def _cannot_listen(settings: ServerSettings, obstacle: str) -> CannotListen:
    prefix = str(settings.model_config["env_prefix"])
    return CannotListen(
        f"cannot listen on {settings.host}:{settings.port}: {obstacle};"
        f" choose another address with {prefix}HOST and {prefix}PORT"
    )


def _find_obstacle(settings: ServerSettings) -> str | None:
    """Return the system's reason against listening at the address, None where it may."""
    try:
        address = (settings.host, settings.port)
        socket.create_server(address, family=_get_family(settings)).close()
    except OSError as error:
        return (error.strerror or type(error).__name__).lower()
    return None
