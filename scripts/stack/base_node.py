"""Serve a local chain as a node of Base would: ``python -m scripts.stack.base_node --port N``.

JSON-RPC over HTTP on 127.0.0.1, single requests and batches, before the anvil of ``--chain-url``.
What Base's nodes show and anvil does not is added (``base_like``); everything else, anvil's own
methods included, passes as it is. New heads by WebSocket come from anvil itself.
"""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import click
import httpx
import orjson

from scripts.stack.base_like import L1_FEE_WEI, BaseLike
from serving.process.command_line import HTTP_URL, Failed, command
from serving.process.exit_codes import ExitCode

HOST: Final = "127.0.0.1"
TIMEOUT_S: Final = 60.0
_NO_ANSWER_CODE: Final = -32603
_NOT_JSON_CODE: Final = -32700
_INVALID_CODE: Final = -32600


class ChainError(Exception):
    """The chain's own error, to be passed on as it is."""

    def __init__(self, error: Any) -> None:
        super().__init__(str(error))
        self.error = error


class AskedChain:
    """The chain behind the node. Several threads may ask it."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False)

    def close(self) -> None:
        """Close the connections to it."""
        self._client.close()

    def ask(self, method: str, params: list[Any]) -> Any:
        """Return a result. Raises ``ChainError`` with the chain's error, or with ours for none."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        try:
            answer = self._client.post("/", json=body).json()
        except (httpx.HTTPError, ValueError) as error:
            reason = f"the chain did not answer: {type(error).__name__}"
            raise ChainError({"code": _NO_ANSWER_CODE, "message": reason}) from error
        if "error" in answer:
            raise ChainError(answer["error"])
        return answer["result"]


def answer_one(node: BaseLike, call: Any) -> dict[str, Any]:
    """Return the answer to one JSON-RPC request, whatever it is."""
    if not isinstance(call, dict) or not isinstance(call.get("method"), str):
        invalid = {"code": _INVALID_CODE, "message": "no JSON-RPC request"}
        return {"jsonrpc": "2.0", "id": None, "error": invalid}
    head = {"jsonrpc": "2.0", "id": call.get("id")}
    try:
        return {**head, "result": node.request(call["method"], call.get("params") or [])}
    except ChainError as error:
        return {**head, "error": error.error}


def answer_body(node: BaseLike, body: bytes) -> bytes:
    """Return the answer to one HTTP body: a request or a batch."""
    try:
        calls = orjson.loads(body)
    except orjson.JSONDecodeError:
        error = {"code": _NOT_JSON_CODE, "message": "no JSON"}
        return orjson.dumps({"jsonrpc": "2.0", "id": None, "error": error})
    if isinstance(calls, list):
        return orjson.dumps([answer_one(node, call) for call in calls])
    return orjson.dumps(answer_one(node, calls))


def build_server(node: BaseLike, port: int) -> ThreadingHTTPServer:
    """Return a server for ``node`` that already listens. Raises OSError where the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Small answers leave at once: half of every test's time would be Nagle's otherwise.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self._send(answer_body(node, self.rfile.read(length)))

        def do_OPTIONS(self) -> None:
            self._send(b"")

        def _send(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            # As anvil does, so that a wallet in a browser reaches it.
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Access-Control-Allow-Headers", "content-type")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: a line for each request would fill the log."""

    server = ThreadingHTTPServer((HOST, port), Handler)
    server.daemon_threads = True
    return server


@command("base-node", help=__doc__)
@click.option(
    "--port",
    default=0,
    show_default="a free one",
    type=click.IntRange(0, 65_535),
    help="The port to listen on.",
)
@click.option("--chain-url", type=HTTP_URL, required=True, help="The anvil behind it.")
@click.option(
    "--l1-fee-wei", type=click.IntRange(0), default=L1_FEE_WEI, help="L1 fee of each receipt, wei."
)
@click.option(
    "--preconfirmations",
    type=click.IntRange(0),
    default=1,
    help="How many times a new receipt is of a block that is not sealed yet.",
)
def main(port: int, chain_url: str, l1_fee_wei: int, preconfirmations: int) -> None:
    node = BaseLike(
        AskedChain(chain_url).ask, preconfirmations=preconfirmations, l1_fee_wei=l1_fee_wei
    )
    try:
        server = build_server(node, port)
    except OSError as error:
        raise Failed(
            f"port {port} is taken; choose another with --port", ExitCode.FAILED
        ) from error
    print(f"base-node: listening on http://{HOST}:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(prog_name="python -m scripts.stack.base_node")
