"""What a stream has delivered so far, and what may be passed on. Pure."""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

import orjson

from market.text.dialects import Endpoint
from market.text.usage import Usage, count_message_bytes, read_usage
from serving.models.prices import Tokens
from serving.stream.sse import DONE, build_event, read_data

BYTES_PER_TOKEN_MAX: Final = 64
"""Longer than the tokens of common vocabularies: more text than this a token is more tokens."""

_ENDED: Final = frozenset({"response.completed", "response.incomplete"})
_FAILED: Final = frozenset({"response.failed", "error"})


class Move(Enum):
    """What to do with an event."""

    COMMENT = auto()
    """Pass it on; it says nothing."""
    PASS = auto()
    """Give it to the client as it came."""
    KEEP = auto()
    """Send it when the charge is written: it ends the stream, or says the usage."""
    DONE = auto()
    """The seller has said all."""
    FAILED = auto()
    """The seller reports a failure, or sent what is no event of this endpoint."""
    OVER = auto()
    """More than was reserved for."""


@dataclass(slots=True)
class Tally:
    """Reads a stream's events one by one."""

    endpoint: Endpoint
    bound: Tokens
    reported: Usage | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    """The seller's own usage object, as it came last."""
    output_bytes: int = 0
    bytes_reported: int = 0
    """How much had come when the seller last reported: some do so only at the start."""
    finished: bool = False
    """Whether the seller has said why the output ended."""
    last_chunk: dict[str, Any] = field(default_factory=dict)
    kept: list[bytes] = field(default_factory=list)

    @property
    def bytes_since_report(self) -> int:
        """Return what came after the seller's last report; all of it where there was none."""
        return self.output_bytes - self.bytes_reported

    @property
    def has_said_anything(self) -> bool:
        """Whether there is an answer, if an empty one."""
        return self.finished or self.output_bytes > 0 or self.reported is not None

    def read(self, event: bytes) -> Move:
        """Take one event into account and say what to do with it."""
        data = read_data(event)
        if data is None:
            return Move.COMMENT
        if data == DONE:
            return Move.DONE
        try:
            parsed = orjson.loads(data)
        except orjson.JSONDecodeError:
            return Move.FAILED
        if not isinstance(parsed, dict) or (
            parsed.get("error") and self.endpoint is not Endpoint.RESPONSES
        ):
            return Move.FAILED
        if self.endpoint is Endpoint.RESPONSES:
            move = self._read_response_event(parsed, event)
        else:
            move = self._read_chunk(parsed)
        if self.output_bytes > BYTES_PER_TOKEN_MAX * self.bound.completion:
            return Move.OVER
        return move

    def _read_chunk(self, chunk: dict[str, Any]) -> Move:
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return Move.FAILED
        has_reported = self._note_usage(chunk)
        for choice in choices:
            if not isinstance(choice, dict):
                return Move.FAILED
            if self.endpoint is Endpoint.CHAT:
                self.output_bytes += count_message_bytes(choice.get("delta"))
            else:
                text = choice.get("text")
                self.output_bytes += len(text.encode()) if isinstance(text, str) else 0
            self.finished = self.finished or choice.get("finish_reason") is not None
        if has_reported:
            self.bytes_reported = self.output_bytes
        self.last_chunk = {n: v for n, v in chunk.items() if n not in ("choices", "usage")}
        return Move.PASS if choices else Move.KEEP

    def _read_response_event(self, parsed: dict[str, Any], event: bytes) -> Move:
        kind = parsed.get("type")
        if not isinstance(kind, str) or kind in _FAILED:
            return Move.FAILED
        delta = parsed.get("delta")
        if isinstance(delta, str):
            self.output_bytes += len(delta.encode())
        if kind not in _ENDED:
            return Move.PASS
        response = parsed.get("response")
        if isinstance(response, dict) and self._note_usage(response):
            self.bytes_reported = self.output_bytes
        self.finished = True
        self.kept.append(event)
        return Move.KEEP

    def _note_usage(self, holder: dict[str, Any]) -> bool:
        reported = read_usage(holder)
        if reported is None:
            return False
        self.reported, self.usage = reported, holder["usage"]
        return True

    def build_end(self, tokens: Tokens, *, cost_usdc: int, asked_for_usage: bool) -> bytes:
        """Return what ends a stream whose charge is written."""
        if self.endpoint is Endpoint.RESPONSES:
            return b"".join(self.kept)
        end = build_event(DONE)
        if not asked_for_usage:
            return end
        usage = {
            **self.usage,
            "prompt_tokens": tokens.prompt,
            "completion_tokens": tokens.completion,
            "total_tokens": tokens.prompt + tokens.completion,
            "cost_usdc": cost_usdc,
        }
        return build_event(orjson.dumps({**self.last_chunk, "choices": [], "usage": usage})) + end
