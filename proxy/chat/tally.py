"""What a stream has delivered so far, and what may still be passed on. Pure.

The tally reads every chunk that upstream sends. It knows at any moment what the delivered part
costs: upstream's own report as far as it goes, our count of the rest. So a stream can end anywhere,
by whoever's doing, and be charged for what was delivered.
"""

import json
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

import orjson

from proxy.chat.usage import count_bytes, read_usage
from serving.models.bounds import estimate_output_tokens, estimate_prompt_tokens
from serving.models.prices import Price, Tokens, get_cost_usdc
from serving.models.provider_json import read_provider_json
from serving.stream.sse import DONE, build_event, read_data

BYTES_PER_TOKEN_MAX: Final = 64
"""Longer than the tokens of common vocabularies: more text than this a token is more tokens."""


class Move(Enum):
    """What to do with an event."""

    PASS = auto()
    """Give it to the client as it came."""
    KEEP = auto()
    """Not the client's: our own last chunk says the same, with the cost."""
    DONE = auto()
    """Upstream has said all."""
    FAILED = auto()
    """Upstream reports a failure, or sent what is no chunk."""
    OVER = auto()
    """Passing it on could cost more than was reserved."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the stream was reserved for. ``ceiling_usdc`` in 1e-6 USDC."""

    price: Price
    ceiling_usdc: int
    output_tokens: int
    """The output limit of all choices together."""
    prompt_bytes: int
    prompt_bound: int
    image_tokens: int
    messages: int


@dataclass(slots=True)
class Tally:
    """Reads a stream's events one by one."""

    bounds: Bounds
    reported: Tokens | None = None
    deltas: int = 0
    """Pieces of output that were not empty; each has one token or more."""
    output_bytes: int = 0
    finished: bool = False
    """Whether a choice has said why it ended."""
    usage: dict[str, Any] = field(default_factory=dict)
    """Upstream's own usage object, as it came last."""
    last_chunk: dict[str, Any] = field(default_factory=dict)
    failure: Any = None
    """Upstream's error object, once it has sent one."""
    prompt_tokens: int = field(init=False)
    """Our own count, for an upstream that reports none."""
    _deltas_reported: int = 0
    _bytes_reported: int = 0
    """How much had been delivered when upstream last reported: some do so only at the start."""

    def __post_init__(self) -> None:
        bounds = self.bounds
        counted = estimate_prompt_tokens(body_bytes=bounds.prompt_bytes, messages=bounds.messages)
        self.prompt_tokens = min(counted + bounds.image_tokens, bounds.prompt_bound)

    def read(self, event: bytes) -> Move:
        """Take one event into account and say what to do with it."""
        data = read_data(event)
        if data is None:
            return Move.PASS  # a comment keeps the connection alive
        if data == DONE:
            return Move.DONE
        try:
            chunk = read_provider_json(data)
        except ValueError:
            return Move.FAILED
        if not isinstance(chunk, dict) or chunk.get("error"):
            self.failure = chunk.get("error") if isinstance(chunk, dict) else None
            return Move.FAILED
        return self._read_chunk(chunk)

    def _read_chunk(self, chunk: dict[str, Any]) -> Move:
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return Move.FAILED
        tokens = read_usage(chunk)
        if tokens is not None:
            self.reported, self.usage = tokens, chunk["usage"]
        before = (self.deltas, self.output_bytes)
        for choice in choices:
            if isinstance(choice, dict):
                self._read_choice(choice)
        if tokens is not None:
            self._deltas_reported, self._bytes_reported = self.deltas, self.output_bytes
        if self._is_over():
            self.deltas, self.output_bytes = before  # it is not delivered
            return Move.OVER
        self.last_chunk = {name: value for name, value in chunk.items() if name != "choices"}
        return Move.PASS if choices else Move.KEEP

    def _read_choice(self, choice: dict[str, Any]) -> None:
        size = count_delta_bytes(choice.get("delta"))
        self.output_bytes += size
        self.deltas += size > 0
        self.finished = self.finished or choice.get("finish_reason") is not None

    def _is_over(self) -> bool:
        """Tell whether this much cannot have been made within what was reserved.

        Every delta counts as one token, not as its bytes do: a stream of long words is not cut.
        """
        bounds = self.bounds
        if self.finished:
            return False  # nothing is left to stop
        if self.output_bytes > BYTES_PER_TOKEN_MAX * bounds.output_tokens:
            return True
        return get_cost_usdc(self._add(self._deltas_since), bounds.price) > bounds.ceiling_usdc

    @property
    def _deltas_since(self) -> int:
        """Pieces that upstream's last report does not cover."""
        return max(0, self.deltas - self._deltas_reported)

    @property
    def _is_covered(self) -> bool:
        return self.reported is not None and self._deltas_since == 0

    def _add(self, output_tokens: int) -> Tokens:
        """Return what upstream has reported and ``output_tokens`` more."""
        reported = self.reported
        if reported is None:
            return Tokens(self.prompt_tokens, output_tokens)
        if output_tokens == 0:
            return reported
        # A report that was not the last word may have had no figures yet.
        prompt_tokens = self.prompt_tokens if reported.prompt == 0 else reported.prompt
        return Tokens(prompt_tokens, reported.completion + output_tokens, reported.cached)

    def count(self) -> tuple[Tokens, bool]:
        """Return the tokens to charge for, and whether some of them are our own count."""
        if self._is_covered:
            return self._add(0), False
        since_bytes = max(0, self.output_bytes - self._bytes_reported)
        output_tokens = estimate_output_tokens(since_bytes)
        return self._add(max(self._deltas_since, output_tokens)), True

    def build_last_chunk(
        self, *, tokens: Tokens, charge: dict[str, Any], asked_for_usage: bool
    ) -> bytes:
        """Return the chunk that ends the stream: the usage, with ``charge`` in it.

        Clients that did not ask for usage are not prepared for a chunk without choices: theirs has
        one that says nothing.
        """
        empty = {"index": 0, "delta": {}, "finish_reason": None}
        counted = {
            "prompt_tokens": tokens.prompt,
            "completion_tokens": tokens.completion,
            "total_tokens": tokens.prompt + tokens.completion,
        }
        # In upstream's own words, as far as they hold.
        stated = {**counted, **self.usage} if self._is_covered else {**self.usage, **counted}
        usage = {**stated, **charge}
        chunk = {**self.last_chunk, "choices": [] if asked_for_usage else [empty], "usage": usage}
        try:
            return build_event(orjson.dumps(chunk))
        except (TypeError, orjson.JSONEncodeError):
            return build_event(json.dumps(chunk).encode())  # what only a lenient reader reads


def count_delta_bytes(delta: Any) -> int:
    """Return the bytes of text, reasoning and tool calls in one piece of a message."""
    if not isinstance(delta, dict):
        return 0
    size = 0
    for name, value in delta.items():
        if name == "role" or not value:
            continue
        size += count_bytes(value)
    return size
