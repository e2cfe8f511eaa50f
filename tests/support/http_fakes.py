"""Servers at the outer edge of a test, in a thread each, for callers that block: a node that lies
about a real chain, and an upstream whose answers are set."""

import json
import threading
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support.waiting import LIMIT_S

Answer = tuple[int, Any]
"""A status, and what is sent as JSON."""


class HttpFake:
    """Answers each request by ``answer(path, body)``. A context manager."""

    def __init__(self) -> None:
        fake = self
        self.seen: list[tuple[str, dict[str, str]]] = []
        """Path and headers of each request."""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._serve(b"")

            def do_POST(self) -> None:
                self._serve(self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *_: Any) -> None:
                pass

            def _serve(self, body: bytes) -> None:
                fake.seen.append((self.path, dict(self.headers)))
                status, told = fake.answer(self.path, body)
                data = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def answer(self, path: str, body: bytes, /) -> Answer:
        """Return what a request gets."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


Lie = Callable[[dict[str, Any]], dict[str, Any] | None]
"""What a request is answered with instead of the chain's answer; None: the chain's."""


class LyingNode(HttpFake):
    """A node before a real chain, that answers what ``lie`` says where it says anything."""

    def __init__(self, node_url: str) -> None:
        super().__init__()
        self._node_url = node_url
        self.lie: Lie = lambda _: None

    def answer(self, _path: str, body: bytes) -> Answer:
        asked = json.loads(body)
        calls = asked if isinstance(asked, list) else [asked]
        answers = [self._answer_one(call) for call in calls]
        return 200, answers if isinstance(asked, list) else answers[0]

    def _answer_one(self, call: dict[str, Any]) -> dict[str, Any]:
        lie = self.lie(call)
        if lie is not None:
            return {"jsonrpc": "2.0", "id": call["id"], **lie}
        return self.ask(call)

    def ask(self, call: dict[str, Any]) -> dict[str, Any]:
        """Return the chain's own answer."""
        request = urllib.request.Request(
            self._node_url, json.dumps(call).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
            told: dict[str, Any] = json.loads(answer.read())
        return told


class SetUpstream(HttpFake):
    """An upstream whose answers are set by path; any other path is not found."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Answer] = {}

    def answer(self, path: str, _body: bytes) -> Answer:
        return self.answers.get(path, (404, {"error": {"message": "not found"}}))
