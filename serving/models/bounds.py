"""How many tokens a text can be, and how many it probably is. Pure."""

from typing import Final

TEMPLATE_TOKENS: Final = 128
"""Tokens that a chat template adds once: markers and, without a system prompt, a default one."""

TEMPLATE_TOKENS_PER_MESSAGE: Final = 16
"""Tokens that a chat template adds around each message beyond the JSON around it."""

TEMPLATE_TOKENS_TOOLS: Final = 1_024
"""Tokens that a chat template adds to explain how tools are called."""

ESTIMATED_BYTES_PER_TOKEN: Final = 3
"""For estimates where no provider reports a count: English has about four bytes a token, code
about three."""

ESTIMATED_TOKENS_PER_MESSAGE: Final = 4


def get_prompt_bound(
    *, body_bytes: int, messages: int, has_tools: bool, context_tokens: int | None = None
) -> int:
    """Return a number of tokens that the prompt cannot exceed.

    No byte-level tokenizer makes more tokens than bytes; a chat template adds to them. A prompt is
    never longer than the model's context.
    """
    bound = body_bytes + TEMPLATE_TOKENS + messages * TEMPLATE_TOKENS_PER_MESSAGE
    if has_tools:
        bound += TEMPLATE_TOKENS_TOOLS
    return bound if context_tokens is None else min(bound, context_tokens)


def estimate_prompt_tokens(*, body_bytes: int, messages: int) -> int:
    """Estimate a prompt's tokens from the bytes of its JSON, rounded up."""
    return estimate_output_tokens(body_bytes) + ESTIMATED_TOKENS_PER_MESSAGE * messages


def estimate_output_tokens(output_bytes: int) -> int:
    """Estimate the tokens of a text from its bytes, rounded up."""
    return -(-output_bytes // ESTIMATED_BYTES_PER_TOKEN)
