"""Serving an application until a signal ends it."""

import gc
import signal
from collections.abc import Callable
from typing import Any, Final, TypeVar

import structlog
import uvicorn

from contracts.errors import CurrentError
from serving.http.protocol import build_protocol
from serving.http.settings import ServerSettings
from serving.process.logs import configure_logs

log = structlog.get_logger("serving")

S = TypeVar("S", bound=ServerSettings)

STARTUP_FAILED: Final = 3
"""Exit status where the application's own startup failed; the log says why."""


def build_config(app: Any, settings: ServerSettings, **changes: Any) -> uvicorn.Config:
    """Return how uvicorn is to serve an ASGI application. ``changes`` take precedence."""
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "http": build_protocol(settings.headers_bytes_max, settings.headers_timeout_s),
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "server_header": False,
        "log_level": "warning",
        "timeout_graceful_shutdown": settings.drain_timeout_s,
        # Whose address a request has is read by `limits`, from proxies that the operator trusts.
        "proxy_headers": False,
    }
    return uvicorn.Config(app, **{**options, **changes})


def main(kind: type[S], build: Callable[[S], Any]) -> int:
    """Serve what ``build`` makes of the environment's settings, until SIGTERM or SIGINT.

    Return 0, or 2 where a person must act; the log says why.
    """
    built: list[tuple[Any, S]] = []
    status = attempt(kind, lambda settings: built.append((build(settings), settings)))
    for app, settings in built:
        serve(app, settings)
    return status


def attempt(kind: type[S], act: Callable[[S], Any]) -> int:
    """Do something by the environment's settings. Return 0, or 2 where a person must act."""
    configure_logs()
    try:
        settings = kind.from_environment()
        configure_logs(level=settings.log_level)
        act(settings)
    except CurrentError as error:
        log.error("stopped", error=str(error), kind=type(error).__name__)
        return 2
    return 0


def serve(app: Any, settings: ServerSettings) -> None:
    """Serve until SIGTERM or SIGINT; open requests have ``drain_timeout_s`` to finish."""
    # What is loaded by now stays: each time that all of it was searched for garbage, every request
    # waited for a tenth of a second.
    gc.collect()
    gc.freeze()
    for number in (signal.SIGTERM, signal.SIGINT):
        # The server stops gracefully, then raises the signal again; by then all is done.
        signal.signal(number, lambda *_: None)
    server = uvicorn.Server(build_config(app, settings, loop="uvloop"))
    server.run()
    if not server.started:
        raise SystemExit(STARTUP_FAILED)
