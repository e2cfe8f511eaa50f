"""Two models that part on the lab's questions, for endpoints of tests."""

import random
import re
from collections.abc import Callable
from typing import Any

Build = Callable[[str, dict[str, Any]], dict[str, Any]]


def build_model(*, prefers_last: bool) -> Build:
    """Return what answers a probe's question: mostly the first or the last word by the alphabet."""
    drawn = random.Random(prefers_last)

    def build(_: str, body: dict[str, Any]) -> dict[str, Any]:
        words = sorted(re.findall(r"[a-z]{3,}", body["messages"][-1]["content"].lower()))
        usual = words[-1] if prefers_last else words[0]
        text = usual if drawn.random() < 0.95 else drawn.choice(words)
        message = {"role": "assistant", "content": f"{text.capitalize()}."}
        return {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 32},
        }

    return build
