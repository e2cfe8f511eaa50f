"""What a node does wrong: the names it is logged and counted by, the exceptions, and telling them
apart by a node's own words. Pure.

::

    Retryable
    ├── NodeUnavailable       no answer, or none that can be used; ``failure`` says which
    │   ├── NotYet            right as things stand: ask again soon, without a long rest
    │   ├── RateLimited       too many requests; ``retry_after_s`` where the node says
    │   └── BodyTooLarge      more bytes than are read; a shorter range helps
    └── NodeRefused           the node answered with an error of its own
        ├── RangeRefused      too many blocks or logs in one request; a shorter range helps
        └── MethodMissing     the node does not offer this method
"""

import re
from enum import StrEnum
from typing import Any, Final

from contracts.errors import Fatal, Retryable
from contracts.reverts import find_revert_data, find_revert_reason


class NodeFailure(StrEnum):
    """A way in which a node fails, as it stands in logs and counters."""

    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"
    NOT_JSON = "not_json"
    """Truncated JSON, HTML, or anything else that is not an answer."""
    BODY_TOO_LARGE = "body_too_large"
    RATE_LIMITED = "rate_limited"
    REFUSED = "refused"
    RANGE_REFUSED = "range_refused"
    METHOD_MISSING = "method_missing"
    MALFORMED = "malformed"
    """A block or a log that cannot be one, for example with a transaction hash of zero."""
    UNKNOWN_BLOCK = "unknown_block"
    """A null block or "unknown block": not there yet, or orphaned."""
    EMPTY_LOGS = "empty_logs"
    """No logs, although the block's bloom says that ours are possible."""
    BELIEVED_EMPTY = "believed_empty"
    """The same, after every look that is left: a false alarm of the bloom, or of all sources."""
    PARTIAL_LOGS = "partial_logs"
    """Two looks at the logs of one block differ."""
    DUPLICATE_LOG = "duplicate_log"
    OTHER_BLOCKS_LOGS = "other_blocks_logs"
    """Logs of another block, range or contract than the one asked for."""
    CHAIN_MOVED = "chain_moved"
    """The chain was reorganised between two reads that belong together."""
    CLAMPED_RANGE = "clamped_range"
    """The end of a range is not there on the node that was asked for its logs."""
    WRONG_BLOOM = "wrong_bloom"
    """Logs whose block's bloom denies them."""
    LAGGING_HEAD = "lagging_head"
    HISTORY_PRUNED = "history_pruned"
    WRONG_CHAIN = "wrong_chain"
    OUTVOTED = "outvoted"
    """Enough other endpoints agree on another answer."""
    NO_QUORUM = "no_quorum"
    HEADS_LOST = "heads_lost"
    HEADS_SILENT = "heads_silent"
    """The WebSocket is open and says nothing, while the chain goes on."""


