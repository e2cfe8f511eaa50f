"""The parts of a model's answer in the common form: reasoning, text, refusals, calls. Pure.

The common form is a chat completion. Its pieces come as providers send them: calls interleaved, a
call whole in one piece or in many, ids repeated, indexes missing, the same reasoning by two names.
Other dialects close one part before the next begins, and lose what comes for a closed one. So a
part is closed only when it can be complete, and what comes early for a later part waits for it.

::

    text, reasoning   complete as soon as something else comes
    a call            complete when its arguments are a whole JSON value, or the stream has ended

Two pieces are of one call where a stream's index or id says so. Calls of a whole message are as
many as its list has. A call without an id, or with another call's, gets one that no other turn has:
clients find their results by it.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from hashlib import blake2b
from typing import Any, Final, Protocol

import orjson

from serving.dialects.encoding import join_surrogates, write
from serving.dialects.reasoning import Reasoning, find_reasoning

_PLAIN: Final = frozenset({"content", "role"})
"""The fields of a piece that only says more text."""
_CALL_KINDS: Final = ("function", "custom")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


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
    given_id: str | None = None
    """What the provider calls the call."""
    name: str = ""
    key: Any = None
    """What the provider tells its calls apart by."""
    reasoning: Reasoning | None = None
    said: int = 0
    """How many of the pieces the sink has."""

    @property
    def text(self) -> str:
        """The whole text, or a call's arguments."""
        return _join("".join(self.pieces))

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

    def __init__(self, sink: Sink, *, turn: str) -> None:
        """``turn`` is what no other answer has, such as the request's id."""
        self._sink = sink
        self._turn = turn
        self._queue: deque[AnswerPart] = deque()
        """The part that is open at the sink, and those that wait for its end."""
        self._is_open = False
        self._calls: dict[Any, AnswerPart] = {}
        self._last_call: AnswerPart | None = None
        self._call_ids: set[str] = set()
        self.has_refused = False
        """Whether the model has said that it refuses."""

    @property
    def has_calls(self) -> bool:
        """Whether a call has begun; one without a name is none."""
        return bool(self._call_ids)

    def read(self, message: Mapping[str, Any], *, is_whole: bool = False) -> None:
        """Take a piece: a chunk's ``delta``, or a whole ``message``."""
        if self._is_open and len(self._queue) == 1 and message.keys() <= _PLAIN:
            content, part = message.get("content"), self._queue[0]
            if type(content) is str and content and part.kind is PartKind.TEXT:
                # Nearly every piece of a stream: more of the text that is open.
                part.pieces.append(content)
                if content.isascii() and part.said == len(part.pieces) - 1:
                    part.said += 1  # no half of a character waits for its other half
                    self._sink.add(part, content)
                else:
                    self._say(part)
                return
        reasoning = find_reasoning(message)
        if reasoning is not None:
            self._add_reasoning(reasoning)
        content = message.get("content")
        if content:
            for text in _list_texts(content):
                self._add_text(PartKind.TEXT, text)
        refusal = message.get("refusal")
        if refusal and isinstance(refusal, str):
            self.has_refused = True
            self._add_text(PartKind.REFUSAL, refusal)
        calls = message.get("tool_calls")
        if calls and isinstance(calls, list):
            for number, call in enumerate(calls):
                if isinstance(call, dict):
                    self._add_call({**call, "index": ("whole", number)} if is_whole else call)
        elif message.get("function_call"):
            self._add_call({"index": "function_call", "function": message["function_call"]})

    def count_open(self) -> int:
        """Return how many parts are open or wait, of those that the sink learns of."""
        return sum(part.kind is not PartKind.CALL or bool(part.name) for part in self._queue)

    def finish(self) -> None:
        """End all parts: nothing more comes."""
        while self._queue:
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
        if not part.given_id and isinstance(call_id, str):
            part.given_id = call_id
            part.call_id = part.call_id or call_id
        if not part.name and isinstance(name, str):
            part.name = name
        arguments = said.get("arguments", said.get("input"))
        if isinstance(arguments, dict):  # some providers send them parsed
            arguments = write(arguments).decode()
        self._add_piece(part, arguments if isinstance(arguments, str) else "")

    def _find_call(self, call: Mapping[str, Any], said: Mapping[str, Any]) -> AnswerPart:
        call_id, index = call.get("id") or None, call.get("index")
        key = index if isinstance(index, (int, str, tuple)) else call_id
        if not isinstance(key, (int, str, tuple)):
            key = None
        part = self._last_call if key is None else self._calls.get(key)
        if part is not None and not _is_another(part, call_id, said):
            return part
        part = AnswerPart(PartKind.CALL, key=key)
        self._queue.append(part)
        self._last_call = self._calls[key] = part
        return part

    def _add_piece(self, part: AnswerPart, text: str) -> None:
        if text:
            part.pieces.append(text)
        while len(self._queue) > 1 and not self._queue[0].is_open_to_more:
            self._close_first()
        if part is self._queue[0]:
            self._say(part)

    def _say(self, part: AnswerPart, *, is_last: bool = False) -> None:
        """Give the sink what it does not have yet; a part begins with its first piece."""
        is_named = part.kind is PartKind.CALL and bool(part.name)
        if not self._is_open:
            if not is_named and part.kind is PartKind.CALL:
                return
            if not part.pieces and part.kind is not PartKind.CALL and not _is_opaque(part):
                return
            if is_named:
                self._name_call(part)
            self._sink.open(part)
            self._is_open = True
        if part.said < len(part.pieces):
            text = "".join(part.pieces[part.said :])
            if not is_last and "\ud800" <= text[-1:] <= "\udbff":
                return  # the other half of the character is still to come
            self._sink.add(part, _join(text))
            part.said = len(part.pieces)

    def _name_call(self, part: AnswerPart) -> None:
        if not part.call_id or part.call_id in self._call_ids:
            digest = blake2b(self._turn.encode("utf-8", "replace"), digest_size=8).hexdigest()
            part.call_id = f"call_{digest}_{len(self._call_ids)}"
        self._call_ids.add(part.call_id)

    def _close_first(self) -> None:
        self._say(self._queue[0], is_last=True)
        part = self._queue.popleft()
        if part.reasoning is not None:
            part.reasoning.text = part.text
        if self._is_open:
            self._sink.close(part)
        self._is_open = False


def _is_another(part: AnswerPart, call_id: Any, said: Mapping[str, Any]) -> bool:
    """Tell whether a piece begins another call than the one that its place has.

    Some providers give all their calls one index, or one id. A name comes with the first piece of a
    call, and some repeat it with each.
    """
    name = said.get("name")
    if not name:
        return False
    if call_id is not None and part.given_id not in (None, "", call_id):
        return True
    arguments = said.get("arguments", said.get("input"))
    has_more = bool(arguments.strip()) if isinstance(arguments, str) else arguments is not None
    return bool(part.name) and has_more and (name != part.name or not part.is_open_to_more)


def _join(text: str) -> str:
    is_plain = text.isascii() or _SURROGATE.search(text) is None
    return text if is_plain else join_surrogates(text)


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


def split_message(message: Mapping[str, Any], *, turn: str) -> list[AnswerPart]:
    """Return the parts of a whole message; ``turn`` as ``Assembler`` has it."""
    kept = KeptParts()
    assembler = Assembler(kept, turn=turn)
    assembler.read(message, is_whole=True)
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
