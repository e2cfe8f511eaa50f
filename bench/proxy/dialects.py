"""What a dialect adds to a request's CPU: reading it, and telling a stream, beside chat's own.

Pure functions only, in one process, each kind in turn in every round; the least of all rounds
counts, so that what else the machine does is left out. ``python -m bench.proxy.dialects``
"""

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from proxy.chat.request import AS_CHAT, Manner, parse_request
from serving.dialects.dialect import MESSAGES, RESPONSES
from serving.dialects.encoding import Served
from serving.models.counting import Sent
from serving.stream.tally import ChatTally, Tally
from serving.stream.translated import TranslatedTally

ROUNDS: Final = 40
TURNS: Final = 10
PIECES: Final = 200
SENT: Final = Sent(100, 5_000, 5_000)
SERVED: Final = Served("01a2", "m", 100, 1)
MANNERS: Final[Mapping[str, Manner]] = {
    "chat": AS_CHAT,
    "messages": Manner(dialect=MESSAGES),
    "responses": Manner(dialect=RESPONSES),
}
_SCHEMA: Final = {
    "type": "object",
    "properties": {name: {"type": "string", "description": "a few words"} for name in "abcd"},
    "required": ["a"],
}
_SAID: Final = "Please look at this file. " * 16
_RESULT: Final = "what the tool found " * 30
_ARGUMENTS: Final = {"a": "y" * 100}


def build_agent_requests() -> dict[str, bytes]:
    """Return one agent's request in each dialect: ten turns with a call each, and ten tools."""
    chat: list[Any] = [{"role": "system", "content": "You are an agent. " * 40}]
    messages: list[Any] = []
    items: list[Any] = []
    arguments = orjson.dumps(_ARGUMENTS).decode()
    for turn in range(TURNS):
        call_id = f"call_{turn}"
        function = {"name": "tool_1", "arguments": arguments}
        calls = [{"id": call_id, "type": "function", "function": function}]
        chat += [
            {"role": "user", "content": [{"type": "text", "text": _SAID}]},
            {"role": "assistant", "content": "I look.", "tool_calls": calls},
            {"role": "tool", "tool_call_id": call_id, "content": _RESULT},
        ]
        use = {"type": "tool_use", "id": call_id, "name": "tool_1", "input": _ARGUMENTS}
        result = {"type": "tool_result", "tool_use_id": call_id, "content": _RESULT}
        messages += [
            {"role": "user", "content": [{"type": "text", "text": _SAID}]},
            {"role": "assistant", "content": [{"type": "text", "text": "I look."}, use]},
            {"role": "user", "content": [result]},
        ]
        items += [
            {"role": "user", "content": [{"type": "input_text", "text": _SAID}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": call_id, "name": "tool_1", "arguments": arguments},
            {"type": "function_call_output", "call_id": call_id, "output": _RESULT},
        ]
    tools = [{"name": f"tool_{n}", "description": "does a thing " * 8} for n in range(10)]
    called = [{"type": "function", "function": {**one, "parameters": _SCHEMA}} for one in tools]
    bodies: dict[str, Any] = {
        "chat": {"messages": chat, "max_tokens": 1_000, "tools": called},
        "messages": {
            "system": [{"type": "text", "text": "You are an agent. " * 40}],
            "messages": messages,
            "max_tokens": 1_000,
            "tools": [{**one, "input_schema": _SCHEMA} for one in tools],
        },
        "responses": {
            "instructions": "You are an agent. " * 40,
            "input": items,
            "max_output_tokens": 1_000,
            "tools": [{"type": "function", **one, "parameters": _SCHEMA} for one in tools],
        },
    }
    return {
        kind: orjson.dumps({"model": "m", "stream": True, **body}) for kind, body in bodies.items()
    }


def build_small_requests() -> dict[str, bytes]:
    """Return one short question in each dialect."""
    asked = [{"role": "user", "content": "Say hello."}]
    chat = {"model": "m", "max_tokens": 100, "messages": asked}
    responses = {"model": "m", "max_output_tokens": 100, "input": "Say hello."}
    return {
        "chat": orjson.dumps(chat),
        "messages": orjson.dumps(chat),
        "responses": orjson.dumps(responses),
    }


def build_events() -> list[bytes]:
    """Return a provider's stream: a text in many pieces."""
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}

    def event(choices: list[Any], **fields: Any) -> bytes:
        return b"data: " + orjson.dumps({**head, "choices": choices, **fields}) + b"\n\n"

    def piece(finish: str | None = None, **delta: str) -> bytes:
        return event([{"index": 0, "delta": delta, "finish_reason": finish}])

    usage = {"prompt_tokens": 10, "completion_tokens": PIECES, "total_tokens": 10 + PIECES}
    texts = [piece(content="word ") for _ in range(PIECES)]
    return [piece(role="assistant", content=""), *texts, piece("stop"), event([], usage=usage)]


def read_request(raw: bytes, manner: Manner) -> None:
    """Do what is done of a request before it is sent, as far as it depends on the dialect."""
    call = parse_request(raw, manner=manner).call
    call.get_prompt_bound(context_tokens=None, image_tokens=None)
    call.build_body(model="m", max_tokens=900)


def measure(works: Mapping[str, Callable[[], None]], *, times: int) -> dict[str, float]:
    """Return the least CPU seconds of each work, all of them in turn in every round."""
    least = dict.fromkeys(works, float("inf"))
    gc.disable()
    for _ in range(ROUNDS):
        for kind, work in works.items():
            began_s = time.process_time()
            for _ in range(times):
                work()
            least[kind] = min(least[kind], (time.process_time() - began_s) / times)
    gc.enable()
    return least


def show(name: str, least: Mapping[str, float], *, each: int = 1) -> None:
    """Print the figures in microseconds, and how they compare with chat's."""
    for kind, spent_s in least.items():
        told = f"{spent_s / each * 1e6:9.1f} µs  {spent_s / least['chat']:.2f}"
        print(f"{name:16} {kind:10} {told}")


def main() -> None:
    """Measure and print."""
    agent, small, events = build_agent_requests(), build_small_requests(), build_events()

    def reader(raw: bytes, manner: Manner) -> Callable[[], None]:
        return lambda: read_request(raw, manner)

    for name, raws, times in (("agent's request", agent, 10), ("small request", small, 200)):
        works = {kind: reader(raw, MANNERS[kind]) for kind, raw in raws.items()}
        show(name, measure(works, times=times))

    def teller(kind: str) -> Callable[[], None]:
        translation = parse_request(agent[kind], manner=MANNERS[kind]).translation

        def tell() -> None:
            tally: Tally = ChatTally(SENT)
            if translation is not None:
                encoder = translation.dialect.open_encoder(translation.form, SERVED)
                tally = TranslatedTally(SENT, encoder)
            for event in events:
                tally.read(event)
            charge = {"cost": 1}
            tally.build_end(tally.count(), charge=charge, asks_for_usage=False, is_whole=True)

        return tell

    works = {kind: teller(kind) for kind in MANNERS}
    show("stream's chunk", measure(works, times=3), each=len(events))


if __name__ == "__main__":
    main()
