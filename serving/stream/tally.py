"""What a stream has delivered so far, and what of it goes to the client. Pure.

A tally reads every event that a provider sends. At any moment it knows what the delivered part
holds and what the provider has reported, so a stream can end anywhere, by anybody's doing, and be
charged for what was delivered (``serving.models.counting``). Usage is said to the client once, in
the stream's last chunk: clients add up every usage that they are told.
"""

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, Final, Protocol

from serving.dialects.answered_calls import CallJudge
from serving.models.counting import Counted, Delivered, Sent, count_tokens
from serving.models.provider_answers import find_failure
from serving.models.provider_json import (
    read_for_clients,
    read_provider_json,
    write_provider_json,
)
from serving.models.sold import COST_FIELD, read_cost
from serving.models.stating import (
    CHAT_NAMES,
    RESPONSE_NAMES,
    Names,
    drop_usage,
    may_hold_usage,
    says_cost,
    state_usage,
    strip_cost,
)
from serving.models.usage import Report, find_usage, has_odd_count, merge, read_report
from serving.models.weight import NOTHING, Weight, count_bytes, weigh_choice
from serving.stream.sse import DONE, build_event, read_data, read_field

BYTES_PER_TOKEN_MAX: Final = 64
"""Longer than the tokens of common vocabularies: more text than this a token is more tokens."""

_NO_NONSENSE: Final = (type(None), dict)
"""Types of a chunk's usage that clients are prepared for, also where it is empty."""

_UNFINISHED: Final = (None, "", "null")
"""What providers send as ``finish_reason`` while a choice goes on."""


class Move(Enum):
    """What to do with an event."""

    PASS = auto()
    """Give the event to the client."""
    COMMENT = auto()
    """Give the event to the client; it says nothing, and keeps the connection alive."""
    DROP = auto()
    """The event has nothing for the client, or is kept until the charge is written."""
    DONE = auto()
    """The provider has said all."""
    FAILED = auto()
    """The provider reports a failure, or sent a damaged chunk."""
    OVER = auto()
    """The output with this event is more than the reservation covers."""


class Tally(Protocol):
    """Reads a stream's events one by one."""

    @property
    def failure(self) -> Any:
        """The provider's error object, once it has sent one."""
        ...

    @property
    def is_finished(self) -> bool:
        """Whether the provider has said why every part of its output ended."""
        ...

    @property
    def weight(self) -> Weight:
        """The text delivered so far."""
        ...

    @property
    def report(self) -> Report | None:
        """The provider's own count of tokens so far; None: it said nothing."""
        ...

    @property
    def model(self) -> str | None:
        """The model that answers, by the provider's first word on it; None: it said nothing."""
        ...

    @property
    def later_model(self) -> str | None:
        """Another name that the provider gave the model later; None: it never did."""
        ...

    def read(self, event: bytes) -> tuple[Move, bytes]:
        """Take an event into account; return what to do with it, and its bytes for the client."""
        ...

    def count(self) -> Counted:
        """Return the tokens to charge for what was delivered so far."""
        ...

    def build_end(
        self, counted: Counted, *, charge: dict[str, int], asks_for_usage: bool, is_whole: bool
    ) -> bytes:
        """Return the events that say the usage, with ``charge`` in it, and end the stream.

        Where the stream is not ``is_whole``, the error that follows them ends it.
        """
        ...

    def build_error(self, body: bytes) -> bytes:
        """Return the event that ends the stream with an error. ``body``: JSON in OpenAI's shape."""
        ...

    def build_ping(self) -> bytes | None:
        """Return what tells a client of this stream that it is alive; None: nothing does."""
        ...


