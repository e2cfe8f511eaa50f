"""Request fields that are refused, because what they cost cannot be bounded. Pure.

One table for both servers: to refuse another field, add its name here.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

OUTPUT_LIMITS: Final = frozenset(
    {
        "n_predict",
        "num_predict",
        "max_new_tokens",
        "max_length",
        "max_output_tokens",
        "options",
        "best_of",
        "use_beam_search",
        "beam_width",
    }
)
"""Names of an output limit, or ways around it. An endpoint's own name of its limit is allowed."""

OTHER_PRICES: Final = frozenset(
    {
        "models",
        "route",
        "routing",
        "provider",
        "service_tier",
        "chat_template",
        "extra_body",
    }
)
"""Fields that choose another model, provider, template or price than the reservation's."""

UNCOUNTED: Final = frozenset(
    {
        "audio",
        "modalities",
        "prediction",
        "web_search",
        "web_search_options",
        "enable_web_search",
        "search_parameters",
        "enable_search",
        "google_search",
        "connectors",
        "compound_custom",
        "mcp_servers",
        "plugins",
        "mm_processor_kwargs",
    }
)
"""Output or input that is not counted in text tokens, and paid extras."""

KEPT_ELSEWHERE: Final = frozenset({"previous_response_id", "conversation", "background"})
"""State that a provider keeps for another request, which may go to another provider."""

REFUSED: Final = OUTPUT_LIMITS | OTHER_PRICES | UNCOUNTED | KEPT_ELSEWHERE

EMPTY: Final[tuple[Any, ...]] = ({}, [], "")
_HARMLESS: Final[Mapping[str, tuple[Any, ...]]] = {
    "best_of": (1,),
    "beam_width": (1,),
    "use_beam_search": (False,),
    "options": EMPTY,
    "modalities": (["text"], []),
    # Without a dearer service: a provider's standard one, or a slower one.
    "service_tier": ("auto", "default", "standard", "standard_only", "on_demand", "flex"),
    "extra_body": EMPTY,
    "models": EMPTY,
    "provider": EMPTY,
    "route": EMPTY,
    "chat_template": EMPTY,
    "background": (False,),
    "web_search": (False,),
    "enable_web_search": (False,),
    "enable_search": (False,),
    "search_parameters": ({"mode": "off"},),
    "connectors": ([],),
    "mcp_servers": ([],),
    "plugins": ([],),
    "mm_processor_kwargs": EMPTY,
}
"""Values that cost nothing extra."""

NOT_PASSED_ON: Final = frozenset({"extra_body"})
"""Fields that no provider takes: a client's library was to unpack them. Empty, they are dropped."""


def find_refused(body: Mapping[str, Any], *, limits: Collection[str]) -> str | None:
    """Return the first field, by name, that is refused for its value; None if all are accepted.

    ``limits`` are the endpoint's own names of its output limit.
    """
    for name in sorted(REFUSED & body.keys()):
        value = body[name]
        if value is not None and name not in limits and not _is_harmless(name, value):
            return name
    return None


def _is_harmless(name: str, value: Any) -> bool:
    # In Python 1 == True, but here they differ.
    return any(type(value) is type(known) and value == known for known in _HARMLESS.get(name, ()))
