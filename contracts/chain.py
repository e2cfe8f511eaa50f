"""Reading a node: JSON-RPC through web3, with its failures translated once.

Every read names the block that it refers to; ``latest`` is for the head, the fee market and the
nonce only.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from eth_typing import URI
from web3 import HTTPProvider, Web3
from web3.exceptions import ContractLogicError, Web3Exception, Web3RPCError
from web3.types import RPCEndpoint, RPCResponse

from contracts.blocks import BlockRef
from contracts.errors import Fatal, Retryable, Reverted

REQUEST_TIMEOUT_S: Final = 10.0


class NodeUnavailable(Retryable):
    """The node did not answer, or not with JSON-RPC."""


class NodeRefused(Retryable):
    """The node answered with an error of its own. ``code`` and ``message`` are the node's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} (code {code})")
        self.code = code
        self.message = message


class WrongChain(Fatal):
    """The node serves another chain than the one configured."""


class NoCode(Fatal):
    """An address that should be a contract has no code."""


@dataclass(frozen=True, slots=True)
class RawLog:
    """One log as the node gives it; nothing decoded. Hashes and addresses in lower case."""

    address: str
    topics: tuple[str, ...]
    data: str
    block_number: int
    block_hash: str
    tx_hash: str
    log_index: int
    block_timestamp_s: int | None
    """None where the node does not say."""


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


def mask_url(url: str) -> str:
    """Return a URL's scheme, host and port only: paths and users carry access tokens."""
    parts = urlsplit(url)
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


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
    details: Any = response.get("error", {}) if isinstance(response, dict) else {}
    code = details.get("code", 0) if isinstance(details, dict) else 0
    message = str(details.get("message", error)) if isinstance(details, dict) else str(error)
    match = re.search(r"revert(?:ed)?:?\s*(.*)", message)
    if code == 3 or match is not None:
        return Reverted(match.group(1).strip("' ,") if match is not None else "")
    return NodeRefused(int(code), message[:300])


def revert_reason(error: ContractLogicError) -> str:
    """Return the contract's own reason from web3's exception, or an empty string."""
    message = str(error.message or "")
    for prefix in ("execution reverted: ", "execution reverted"):
        if message.startswith(prefix):
            message = message[len(prefix) :]
            break
    # Some nodes append the encoded revert data.
    return message.split(", data:")[0].removeprefix("revert: ").strip("' ,")


class ChainReader:
    """The few reads that the mirror needs, straight over JSON-RPC. Synchronous, not shared."""

    def __init__(self, web3: Web3) -> None:
        self._provider = web3.provider

    def fetch_chain_id(self) -> int:
        """Return the chain id that the node serves."""
        return int(self._request("eth_chainId", []), 16)

    def fetch_head(self) -> BlockRef:
        """Return the newest block's header."""
        header = _parse_header(self._request("eth_getBlockByNumber", ["latest", False]))
        if header is None:
            raise NodeUnavailable("the node has no newest block")
        return header

    def fetch_header(self, number: int) -> BlockRef | None:
        """Return the header of the block at ``number``, or None if the node has none there yet."""
        return _parse_header(self._request("eth_getBlockByNumber", [hex(number), False]))

    def fetch_logs(self, first: int, last: int, addresses: Sequence[str]) -> list[RawLog]:
        """Return the logs of ``addresses`` from block ``first`` to ``last``, both included."""
        query = {"fromBlock": hex(first), "toBlock": hex(last), "address": list(addresses)}
        return [_parse_log(log) for log in self._request("eth_getLogs", [query])]

    def fetch_block_logs(self, block_hash: str, addresses: Sequence[str]) -> list[RawLog]:
        """Return the logs of ``addresses`` in exactly the block with this hash."""
        query = {"blockHash": block_hash, "address": list(addresses)}
        return [_parse_log(log) for log in self._request("eth_getLogs", [query])]

    def fetch_code_size(self, address: str) -> int:
        """Return the size in bytes of the code at ``address`` in the newest block."""
        code: str = self._request("eth_getCode", [address, "latest"])
        return (len(code) - 2) // 2

    def _request(self, method: str, params: list[Any]) -> Any:
        with translated():
            response: RPCResponse = self._provider.make_request(RPCEndpoint(method), params)
        error = response.get("error")
        if error is not None:
            if isinstance(error, str):
                raise NodeRefused(0, error[:300])
            raise NodeRefused(int(error.get("code", 0)), str(error.get("message", ""))[:300])
        if "result" not in response:
            raise NodeUnavailable(f"{method}: the answer has neither a result nor an error")
        return response["result"]


def check_chain(reader: ChainReader, *, chain_id: int, addresses: dict[str, str]) -> None:
    """Check that the node serves ``chain_id`` and that every address holds code.

    Raises ``WrongChain`` or ``NoCode``.
    """
    served = reader.fetch_chain_id()
    if served != chain_id:
        raise WrongChain(f"the node serves chain {served}, the deployment is on {chain_id}")
    for name, address in addresses.items():
        if reader.fetch_code_size(address) == 0:
            raise NoCode(f"{name} at {address} has no code on chain {chain_id}")


def _parse_header(block: Any) -> BlockRef | None:
    if block is None:
        return None
    with _malformed("block"):
        return BlockRef(
            number=int(block["number"], 16),
            block_hash=block["hash"].lower(),
            parent_hash=block["parentHash"].lower(),
            timestamp_s=int(block["timestamp"], 16),
        )


def _parse_log(log: Any) -> RawLog:
    with _malformed("log"):
        return RawLog(
            address=log["address"].lower(),
            topics=tuple(log["topics"]),
            data=log["data"],
            block_number=int(log["blockNumber"], 16),
            block_hash=log["blockHash"].lower(),
            tx_hash=log["transactionHash"].lower(),
            log_index=int(log["logIndex"], 16),
            block_timestamp_s=_parse_optional(log.get("blockTimestamp")),
        )


def _parse_optional(quantity: str | None) -> int | None:
    return None if quantity is None else int(quantity, 16)


@contextmanager
def _malformed(what: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NodeUnavailable(f"the node sent a malformed {what}: {error!r}") from error