@dataclass(slots=True)
class Shown:
    """The counts that every kind of stream keeps."""

    sent: Sent
    weight: Weight = NOTHING
    reported: Weight = NOTHING
    """The text delivered by the provider's last report: some report only at the start."""
    report: Report | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    """The provider's own usage object, as it came last."""
    sold_usdc: int | None = None
    """The charge that a market stated last."""
    failure: Any = None
    model: str | None = None
    """The model that the provider says that it is, as it said it first."""
    later_model: str | None = None
    """Another name that it gave the model later."""

    def note_model(self, model: Any) -> None:
        """Take in what a provider calls the model that answers."""
        if not isinstance(model, str) or not model:
            return
        if self.model is None:
            self.model = model
        elif model != self.model:
            self.later_model = model

    def note_usage(self, usage: Any, *, may_say_cost: bool = False) -> None:
        """Take a report into account, which covers what has been delivered by now.

        ``may_say_cost`` is whether a market before this server has said it in its own name.
        """
        if may_say_cost and isinstance(usage, dict) and COST_FIELD in usage:
            self.sold_usdc = read_cost(usage[COST_FIELD])
        later = read_report(usage)
        if later is None:
            return
        known = self.report
        self.report = merge(known, later)
        said = -1 if known is None or known.completion is None else known.completion
        if later.completion is not None and later.completion >= said:
            self.reported = self.weight
        if self.report != known:
            self.usage = {**self.usage, **usage}

    def is_over(self, *, is_finished: bool) -> bool:
        """Tell whether this much cannot have been made within the output limit."""
        if self.weight.text > BYTES_PER_TOKEN_MAX * self.sent.output_bound:
            return True
        said = None if self.report is None else self.report.completion
        return said is not None and not is_finished and said > self.sent.output_bound

    def count(self) -> Counted:
        """Return the tokens to charge for what was delivered so far."""
        counted = count_tokens(self.sent, self._delivered, self.report)
        return counted if self.sold_usdc is None else replace(counted, sold_usdc=self.sold_usdc)

    def state_usage(self, counted: Counted, names: Names) -> dict[str, Any]:
        """Return the usage object for the client: see ``serving.models.stating``."""
        return state_usage(self.usage, counted, self.sent, self._delivered, names)

    @property
    def _delivered(self) -> Delivered:
        return Delivered(self.weight, self.reported)


class ShownTally:
    """What a tally of any kind tells of the counts that it keeps."""

    def __init__(self, sent: Sent) -> None:
        self._shown = Shown(sent)

    @property
    def failure(self) -> Any:
        return self._shown.failure

    @property
    def weight(self) -> Weight:
        return self._shown.weight

    @property
    def report(self) -> Report | None:
        return self._shown.report

    @property
    def model(self) -> str | None:
        return self._shown.model

    @property
    def later_model(self) -> str | None:
        return self._shown.later_model

    def count(self) -> Counted:
        return self._shown.count()


class ChatTally(ShownTally):
    """Reads the streams of chat completions, and of completions."""

    def __init__(
        self,
        sent: Sent,
        *,
        is_chat: bool = True,
        passes_usage: bool = False,
        judge: CallJudge | None = None,
    ) -> None:
        """``judge`` is told the calls of tools that go by."""
        super().__init__(sent)
        self._judge = judge
        self._is_chat = is_chat
        self._passes_usage = passes_usage
        """Whether the client has asked for running usage."""
        self._last: dict[str, Any] = {}
        self._seen: set[Any] = set()
        self._finished: set[Any] = set()

    @property
    def is_finished(self) -> bool:
        return len(self._finished) >= max(self._shown.sent.choices, len(self._seen))

    def read(self, event: bytes) -> tuple[Move, bytes]:
        data = read_data(event)
        if data is None:
            failure = read_field(event, b"error")
            if failure is None:
                return Move.COMMENT, event
            self._shown.failure = _read_or_none(failure)
            return Move.FAILED, event
        if data.startswith(DONE):
            return Move.DONE, event
        try:
            chunk, readable = read_for_clients(data)
        except ValueError:
            # A damaged chunk takes a part of the answer with it; a word such as "ping" does not.
            return (Move.FAILED if data.lstrip().startswith(b"{") else Move.DROP), event
        if not isinstance(chunk, dict):
            return Move.DROP, event
        failure = find_failure(chunk)
        if failure is not None:
            self._shown.failure = failure
            return Move.FAILED, event
        return self._read_chunk(chunk, event if readable is data else build_event(readable))

    def _read_chunk(self, chunk: dict[str, Any], event: bytes) -> tuple[Move, bytes]:
        shown = self._shown
        before = shown.weight
        shown.note_model(chunk.get("model"))
        said = chunk.get("choices")
        choices = [c for c in said if isinstance(c, dict)] if isinstance(said, list) else []
        for choice in choices:
            self._read_choice(choice)
        usage = find_usage(chunk) if may_hold_usage(chunk) else None
        if usage is not None:
            # A market drops a provider's chunks without choices: such a chunk is its own.
            shown.note_usage(usage, may_say_cost=not choices)
        if shown.is_over(is_finished=self.is_finished):
            shown.weight = before  # the event is not delivered
            return Move.OVER, event
        if not choices:
            if "id" in chunk and not self._last:
                self._last = chunk
            return Move.DROP, event
        self._last = chunk
        is_asked_for = self._passes_usage and usage is not None and not has_odd_count(usage)
        if is_asked_for and not says_cost(chunk):
            return Move.PASS, event
        if usage is None and isinstance(chunk.get("usage"), _NO_NONSENSE):
            return Move.PASS, event
        return Move.PASS, build_event(write_provider_json(drop_usage(chunk, choices)))

    def _read_choice(self, choice: dict[str, Any]) -> None:
        text, extent = weigh_choice(choice, field="delta")
        if extent:
            weight = self._shown.weight
            self._shown.weight = Weight(weight.text + text, weight.extent + extent)
        index = choice.get("index", 0)
        if type(index) is not int:
            index = 0
        if self._judge is not None:
            delta = choice.get("delta")
            if isinstance(delta, dict) and delta.get("tool_calls"):
                self._judge.read(index, delta["tool_calls"])
        self._seen.add(index)
        if choice.get("finish_reason") not in _UNFINISHED:
            self._finished.add(index)

    def build_end(
        self, counted: Counted, *, charge: dict[str, int], asks_for_usage: bool, is_whole: bool
    ) -> bytes:
        """Return the chunk that says the usage, and what ends the stream.

        Clients that did not ask for usage are not prepared for a chunk without choices: their last
        chunk has a choice that says nothing.
        """
        says_nothing: dict[str, Any] = {"delta": {}} if self._is_chat else {"text": ""}
        empty = {"index": 0, **says_nothing, "finish_reason": None}
        chunk = {
            **drop_usage(self._last, []),
            "choices": [] if asks_for_usage else [empty],
            "usage": {**self._shown.state_usage(counted, CHAT_NAMES), **charge},
        }
        last = build_event(write_provider_json(chunk))
        return last + build_event(DONE) if is_whole else last

    def build_error(self, body: bytes) -> bytes:
        return build_event(body)

    def build_ping(self) -> bytes | None:
        return None


