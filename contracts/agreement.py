"""When two nodes say the same, and when a batch of answers has failed."""

from collections.abc import Hashable, Sequence
from typing import Any, Final

from contracts.node_errors import (
    BodyTooLarge,
    NodeFailure,
    NodeRefused,
    NodeUnavailable,
    NotYet,
    RangeRefused,
)
from contracts.reader import RawLog
from contracts.transport import Answer

_LOG_FIELDS: Final = ("blockHash", "logIndex", "address", "topics", "data", "transactionHash")


def essence_of(logs: Sequence[RawLog]) -> Hashable:
    """Return what of some logs two nodes must agree on; not all say the time."""
    return tuple(
        (log.block_hash, log.log_index, log.address, log.topics, log.data, log.tx_hash)
        for log in logs
    )


def find_failure(answers: Sequence[Answer]) -> NodeUnavailable | NodeRefused | None:
    """Return what failed of a batch's answers, None where every answer is the chain's own.

    A range that is too long comes first: its caller would rather ask for less.
    """
    failures = [
        answer
        for answer in answers
        if isinstance(answer, NodeUnavailable)
        or (isinstance(answer, NodeRefused) and answer.revert_reason is None)
    ]
    failures.sort(key=lambda failure: not isinstance(failure, (RangeRefused, BodyTooLarge)))
    return failures[0] if failures else None


def raw_essence_of(answer: Any) -> Hashable:
    """Return what of an answer as JSON two nodes must agree on, be it logs or a block."""
    if isinstance(answer, dict) and "parentHash" in answer:
        return answer.get("number"), answer.get("hash"), answer["parentHash"]
    if isinstance(answer, list):
        return tuple(
            tuple(str(log.get(name)) for name in _LOG_FIELDS) if isinstance(log, dict) else log
            for log in answer
        )
    return str(answer)


def require_all(blocks: list[list[RawLog]], block_hashes: Sequence[str]) -> list[list[RawLog]]:
    """Return the blocks' logs. Raises ``NotYet`` where some are missing at the end."""
    if len(blocks) < len(block_hashes):
        raise NotYet("logs of a block are not there yet", failure=NodeFailure.UNKNOWN_BLOCK)
    return blocks
