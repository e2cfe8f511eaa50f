"""An answer in the common form, as OpenAI's ``/v1/responses`` says it. Pure.

Every event has its type and its number; every item is opened and closed; the last event has the
whole response.
"""

from collections.abc import Mapping
from typing import Any, Final

from serving.dialects.common_form import CommonForm
from serving.dialects.custom_tools import write_custom_input
from serving.dialects.encoding import Served, Spent, first_choice, write, write_named
from serving.dialects.parts import AnswerPart, Assembler, PartKind, split_message
from serving.dialects.reasoning import seal
from serving.http.errors import INSUFFICIENT_QUOTA
from serving.models.failures import CONTENT_POLICY_VIOLATION

_INCOMPLETE: Final[Mapping[str, str]] = {
    "length": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "content_filter": "content_filter",
}
_FAILED_CODES: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("ceiling_reached", "key_revoked", "key_expired", "key_rotated", "operator_credit_spent"),
        INSUFFICIENT_QUOTA,
    ),
    CONTENT_POLICY_VIOLATION: "invalid_prompt",
}
"""Codes by which Codex knows that asking again is in vain: it asks, and pays, again for all others
but these and ``context_length_exceeded``."""

_DEFAULTS: Final[Mapping[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}


def build_response(
    completion: Mapping[str, Any], form: CommonForm, served: Served, spent: Spent
) -> bytes:
    """Return a whole answer."""
    choice = first_choice(completion)
    message = choice.get("message")
    items = _Items(form, served)
    output: list[Any] = []
    incomplete = _find_incomplete(choice)
    said = message if isinstance(message, dict) else {}
    for part in split_message(said, turn=served.request_id):
        items.open(part)
        output.append(items.close(part))
    if incomplete is not None and output:
        output[-1] = _cut(output[-1])
    model = completion.get("model")
    head = _Head(form, served, model if isinstance(model, str) and model else served.model)
    return write(head.build_end(output, incomplete, spent))


def _find_incomplete(choice: Mapping[str, Any]) -> str | None:
    finish = choice.get("finish_reason")
    return _INCOMPLETE.get(finish) if isinstance(finish, str) else None


def build_responses_usage(spent: Spent) -> dict[str, Any]:
    """Return the usage in this dialect's names."""
    counted = spent.counted
    tokens = counted.tokens
    return {
        "input_tokens": tokens.prompt,
        "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": 0},
        "output_tokens": tokens.completion,
        "output_tokens_details": {"reasoning_tokens": min(counted.reasoning, tokens.completion)},
        "total_tokens": tokens.prompt + tokens.completion,
        **spent.charge,
    }


class _Head:
    """The response around its output."""

    def __init__(self, form: CommonForm, served: Served, model: str) -> None:
        self._said = {
            "id": f"resp_{served.request_id}",
            "object": "response",
            "created_at": served.created_s,
            "model": model,
            "background": False,
            "previous_response_id": None,
            "service_tier": "default",
            "store": False,
            **_DEFAULTS,
            **form.echo,
        }

    def build(
        self, status: str, output: list[Any], usage: dict[str, Any] | None, **facts: Any
    ) -> dict[str, Any]:
        """Return the response in this state."""
        open_facts = {"error": None, "incomplete_details": None, **facts}
        return {**self._said, "status": status, "output": output, "usage": usage, **open_facts}

    def build_end(self, output: list[Any], incomplete: str | None, spent: Spent) -> dict[str, Any]:
        """Return the response at its end."""
        usage = build_responses_usage(spent)
        if incomplete is None:
            return self.build("completed", output, usage)
        details = {"reason": incomplete}
        return self.build("incomplete", output, usage, incomplete_details=details)


