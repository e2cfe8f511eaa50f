"""Request fields that are refused, because what they cost cannot be bounded. Pure.

One table for both servers: to refuse another field, add its name here. Among them are those that
tell a provider's own router (LiteLLM, OpenRouter and their kind) to answer with another model, to
invent an answer or a failure, or to ask somebody else: a provider would seem to cheat, or to fail,
at its client's wish.
"""

import re
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

ROUTER_CONTROLS: Final = frozenset(
    {
        # Another model, another deployment, another prompt.
        "model_list",
        "model_info",
        "user_config",
        "specific_deployment",
        "deployment_id",
        "hf_model_name",
        "base_model",
        "custom_llm_provider",
        "preset",
        "tags",
        "transforms",
        "prompt_id",
        "prompt_label",
        "prompt_variables",
        "guardrails",
        "gateway",
        "providerOptions",
        "provider_options",
        "router",
        "router_settings",
        "router_settings_override",
        "adapter",
        "adapter_id",
        "adapter_source",
        "lora",
        "lora_path",
        # Another host, another key.
        "api_base",
        "base_url",
        "api_key",
        "api_type",
        "api_version",
        "organization",
        "headers",
        "extra_headers",
        "extra_query",
        "bootstrap_host",
        "bootstrap_port",
        "bootstrap_room",
        "kv_transfer_params",
        # A failure at a wish, or many calls for one.
        "timeout",
        "request_timeout",
        "stream_timeout",
        "num_retries",
        "max_retries",
        "retry_policy",
        "cooldown_time",
        "rpm",
        "tpm",
        # An answer that comes later, or without its parts.
        "deferred",
        "response_fields",
        # What was asked for is taken out again: the output limit too.
        "drop_params",
        "additional_drop_params",
        "allowed_openai_params",
    }
)
"""Fields that steer a provider's router, or its server as routers do."""

_ROUTER_CONTROL: Final = re.compile(
    r"mock_\w+|litellm_\w+|aws_\w+|vertex_\w+|azure_\w+|\w+_cost_per_\w+"
    r"|(?:\w+_)?fallback(?:s|_\w+)?"
)
"""The same by how they are named: ``mock_response``, ``context_window_fallbacks``."""

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
    names = [name for name in REFUSED & body.keys() if name not in limits]
    costly = [
        name for name in names if body[name] is not None and not _is_harmless(name, body[name])
    ]
    control = find_router_control(body)
    return min(costly if control is None else [*costly, control], default=None)


def find_router_control(
    body: Mapping[str, Any], *, own: Collection[str] = frozenset()
) -> str | None:
    """Return the first field, by name, that steers a provider's router; None without one.

    ``own`` are fields that have a meaning of their own at the endpoint.
    What is null, false or empty steers nothing, but an empty answer or failure that is to be
    invented is one.
    """
    controls = (name for name, value in body.items() if name not in own and _steers(name, value))
    return min(controls, default=None)


def _steers(name: str, value: Any) -> bool:
    if value is None or value is False:
        return False
    if name not in ROUTER_CONTROLS and _ROUTER_CONTROL.fullmatch(name) is None:
        return False
    return name.startswith("mock_") or not any(
        type(value) is type(empty) and value == empty for empty in EMPTY
    )


def _is_harmless(name: str, value: Any) -> bool:
    # In Python 1 == True, but here they differ.
    return any(type(value) is type(known) and value == known for known in _HARMLESS.get(name, ()))
