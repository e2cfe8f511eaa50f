"""web3's way to a local node, over connections that are kept.

A request takes 0.2 ms of processor time here, 1.2 ms through web3's own provider; a test of the
keeper makes some three hundred.
"""

import http.client
from typing import Any, Final

import orjson
from hexbytes import HexBytes
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

TIMEOUT_S: Final = 60.0
_HEADERS: Final = {"Content-Type": "application/json"}


class QuickProvider(JSONBaseProvider):
    """A node on this machine. Raises ``OSError`` where it does not answer."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port
        self._idle: list[http.client.HTTPConnection] = []

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Return the node's answer, an error of its included."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or []}
        answer: RPCResponse = orjson.loads(self._post(orjson.dumps(call, default=_write)))
        return answer

    def _post(self, body: bytes) -> bytes:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        try:
            connection.request("POST", "/", body, _HEADERS)
            answer = connection.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            # Whatever was half said on it is gone with it.
            connection.close()
            raise ConnectionError("the node did not answer") from error
        self._idle.append(connection)
        return answer

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()


def _write(value: Any) -> Any:
    if isinstance(value, bytes):
        return HexBytes(value).to_0x_hex()
    if isinstance(value, dict) or hasattr(value, "items"):
        return dict(value)
    raise TypeError(f"no JSON: {type(value).__name__}")