_ENDED: Final = frozenset({"response.completed", "response.incomplete"})


class ResponseTally(ShownTally):
    """Reads the streams of responses, whose events have a type each."""

    def __init__(self, sent: Sent) -> None:
        super().__init__(sent)
        self._last: dict[str, Any] | None = None
        self._last_event = b""

    @property
    def is_finished(self) -> bool:
        return self._last is not None

    def read(self, event: bytes) -> tuple[Move, bytes]:
        data = read_data(event)
        if data is None:
            return Move.COMMENT, event
        if data.startswith(DONE):
            return Move.DONE, event
        try:
            parsed, readable = read_for_clients(data)
        except ValueError:
            return (Move.FAILED if data.lstrip().startswith(b"{") else Move.DROP), event
        if not isinstance(parsed, dict):
            return Move.DROP, event
        kind = parsed.get("type")
        if kind == "response.failed" or find_failure(parsed) is not None:
            response = parsed.get("response")
            holder = response if isinstance(response, dict) else parsed
            self._shown.failure = holder.get("error") or holder
            return Move.FAILED, event
        if not isinstance(kind, str):
            return Move.DROP, event
        costless = strip_cost(parsed)
        if costless is not parsed:
            parsed, readable = costless, write_provider_json(costless)
        if readable is not data:
            event = _build_typed(kind, readable)
        return self._read_typed(kind, parsed, event)

    def _read_typed(self, kind: str, parsed: dict[str, Any], event: bytes) -> tuple[Move, bytes]:
        shown = self._shown
        before = shown.weight
        response = parsed.get("response")
        if isinstance(response, dict):
            shown.note_model(response.get("model"))
        delta = parsed.get("delta")
        if isinstance(delta, str):
            size = count_bytes(delta)
            shown.weight = Weight(before.text + size, before.extent + size)
        if kind in _ENDED:
            if isinstance(response, dict):
                shown.note_usage(response.get("usage"))
            self._last, self._last_event = parsed, event
        if shown.is_over(is_finished=self.is_finished):
            shown.weight = before  # the event is not delivered
            return Move.OVER, event
        if kind in _ENDED:
            return Move.DROP, event
        return Move.PASS, event

    def build_end(
        self,
        counted: Counted,
        *,
        charge: dict[str, int],
        asks_for_usage: bool,  # noqa: ARG002 - the last event of a response always says it
        is_whole: bool,
    ) -> bytes:
        """Return the event that completes the response, with the usage that is charged in it."""
        if self._last is None or not is_whole:
            return b""
        response = self._last.get("response")
        if not isinstance(response, dict):
            return self._last_event
        usage = {**self._shown.state_usage(counted, RESPONSE_NAMES), **charge}
        last = {**self._last, "response": {**response, "usage": usage}}
        return _build_typed(str(last["type"]), write_provider_json(last))

    def build_error(self, body: bytes) -> bytes:
        return build_event(body)

    def build_ping(self) -> bytes | None:
        return b": ping\n\n"


def _build_typed(kind: str, data: bytes) -> bytes:
    name = b" ".join(kind.encode("utf-8", "replace").split())  # a line break would end the field
    return b"event: " + name + b"\n" + build_event(data)


def _read_or_none(raw: bytes) -> Any:
    try:
        return read_provider_json(raw)
    except ValueError:
        return None
