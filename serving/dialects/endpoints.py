"""What can be asked of a model by text: the endpoints, and where each has its output limit."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from serving.models.provider_answers import Holder


class Endpoint(StrEnum):
    """An endpoint, by its path below /v1/."""

    CHAT = "chat/completions"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    MESSAGES = "messages"
    EMBEDDINGS = "embeddings"


MAX_TOKENS: Final = "max_tokens"
MAX_COMPLETION_TOKENS: Final = "max_completion_tokens"

LIMIT_FIELDS: Final[Mapping[Endpoint, tuple[str, ...]]] = {
    Endpoint.CHAT: (MAX_TOKENS, MAX_COMPLETION_TOKENS),
    Endpoint.COMPLETIONS: (MAX_TOKENS,),
    Endpoint.RESPONSES: ("max_output_tokens",),
    Endpoint.MESSAGES: (MAX_TOKENS,),
    Endpoint.EMBEDDINGS: (),
}
"""The names of the output limit, the most common first."""

HOLDERS: Final[Mapping[Endpoint, Holder]] = {
    Endpoint.CHAT: Holder.CHOICES,
    Endpoint.COMPLETIONS: Holder.CHOICES,
    Endpoint.RESPONSES: Holder.OUTPUT,
    Endpoint.MESSAGES: Holder.CONTENT,
    Endpoint.EMBEDDINGS: Holder.DATA,
}
"""The field of a whole answer that holds what was generated."""

_REASONERS: Final = re.compile(r"(?:^|[/:.])(?:o[1-9]\d*|gpt-[5-9]|gpt-\d\d|codex)(?:$|[-.:_@])")
"""Models that take the limit as ``max_completion_tokens`` only, by name."""


def name_limit(endpoint: Endpoint, model: str) -> str | None:
    """Return the field in which a model takes an output limit that its request does not name.

    None where nothing is generated.
    """
    fields = LIMIT_FIELDS[endpoint]
    if endpoint is Endpoint.CHAT and _REASONERS.search(model.lower()) is not None:
        return MAX_COMPLETION_TOKENS
    return fields[0] if fields else None