class _Items:
    """Output items of parts: each with an id of its own."""

    def __init__(self, form: CommonForm, served: Served) -> None:
        self._form = form
        self._served = served
        self.count = 0
        self.item_id = ""

    def open(self, part: AnswerPart) -> dict[str, Any]:
        """Return the item as it begins."""
        kinds = {PartKind.REASONING: "rs", PartKind.CALL: "fc"}
        self.item_id = f"{kinds.get(part.kind, 'msg')}_{self._served.request_id}_{self.count}"
        self.count += 1
        if part.kind is PartKind.CALL:
            return self._build_call(part, "", "in_progress")
        if part.kind is PartKind.REASONING:
            return {"id": self.item_id, "type": "reasoning", "summary": []}
        return self._build_message([], "in_progress")

    def is_custom(self, part: AnswerPart) -> bool:
        """Tell whether a call is of a tool that takes plain text."""
        return part.kind is PartKind.CALL and part.name in self._form.custom_tools

    def _build_call(self, part: AnswerPart, text: str, status: str) -> dict[str, Any]:
        is_custom = self.is_custom(part)
        call = {
            "id": self.item_id,
            "type": "custom_tool_call" if is_custom else "function_call",
            "call_id": part.call_id,
            "name": self._form.names.get(part.name, part.name),
            "input" if is_custom else "arguments": text,
            "status": status,
        }
        group = self._form.groups.get(part.name)
        return call if group is None else {**call, "namespace": group}

    def _build_message(self, content: list[Any], status: str) -> dict[str, Any]:
        return {
            "id": self.item_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def get_call_text(self, part: AnswerPart) -> str:
        """Return a call's arguments, or the text of a custom tool's call."""
        return write_custom_input(part.text) if self.is_custom(part) else part.text or "{}"

    def close(self, part: AnswerPart) -> dict[str, Any]:
        """Return the item as it ends."""
        match part.kind:
            case PartKind.CALL:
                return self._build_call(part, self.get_call_text(part), "completed")
            case PartKind.REASONING:
                assert part.reasoning is not None
                summary = [{"type": "summary_text", "text": part.text}] if part.text else []
                item = {"id": self.item_id, "type": "reasoning", "summary": summary}
                if self._form.wants_sealed_reasoning:
                    item["encrypted_content"] = seal(part.reasoning, has_text=False)
                return item
            case _:
                return self._build_message([build_text(part, part.text)], "completed")


def _cut(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item as the last one of an answer that was cut off; reasoning has no status."""
    return {**item, "status": "incomplete"} if "status" in item else item


def build_text(part: AnswerPart, text: str) -> dict[str, Any]:
    """Return a message's part."""
    if part.kind is PartKind.REFUSAL:
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _describe_failure(error: Mapping[str, Any]) -> dict[str, Any]:
    """Return the error of a failed response; ``reason`` is the code where clients know another."""
    code = str(error.get("code") or "server_error")
    known = _FAILED_CODES.get(code)
    if known is None and error.get("type") == INSUFFICIENT_QUOTA:
        known = INSUFFICIENT_QUOTA
    if known in (None, code):
        return {**error, "code": code}
    return {**error, "code": known, "reason": code}


_TEXT_DELTA: Final = (
    b"event: response.output_text.delta\n"
    b'data: {"type":"response.output_text.delta","sequence_number":%d,"item_id":%b,'
    b'"output_index":%d,"content_index":0,"delta":%b,"logprobs":[]}\n\n'
)


class ResponseEncoder:
    """Makes the events of a response; a sink of the answer's parts."""

    def __init__(self, form: CommonForm, served: Served) -> None:
        self._items = _Items(form, served)
        self._form = form
        self._served = served
        self._head: _Head | None = None
        self._assembler = Assembler(self, turn=served.request_id)
        self._events: list[bytes] = []
        self._number = 0
        self._output: list[Any] = []
        self._incomplete: str | None = None
        self._left: int | None = None
        """How many items are still to close, once nothing more comes."""

    def read(self, chunk: Mapping[str, Any]) -> bytes:
        """Return the events for a chunk."""
        if self._head is None:
            self._begin(chunk)
        choice = first_choice(chunk)
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._assembler.read(delta)
        self._incomplete = _find_incomplete(choice) or self._incomplete
        return self._take()

    def _begin(self, chunk: Mapping[str, Any]) -> _Head:
        model = chunk.get("model")
        name = model if isinstance(model, str) and model else self._served.model
        head = self._head = _Head(self._form, self._served, name)
        for kind in ("response.created", "response.in_progress"):
            self._say(kind, response=head.build("in_progress", [], None))
        return head

    def _say(self, kind: str, **fields: Any) -> None:
        data = {"type": kind, "sequence_number": self._number, **fields}
        self._events.append(write_named(kind, data))
        self._number += 1

    def _take(self) -> bytes:
        events, self._events = self._events, []
        return b"".join(events)

    def _say_in(self, kind: str, **fields: Any) -> None:
        place = {"item_id": self._items.item_id, "output_index": len(self._output)}
        self._say(kind, **place, **fields)

    def open(self, part: AnswerPart) -> None:
        """Begin an item."""
        item = self._items.open(part)
        self._say("response.output_item.added", output_index=len(self._output), item=item)
        if part.kind is PartKind.REASONING:
            empty = {"type": "summary_text", "text": ""}
            self._say_in("response.reasoning_summary_part.added", summary_index=0, part=empty)
        elif part.kind is not PartKind.CALL:
            empty = build_text(part, "")
            self._say_in("response.content_part.added", content_index=0, part=empty)

    def add(self, part: AnswerPart, text: str) -> None:
        """Take the next piece of the item that is open."""
        match part.kind:
            case PartKind.REASONING:
                self._say_in("response.reasoning_summary_text.delta", summary_index=0, delta=text)
            case PartKind.CALL:
                if not self._items.is_custom(part):
                    self._say_in("response.function_call_arguments.delta", delta=text)
            case PartKind.REFUSAL:
                self._say_in("response.refusal.delta", content_index=0, delta=text)
            case _:
                # As ``_say_in`` would write it, by a template: most of a stream is this.
                place = (self._number, write(self._items.item_id), len(self._output))
                self._events.append(_TEXT_DELTA % (*place, write(text)))
                self._number += 1

    def close(self, part: AnswerPart) -> None:
        """End the item that is open."""
        match part.kind:
            case PartKind.REASONING:
                done = {"type": "summary_text", "text": part.text}
                kind = "response.reasoning_summary"
                self._say_in(f"{kind}_text.done", summary_index=0, text=part.text)
                self._say_in(f"{kind}_part.done", summary_index=0, part=done)
            case PartKind.CALL:
                self._close_call(part)
            case PartKind.REFUSAL:
                self._say_in("response.refusal.done", content_index=0, refusal=part.text)
                self._close_content(part)
            case _:
                logprobs: list[Any] = []
                self._say_in(
                    "response.output_text.done",
                    content_index=0,
                    text=part.text,
                    logprobs=logprobs,
                )
                self._close_content(part)
        item = self._items.close(part)
        if self._left is not None:
            self._left -= 1
            if self._left == 0 and self._incomplete is not None:
                item = _cut(item)
        self._say("response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)

    def _close_content(self, part: AnswerPart) -> None:
        done = build_text(part, part.text)
        self._say_in("response.content_part.done", content_index=0, part=done)

    def _close_call(self, part: AnswerPart) -> None:
        text = self._items.get_call_text(part)
        if self._items.is_custom(part):
            if text:
                self._say_in("response.custom_tool_call_input.delta", delta=text)
            self._say_in("response.custom_tool_call_input.done", input=text)
            return
        if not part.text:
            self._say_in("response.function_call_arguments.delta", delta=text)
        name = self._form.names.get(part.name, part.name)
        self._say_in("response.function_call_arguments.done", name=name, arguments=text)

    def finish(self, spent: Spent) -> bytes:
        """Return the events that end a whole response."""
        head = self._head or self._begin({})
        self._left = self._assembler.count_open()
        self._assembler.finish()
        response = head.build_end(self._output, self._incomplete, spent)
        self._say(f"response.{response['status']}", response=response)
        return self._take()

    def fail(self, error: Mapping[str, Any], spent: Spent | None) -> bytes:
        """Return the event that ends a response that broke off."""
        head = self._head or self._begin({})
        usage = None if spent is None else build_responses_usage(spent)
        said = _describe_failure(error)
        response = head.build("failed", self._output, usage, error=said)
        self._say("response.failed", response=response)
        return self._take()

    def ping(self) -> bytes:
        """Return what says that the stream is alive: a comment, which no parser takes for more."""
        return b": ping\n\n"
