"""Dishonest sellers for the lab: they answer its questions as a buyer's program sees them.

Each is built of two models that part on the lab's questions (``tests.support.answering_models``):
what it was paid to serve, and a cheaper one.
"""

import random
from hashlib import sha256
from typing import Any

from tests.support.answering_models import Build, build_model


def swap() -> Build:
    """Serve another model."""
    return build_model(prefers_last=True)


def mix(share: float) -> Build:
    """Serve another model to a share of requests."""
    honest, other = build_model(prefers_last=False), build_model(prefers_last=True)
    drawn = random.Random(7)

    def build(endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        return (other if drawn.random() < share else honest)(endpoint, body)

    return build


def keep_answers() -> Build:
    """Serve the real model once for each text, and that answer ever after; another one to who asks
    anything new after the first hundred."""
    honest, other = build_model(prefers_last=False), build_model(prefers_last=True)
    kept: dict[str, dict[str, Any]] = {}

    def build(endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        text = body["messages"][-1]["content"]
        if text not in kept:
            kept[text] = (honest if len(kept) < 100 else other)(endpoint, body)
        return kept[text]

    return build


def please_probes() -> Build:
    """Serve the real model to what looks like a probe (short answers), another one to the rest."""
    honest, other = build_model(prefers_last=False), build_model(prefers_last=True)

    def build(endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        is_probe = body.get("max_tokens", 1_000) <= 8
        return (honest if is_probe else other)(endpoint, body)

    return build


def quantise() -> Build:
    """Serve a good quantisation: the real model's answers, but for one text in fifty."""
    honest, other = build_model(prefers_last=False), build_model(prefers_last=True)

    def build(endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        text = body["messages"][-1]["content"]
        is_other = int.from_bytes(sha256(text.encode()).digest()[:4]) % 50 == 0
        return (other if is_other else honest)(endpoint, body)

    return build


def inflate(times: int) -> Build:
    """Serve the real model, and report several times the tokens of its answers."""
    honest = build_model(prefers_last=False)

    def build(endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = honest(endpoint, body)
        shown = len(answer["choices"][0]["message"]["content"])
        answer["usage"]["completion_tokens"] = times * max(1, shown // 4)
        return answer

    return build
