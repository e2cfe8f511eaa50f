"""The parts of a model's answer in the common form: reasoning, text, refusals, calls. Pure.

The common form is a chat completion. Its pieces come as providers send them: calls interleaved, a
call whole in one piece or in many, ids repeated, indexes missing, the same reasoning by two names.
Other dialects close one part before the next begins, and lose what comes for a closed one. So a
part is closed only when it can be complete, and what comes early for a later part waits for it.

::

    text, reasoning   complete as soon as something else comes
    a call            complete when its arguments are a whole JSON value, or the stream has ended
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final, Protocol

import orjson

from serving.dialects.reasoning import Reasoning, find_reasoning

_CALL_KINDS: Final = ("function", "custom")
_FALLBACK_ID: Final = "call_"


class PartKind(Enum):
    """What a part of an answer is."""

    REASONING = auto()
    TEXT = auto()
    REFUSAL = auto()
    CALL = auto()


@dataclass(slots=True)
class AnswerPart:
    """One part of an answer, as far as it has come."""

    kind: PartKind
    pieces: list[str] = field(default_factory=list)
    call_id: str = ""
    name: str = ""
    key: Any = None
    """What the provider tells its calls apart by."""
    reasoning: Reasoning | None = None
    said: int = 0
    """How many of the pieces the sink has."""

    @property
    def text(self) -> str:
        """The whole text, or a call's arguments."""
        return "".join(self.pieces)

    @property
    def is_open_to_more(self) -> bool:
        """Whether the part cannot be complete yet."""
        return self.kind is PartKind.CALL and not _is_json(self.text)


class Sink(Protocol):
    """What a dialect makes of parts: they come one after the other, never two at a time."""

    def open(self, part: AnswerPart) -> None:
        """Begin a part."""
        ...

    def add(self, part: AnswerPart, text: str) -> None:
        """Take the next piece of the part that is open; never empty."""
        ...

    def close(self, part: AnswerPart) -> None:
        """End the part that is open."""
        ...


class Assembler:
    """Reads pieces of one choice; hands its parts to a sink, in order."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._queue: deque[AnswerPart] = deque()
        """The part that is open at the sink, and those that wait for its end."""
        self._is_open = False
        self._calls: dict[Any, AnswerPart] = {}
        self._last_call: AnswerPart | None = None
        self.has_calls = False

    def read(self, message: Mapping[str, Any]) -> None:
        """Take a piece: a chunk's ``delta``, or a whole ``message``."""
        reasoning = find_reasoning(message)
        if reasoning is not None:
            self._add_reasoning(reasoning)
        content = message.get("content")
        if content:
            for text in _list_texts(content):
                self._add_text(PartKind.TEXT, text)
        refusal = message.get("refusal")
        if refusal and isinstance(refusal, str):
            self._add_text(PartKind.REFUSAL, refusal)
        calls = message.get("tool_calls")
        if calls and isinstance(calls, list):
            for call in calls:
                if isinstance(call, dict):
                    self._add_call(call)
        elif message.get("function_call"):
            self._add_call({"index": "function_call", "function": message["function_call"]})

    def finish(self) -> None:
        """End all parts: nothing more comes."""
        while self._queue:
            self._say(self._queue[0])
            self._close_first()

    def _add_reasoning(self, reasoning: Reasoning) -> None:
        part = self._find_last(PartKind.REASONING)
        if part.reasoning is None:
            part.reasoning = reasoning
        else:
            part.reasoning.extend(reasoning)
        self._add_piece(part, reasoning.text)

    def _add_text(self, kind: PartKind, text: str) -> None:
        self._add_piece(self._find_last(kind), text)

    def _find_last(self, kind: PartKind) -> AnswerPart:
        """Return the newest part, a new one where the newest is of another kind."""
        if self._queue and self._queue[-1].kind is kind:
            return self._queue[-1]
        part = AnswerPart(kind)
        self._queue.append(part)
        return part

    def _add_call(self, call: Mapping[str, Any]) -> None:
        said: dict[str, Any] = next(
            (call[k] for k in _CALL_KINDS if isinstance(call.get(k), dict)), {}
        )
        part = self._find_call(call, said)
        call_id, name = call.get("id"), said.get("name")
        if not part.call_id and isinstance(call_id, str):
            part.call_id = call_id
        if not part.name and isinstance(name, str):
            part.name = name
        arguments = said.get("arguments", said.get("input"))
        if isinstance(arguments, dict):  # some providers send them parsed
            arguments = orjson.dumps(arguments).decode()
        self._add_piece(part, arguments if isinstance(arguments, str) else "")

    def _find_call(self, call: Mapping[str, Any], said: Mapping[str, Any]) -> AnswerPart:
        call_id, index = call.get("id"), call.get("index")
        key = index if type(index) is int or isinstance(index, str) else call_id
        part = self._last_call if key is None else self._calls.get(key)
        is_another = (
            part is not None
            and bool(call_id)
            and bool(said.get("name"))
            and part.call_id not in ("", call_id)
        )
        if part is not None and not is_another:
            return part
        self.has_calls = True
        part = AnswerPart(PartKind.CALL, key=key)
        self._queue.append(part)
        self._last_call = self._calls[key] = part
        return part

    def _add_piece(self, part: AnswerPart, text: str) -> None:
        if text:
            part.pieces.append(text)
        while len(self._queue) > 1 and not self._queue[0].is_open_to_more:
            self._say(self._queue[0])
            self._close_first()
        if part is self._queue[0]:
            self._say(part)

    def _say(self, part: AnswerPart) -> None:
        """Give the sink what it does not have yet; a part begins with its first piece."""
        is_named = part.kind is PartKind.CALL and bool(part.name)
        if not self._is_open:
            if not is_named and part.kind is PartKind.CALL:
                return
            if not part.pieces and part.kind is not PartKind.CALL and not _is_opaque(part):
                return
            if is_named and not part.call_id:
                part.call_id = f"{_FALLBACK_ID}{len(self._calls) - 1}"
            self._sink.open(part)
            self._is_open = True
        if part.said < len(part.pieces):
            self._sink.add(part, "".join(part.pieces[part.said :]))
            part.said = len(part.pieces)

    def _close_first(self) -> None:
        part = self._queue.popleft()
        if part.reasoning is not None:
            part.reasoning.text = part.text
        if self._is_open:
            self._sink.close(part)
        self._is_open = False


def _is_opaque(part: AnswerPart) -> bool:
    return part.reasoning is not None and bool(part.reasoning.details)


class KeptParts:
    """A sink that keeps the parts."""

    def __init__(self) -> None:
        self.parts: list[AnswerPart] = []

    def open(self, part: AnswerPart) -> None:
        """Keep a part; it fills up by itself."""
        self.parts.append(part)

    def add(self, part: AnswerPart, text: str) -> None:
        """Nothing: the part has the piece."""

    def close(self, part: AnswerPart) -> None:
        """Nothing: the part is kept."""


def split_message(message: Mapping[str, Any]) -> list[AnswerPart]:
    """Return the parts of a whole message."""
    kept = KeptParts()
    assembler = Assembler(kept)
    assembler.read(message)
    assembler.finish()
    return kept.parts


def _list_texts(content: Any) -> Iterator[str]:
    """Yield the texts of a content; some providers send it as a list of parts."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            text = part.get("text") if isinstance(part, dict) else part
            if text and isinstance(text, str):
                yield text


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
