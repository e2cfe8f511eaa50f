"""How much thinking fits into the output limit of a message that is passed on. Pure."""

from typing import Any, Final

THINKING_MIN: Final = 1_024
"""The least budget of thinking that the dialect of messages has, in tokens."""


def fit_thinking(body: dict[str, Any], max_tokens: int) -> dict[str, Any]:
    """Return a request of messages whose thinking fits into a lowered output limit.

    Its budget must be below the limit; where not even the least fits, there is no thinking.
    """
    thinking = body.get("thinking")
    if not isinstance(thinking, dict):
        return body
    budget = thinking.get("budget_tokens")
    if type(budget) is not int or budget < max_tokens:
        return body
    if max_tokens <= THINKING_MIN:
        return {**body, "thinking": {"type": "disabled"}}
    return {**body, "thinking": {**thinking, "budget_tokens": max(THINKING_MIN, max_tokens // 2)}}
