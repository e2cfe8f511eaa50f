"""A node through web3: for callers that need the client itself, to call and to send.

Callers that only read use ``contracts.reader``, which loads without web3.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import requests
from eth_typing import URI
from web3 import HTTPProvider, Web3
from web3.exceptions import ContractLogicError, Web3Exception, Web3RPCError
from web3.types import RPCEndpoint, RPCResponse

from contracts.errors import Reverted
from contracts.node_errors import NodeRefused, NodeUnavailable, NotYet, read_error
from contracts.transport import Call

REQUEST_TIMEOUT_S: Final = 10.0


def open_web3(rpc_url: str, *, timeout_s: float = REQUEST_TIMEOUT_S) -> Web3:
    """Return a web3 client for ``rpc_url``. Connects to nothing yet.

    web3's own silent retries are off: callers decide what may be tried again, and when.
    """
    provider = HTTPProvider(
        URI(rpc_url),
        request_kwargs={"timeout": timeout_s},
        exception_retry_configuration=None,
    )
    return Web3(provider)


@contextmanager
def translated() -> Iterator[None]:
    """Translate web3's and the transport's exceptions into ours.

    A revert becomes ``Reverted`` with the contract's reason; a node's error ``NodeRefused``; all
    else that the transport raises ``NodeUnavailable``.
    """
    try:
        yield
    except ContractLogicError as error:
        raise Reverted(revert_reason(error)) from error
    except Web3RPCError as error:
        raise _translate_rpc_error(error) from error
    except (requests.RequestException, Web3Exception, OSError, ValueError) as error:
        raise NodeUnavailable(f"the node did not answer: {type(error).__name__}") from error


def _translate_rpc_error(error: Web3RPCError) -> Exception:
    response: Any = error.rpc_response if error.rpc_response is not None else {}
    details: Any = response.get("error") if isinstance(response, dict) else None
    refusal = read_error("a call", details if isinstance(details, dict) else str(error))
    if isinstance(refusal, NodeRefused) and refusal.revert_reason is not None:
        return Reverted(refusal.revert_reason)
    return refusal


def revert_reason(error: ContractLogicError) -> str:
    """Return the contract's own reason from web3's exception, or an empty string."""
    message = str(error.message or "")
    for prefix in ("execution reverted: ", "execution reverted"):
        if message.startswith(prefix):
            message = message[len(prefix) :]
            break
    # Some nodes append the encoded revert data.
    return message.split(", data:")[0].removeprefix("revert: ").strip("' ,")


class Web3Transport:
    """A web3 client's provider, for callers that also need the client."""

    def __init__(self, web3: Web3) -> None:
        self._provider = web3.provider

    def request(self, method: str, params: list[Any]) -> Any:
        """Return the result of one request."""
        with translated():
            response: RPCResponse = self._provider.make_request(RPCEndpoint(method), params)
        error = response.get("error")
        if error is not None:
            raise read_error(method, error)
        if "result" not in response:
            raise NodeUnavailable(f"{method}: the answer has neither a result nor an error")
        return response["result"]

    def request_batch(self, calls: Sequence[Call]) -> list[Any | NodeUnavailable | NodeRefused]:
        """Return each call's result or error; one request for each."""
        results: list[Any | NodeUnavailable | NodeRefused] = []
        for method, params in calls:
            try:
                results.append(self.request(method, params))
            except (NotYet, NodeRefused) as error:
                results.append(error)
        return results
