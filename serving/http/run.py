"""Serving an application until a signal ends it."""

import gc
import signal
from typing import Any, Final

import uvicorn

from serving.http.protocol import build_protocol
from serving.http.settings import ServerSettings

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
