"""How much a model has generated, in bytes of UTF-8. Pure.

Two measures of one message, or of one piece of it:

- its **text**: answer, reasoning, refusals and arguments of calls, which estimates and guards
  count. A text that two fields repeat counts once. Ids, types, names, signatures and encrypted
  blobs are no text.
- its **extent**: the text, and the JSON of every other field that a model may have generated, such
  as the names of calls and fields that are unknown here. No honest report of shown tokens exceeds
  it by much.
"""

from typing import Any, Final, NamedTuple

from serving.models.provider_json import write_provider_json

_REASONING: Final = frozenset(
    {
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "reasoning_text",
        "reasoning_summary",
        "thinking",
        "thinking_blocks",
        "thought",
        "thoughts",
    }
)
"""Names of one and the same reasoning, by provider; several stand beside each other."""

_CALLS: Final = frozenset({"tool_calls", "function_call"})
"""Names of the same calls: old clients read the second."""

_NOT_GENERATED: Final = frozenset({"role", "id", "index", "type", "object", "name", "tool_call_id"})

_TEXTS: Final = (
    "text",
    "content",
    "refusal",
    "thinking",
    "reasoning",
    "reasoning_content",
    "summary",
    "arguments",
    "input",
    "function",
    "custom",
)
"""Fields of a part, a block of reasoning or a call that hold generated text, maybe nested."""


DEPTH_MAX: Final = 8
"""Deepest nesting of lists and objects around a text that is looked into."""


class Weight(NamedTuple):
    """Bytes of UTF-8."""

    text: int
    extent: int


NOTHING: Final = Weight(0, 0)


def weigh_message(message: Any) -> Weight:
    """Return the weight of a chat message, or of one piece of it."""
    if not isinstance(message, dict):
        return NOTHING
    text = reasoning = calls = other = calls_extent = 0
    for name, value in message.items():
        if not value or name in _NOT_GENERATED:
            continue
        if name == "content" or name == "refusal":
            size = count_text(value)
            text += size
            if size == 0:
                other += _count_json(value)
        elif name in _REASONING:
            reasoning = max(reasoning, count_text(value))
        elif name in _CALLS:
            calls = max(calls, count_text(value))
            calls_extent = max(calls_extent, _count_json(value))
        else:
            other += _count_json(value)
    text += reasoning
    return Weight(text + calls, text + max(calls, calls_extent) + other)


def weigh_choice(choice: Any, *, field: str) -> Weight:
    """Return the weight of a choice: of its ``field`` (``message`` or ``delta``), or of its text.

    Some providers repeat the text of a chat's piece as a completion's.
    """
    if not isinstance(choice, dict):
        return NOTHING
    weight = weigh_message(choice.get(field))
    text = choice.get("text")
    if not text or not isinstance(text, str):
        return weight
    size = count_bytes(text)
    return Weight(max(weight.text, size), max(weight.extent, size))


def weigh_output(output: Any) -> Weight:
    """Return the weight of a response's output: a list of items."""
    if not isinstance(output, list):
        return NOTHING
    return Weight(count_text(output), sum(_count_json(item) for item in output))


_BLOCK_TEXTS: Final = ("text", "thinking")
_BLOCK_FRAME: Final = frozenset({*_BLOCK_TEXTS, "input", "type", "id", "signature", "data"})
"""Fields of a block that are counted apart, or were not generated: names, and what was sealed."""


def weigh_blocks(blocks: Any) -> Weight:
    """Return the weight of a message's content: a list of blocks, each whole."""
    if not isinstance(blocks, list):
        return NOTHING
    text = extent = 0
    for block in blocks:
        if not isinstance(block, dict):
            continue
        said = sum(count_text(block.get(name)) for name in _BLOCK_TEXTS)
        if block.get("input"):
            said += _count_json(block["input"])
        rest = (value for name, value in block.items() if value and name not in _BLOCK_FRAME)
        text, extent = text + said, extent + said + sum(_count_json(value) for value in rest)
    return Weight(text, extent)


def count_text(value: Any, depth: int = 0) -> int:
    """Return the bytes of generated text in a value: a text, or lists and objects around texts."""
    if isinstance(value, str):
        return count_bytes(value)
    if depth == DEPTH_MAX:
        return 0
    if isinstance(value, list):
        return sum(count_text(item, depth + 1) for item in value)
    if not isinstance(value, dict):
        return 0
    size = 0
    for name in _TEXTS:
        inner = value.get(name)
        if isinstance(inner, dict) and name == "arguments":
            size += _count_json(inner)
        elif inner:
            size += count_text(inner, depth + 1)
    return size


def count_bytes(text: str) -> int:
    """Return the bytes of a text, which may have been cut in the middle of a surrogate pair."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _count_json(value: Any) -> int:
    if isinstance(value, str):
        return count_bytes(value)
    try:
        return len(write_provider_json(value))
    except ValueError:
        return 0  # no client reads JSON of this depth
