"""The upstream of the proxy bench: fixed answers, from nginx or a small server of our own.

``python -m bench.proxy.upstream PORT`` runs the latter.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import uvicorn

from bench.proxy.servers import Server, serve
from scripts.stack.ports import free_port

MODEL: Final = "gpt-4o-mini"
PIECES: Final = 32
"""Events with text in a stream."""
STREAM_PATH: Final = "/stream/v1"
"""Under it the upstream streams whatever is asked of it: peers' clients do not say ``accept``."""

_USAGE: Final = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
_FACTS: Final = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": MODEL}
_TEXT: Final = "The yield of a deposit pays for this answer, token by token, until it is spent."


def _build_piece() -> str:
    choice = {"index": 0, "delta": {"content": "token by "}, "finish_reason": None}
    chunk = {**_FACTS, "object": "chat.completion.chunk", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n"


def _build_stream_end() -> str:
    choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
    facts = {**_FACTS, "object": "chat.completion.chunk"}
    chunks = [{**facts, "choices": [choice]}, {**facts, "choices": [], "usage": _USAGE}]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def _build_completion() -> str:
    message = {"role": "assistant", "content": _TEXT}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    facts = {**_FACTS, "object": "chat.completion"}
    return json.dumps({**facts, "choices": [choice], "usage": _USAGE})


def _build_models() -> str:
    return json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]})


@contextmanager
def serve_upstream(folder: Path) -> Iterator[Server]:
    """Run nginx with fixed answers, or where it is not installed a small server of our own."""
    port = free_port()
    nginx = find_nginx()
    if nginx is None:
        command = [sys.executable, "-m", "bench.proxy.upstream", str(port)]
    else:
        words = {
            "FOLDER": str(folder),
            "PORT": str(port),
            "MODELS": _build_models(),
            "COMPLETION": _build_completion(),
            "PIECE": _build_piece().replace("\n", "\\n"),
            "EVENTS": "${piece}" * PIECES
            + _build_stream_end().replace('"', '\\"').replace("\n", "\\n"),
        }
        text = Path(__file__).with_name("nginx.conf").read_text()
        for word, value in words.items():
            text = text.replace(word, value)
        settings = folder / "nginx.conf"
        settings.write_text(text)
        command = [nginx, "-e", str(folder / "nginx.log"), "-p", str(folder), "-c", str(settings)]
    with serve("upstream", command, port=port, ready="/v1/models", folder=folder) as server:
        yield server


def find_nginx() -> str | None:
    """Return nginx's path, or None. Debian keeps it where only root looks."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def run_upstream(port: int) -> None:
    """Serve the fixed answers with our own server."""
    stream = (_build_piece() * PIECES + _build_stream_end()).encode()
    answers = {"models": _build_models().encode(), "completions": _build_completion().encode()}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        is_stream = scope["path"].startswith(STREAM_PATH) or any(
            name == b"accept" and b"event-stream" in value for name, value in scope["headers"]
        )
        kind = b"text/event-stream" if is_stream else b"application/json"
        body = stream if is_stream else answers[scope["path"].rpartition("/")[2]]
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    uvicorn.run(app, host="127.0.0.1", port=port, lifespan="off", log_level="critical")


if __name__ == "__main__":
    run_upstream(int(sys.argv[1]))
