"""An answer in the common form, as Anthropic's ``/v1/messages`` says it. Pure."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from serving.dialects.common_form import CommonForm, read_arguments
from serving.dialects.encoding import Served, Spent, first_choice, write, write_named
from serving.dialects.messages_errors import build_messages_error
from serving.dialects.parts import AnswerPart, Assembler, PartKind, split_message
from serving.dialects.reasoning import seal
from serving.models.stating import build_split_usage

_STOPS: Final[Mapping[str, str]] = {
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_MATCHED: Final = ("stop_sequence", "matched_stop", "stop_reason")
"""Fields of a choice in which providers say the text that they stopped at."""


def build_message(
    completion: Mapping[str, Any], form: CommonForm, served: Served, spent: Spent
) -> bytes:
    """Return a whole answer."""
    choice = first_choice(completion)
    message = choice.get("message")
    said = message if isinstance(message, dict) else {}
    parts = split_message(said, turn=served.request_id)
    kinds = {part.kind for part in parts}
    stops = _Stop(form.stops)
    stops.note(choice)
    reason, stop = stops.find(
        has_calls=PartKind.CALL in kinds, has_refused=PartKind.REFUSAL in kinds
    )
    return write(
        {
            **_build_head(served, str(completion.get("model") or served.model)),
            "content": [_build_block(part, form) for part in parts],
            "stop_reason": reason,
            "stop_sequence": stop,
            "usage": build_messages_usage(spent),
        }
    )


def _build_head(served: Served, model: str) -> dict[str, Any]:
    return {
        "id": f"msg_{served.request_id}",
        "type": "message",
        "role": "assistant",
        "model": model,
    }


def _build_block(part: AnswerPart, form: CommonForm) -> dict[str, Any]:
    match part.kind:
        case PartKind.REASONING:
            assert part.reasoning is not None
            sealed = seal(part.reasoning, has_text=True)
            return {"type": "thinking", "thinking": part.text, "signature": sealed}
        case PartKind.CALL:
            name = form.names.get(part.name, part.name)
            given = read_arguments(part.text)
            return {"type": "tool_use", "id": part.call_id, "name": name, "input": given}
        case _:
            return {"type": "text", "text": part.text}


_TEXT_DELTA: Final = (
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":%b}}\n\n'
)


class _Stop:
    """Why an answer ended, known at its end: providers say it early, or twice."""

    def __init__(self, stops: Collection[str]) -> None:
        self._stops = stops
        self._finish: str | None = None
        self._matched: str | None = None

    def note(self, choice: Mapping[str, Any]) -> None:
        """Take in what a choice says; that it just stopped undoes nothing that was said before."""
        finish = choice.get("finish_reason")
        if not isinstance(finish, str) or finish in ("", "null"):
            return
        if self._finish is None or finish in _STOPS:
            self._finish = finish
        for name in _MATCHED:
            matched = choice.get(name)
            if isinstance(matched, str) and matched in self._stops:
                self._matched = matched

    def find(self, *, has_calls: bool, has_refused: bool) -> tuple[str, str | None]:
        """Return (stop reason, the text that it stopped at)."""
        reason = "end_turn" if self._finish is None else _STOPS.get(self._finish, "end_turn")
        if reason not in ("end_turn", "tool_use"):
            return reason, None
        if has_calls:
            return "tool_use", None  # some providers say that they just stopped
        if has_refused:
            return "refusal", None
        if self._matched is not None:
            return "stop_sequence", self._matched
        return "end_turn", None


def build_messages_usage(spent: Spent) -> dict[str, Any]:
    """Return the usage, with what is charged in it."""
    return {**build_split_usage(spent.counted), **spent.charge}


class MessageEncoder:
    """Makes the events of a message; a sink of the answer's parts."""

    def __init__(self, form: CommonForm, served: Served) -> None:
        self._form = form
        self._served = served
        self._assembler = Assembler(self, turn=served.request_id)
        self._events: list[bytes] = []
        self._has_begun = False
        self._blocks = 0
        self._stop = _Stop(form.stops)

    def read(self, chunk: Mapping[str, Any]) -> bytes:
        """Return the events for a chunk."""
        if not self._has_begun:
            self._begin(chunk)
        choice = first_choice(chunk)
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._assembler.read(delta)
        self._stop.note(choice)
        return self._take()

    def _begin(self, chunk: Mapping[str, Any]) -> None:
        self._has_begun = True
        model = chunk.get("model")
        head = _build_head(self._served, model if isinstance(model, str) else self._served.model)
        usage = {
            "input_tokens": max(1, self._served.prompt_estimate),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 1,
        }
        message = {**head, "content": [], "stop_reason": None, "stop_sequence": None}
        self._say("message_start", message={**message, "usage": usage})

    def _say(self, kind: str, **fields: Any) -> None:
        self._events.append(write_named(kind, {"type": kind, **fields}))

    def _take(self) -> bytes:
        events, self._events = self._events, []
        return b"".join(events)

    def open(self, part: AnswerPart) -> None:
        """Begin a block."""
        block: dict[str, Any]
        match part.kind:
            case PartKind.REASONING:
                block = {"type": "thinking", "thinking": "", "signature": ""}
            case PartKind.CALL:
                name = self._form.names.get(part.name, part.name)
                block = {"type": "tool_use", "id": part.call_id, "name": name, "input": {}}
            case _:
                block = {"type": "text", "text": ""}
        self._say("content_block_start", index=self._blocks, content_block=block)

    def add(self, part: AnswerPart, text: str) -> None:
        """Take the next piece of the block that is open."""
        if part.kind is PartKind.REASONING:
            delta = {"type": "thinking_delta", "thinking": text}
        elif part.kind is PartKind.CALL:
            delta = {"type": "input_json_delta", "partial_json": text}
        else:
            # As ``_say`` would write it, by a template: most of a stream is this.
            self._events.append(_TEXT_DELTA % (self._blocks, write(text)))
            return
        self._say("content_block_delta", index=self._blocks, delta=delta)

    def close(self, part: AnswerPart) -> None:
        """End the block that is open."""
        if part.reasoning is not None:
            delta = {"type": "signature_delta", "signature": seal(part.reasoning, has_text=True)}
            self._say("content_block_delta", index=self._blocks, delta=delta)
        self._say("content_block_stop", index=self._blocks)
        self._blocks += 1

    def finish(self, spent: Spent) -> bytes:
        """Return the events that end a whole message."""
        self._end(spent)
        self._say("message_stop")
        return self._take()

    def _end(self, spent: Spent) -> None:
        if not self._has_begun:
            self._begin({})
        self._assembler.finish()
        reason, stop = self._stop.find(
            has_calls=self._assembler.has_calls, has_refused=self._assembler.has_refused
        )
        delta = {"stop_reason": reason, "stop_sequence": stop}
        self._say("message_delta", delta=delta, usage=build_messages_usage(spent))

    def fail(self, error: Mapping[str, Any], spent: Spent | None) -> bytes:  # noqa: ARG002
        """Return the event that ends a message that broke off; its text says what is charged."""
        self._events = []
        data = build_messages_error(error, request_id=self._served.request_id)
        return write_named("error", data)

    def ping(self) -> bytes:
        """Return what says that the stream is alive."""
        return write_named("ping", {"type": "ping"})