class NodeUnavailable(Retryable):
    """The node did not answer, or not with anything that can be used."""

    def __init__(
        self,
        message: str,
        *,
        failure: NodeFailure = NodeFailure.UNREACHABLE,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.failure = failure
        self.retry_after_s = retry_after_s


class NotYet(NodeUnavailable):
    """The answer is not there yet, or the chain moved meanwhile; worth asking again soon."""


class RateLimited(NodeUnavailable):
    """Too many requests. ``retry_after_s`` is the node's own wish, where it has one."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message, failure=NodeFailure.RATE_LIMITED, retry_after_s=retry_after_s)


class BodyTooLarge(NodeUnavailable):
    """The answer is larger than what is read of one; a shorter range may fit."""

    def __init__(self, message: str) -> None:
        super().__init__(message, failure=NodeFailure.BODY_TOO_LARGE)


class NodeRefused(Retryable):
    """The node answered with an error. ``code`` and ``message`` are the node's.

    ``revert_reason`` tells a contract's revert, which every node would answer, from the node's own
    trouble: None for the latter. ``data`` is what the contract reverted with, where the node says.
    """

    failure = NodeFailure.REFUSED

    def __init__(self, code: int, message: str, data: bytes | None = None) -> None:
        super().__init__(f"{message} (code {code})")
        self.code = code
        self.message = message
        self.revert_reason = find_revert_reason(code, message, data)


class RangeRefused(NodeRefused):
    """Too many blocks, or too many logs, for one request."""

    failure = NodeFailure.RANGE_REFUSED


class MethodMissing(NodeRefused):
    """The node does not offer the method."""

    failure = NodeFailure.METHOD_MISSING


class WrongChain(Fatal):
    """The node serves another chain than the one configured."""

    failure = NodeFailure.WRONG_CHAIN


_MISSING_METHOD_CODE: Final = -32601
_TOO_MANY_REQUESTS: Final = 429
_READS: Final = ("eth_getLogs", "eth_getBlock", "eth_chainId", "eth_getCode", "a batch")
_RATE_CODES: Final = frozenset({_TOO_MANY_REQUESTS, -32005, -32029, -32097})
_UNKNOWN_BLOCK: Final = re.compile(
    r"unknown block|(?:block|header)(?: \S+)? (?:was |is )?not found|beyond (?:the )?"
    r"(?:current )?(?:head|latest)|block .{0,80}(?:does not exist|not available yet)"
    r"|from ?block is (?:greater|higher) than (?:the )?(?:latest|head)",
    re.IGNORECASE,
)
_PRUNED: Final = re.compile(r"pruned|history (?:is )?(?:not|un)available|old data", re.IGNORECASE)
_RATE: Final = re.compile(
    r"rate.?limit|too many requests|requests? (?:limit|per|count)|per second|throttl|quota"
    r"|throughput|credits|capacity",
    re.IGNORECASE,
)
_RANGE: Final = re.compile(
    r"\branges?\b|more than [\d,]+ (?:results|logs)|too many (?:results|logs|blocks|events)"
    r"|(?:response|result|body|query|payload)\b.{0,40}\b(?:exceed|too (?:big|large)|limit|timeout"
    r"|timed out)|(?:max(?:imum)?|limit of).{0,30}\b(?:results|logs|blocks)"
    r"|(?:results|logs|blocks)\b.{0,40}\b(?:exceed|limit)|distance between|up to a [\d,]+k?\b"
    r"|limited to [\d,]+",
    re.IGNORECASE,
)


def read_error(method: str, error: Any) -> NodeUnavailable | NodeRefused:
    """Return the exception for the ``error`` of a JSON-RPC answer, whatever shape it has."""
    if not isinstance(error, dict):
        return build_refusal(method, 0, str(error))
    code = error.get("code", 0)
    data = find_revert_data(error.get("data"))
    message = str(error.get("message", ""))
    return build_refusal(method, code if isinstance(code, int) else 0, message, data)


def build_refusal(
    method: str, code: int, message: str, data: bytes | None = None
) -> NodeUnavailable | NodeRefused:
    """Return the exception for a node's error. Providers agree on no code, so the words decide.

    A rate limit is not a range limit: splitting a request would only make more of them.
    """
    text = message[:300]
    if not method.startswith(_READS):
        # What a transaction or a call is refused for has words of its own, of gas limits and more.
        refusal = NodeRefused(code, text, data)
        if code == _TOO_MANY_REQUESTS and refusal.revert_reason is None:
            return RateLimited(f"{method}: {text}")
        return refusal
    if method == "eth_getLogs" or method.startswith("eth_getBlock"):
        if _UNKNOWN_BLOCK.search(text):
            return NotYet(f"{method}: {text}", failure=NodeFailure.UNKNOWN_BLOCK)
        if _PRUNED.search(text):
            return NodeUnavailable(f"{method}: {text}", failure=NodeFailure.HISTORY_PRUNED)
    if code == _MISSING_METHOD_CODE:
        return MethodMissing(code, text)
    # "Too many results" and "too many requests" share a code at some providers.
    if _RATE.search(text):
        return RateLimited(f"{method}: {text}")
    if method == "eth_getLogs" and _RANGE.search(text):
        return RangeRefused(code, text)
    if code in _RATE_CODES:
        return RateLimited(f"{method}: {text}")
    return NodeRefused(code, text)
