"""What the endpoints' requests say about money. Pure. ``market.text.usage`` reads their answers.

Everything that is not named here reaches the seller unchanged. Refused is what would make the
price another one than the offer's: content that cannot be counted, state that the seller keeps for
another request, other models, paid tools.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from serving.http.errors import ApiError, bad_request, wrong_type
from serving.models.bounds import estimate_prompt_tokens, get_prompt_bound
from serving.models.prices import Tokens

MAX_TOKENS_DEFAULT: Final = 4_096
"""The output limit of a request that names none."""

MAX_TOKENS_CAP: Final = 131_072
CHOICES_MAX: Final = 128
INPUTS_MAX: Final = 2_048
MODEL_LENGTH_MAX: Final = 200
FILTERS_MAX: Final = 100

ROUTING_FIELD: Final = "routing"


class Endpoint(StrEnum):
    """What can be bought, by its path below /v1/."""

    CHAT = "chat/completions"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    EMBEDDINGS = "embeddings"


MINIMUM_DISCOUNT_ENDPOINTS: Final = frozenset(
    {Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES}
)
"""Those that the reference mirrors below /min{N}."""

_LIMIT_FIELDS: Final[Mapping[Endpoint, tuple[str, ...]]] = {
    Endpoint.CHAT: ("max_tokens", "max_completion_tokens"),
    Endpoint.COMPLETIONS: ("max_tokens",),
    Endpoint.RESPONSES: ("max_output_tokens",),
    Endpoint.EMBEDDINGS: (),
}

_REFUSED: Final = frozenset(
    {
        # Other names of the output limit, or ways around it.
        "n_predict",
        "num_predict",
        "max_new_tokens",
        "max_length",
        "options",
        "best_of",
        "use_beam_search",
        # Another model, provider or price than the one that is reserved for.
        "models",
        "route",
        "provider",
        "service_tier",
        "extra_body",
        # Output or input that is not counted in text tokens, and paid extras.
        "audio",
        "modalities",
        "prediction",
        "web_search_options",
        "search_parameters",
        "plugins",
        # What the seller would have to have kept: another request may go to another one.
        "previous_response_id",
        "conversation",
        "background",
        "prompt_cache_retention",
    }
)
_HARMLESS: Final = {
    "best_of": 1,
    "modalities": ["text"],
    "service_tier": "default",
    "background": False,
}


@dataclass(frozen=True, slots=True)
class Filters:
    """Which sellers a buyer wants. Prices in 1e-6 USDC per 1e6 tokens."""

    only: frozenset[str] = frozenset()
    ignore: frozenset[str] = frozenset()
    trusted_only: bool = False
    input_usdc_per_mtok_max: int | None = None
    output_usdc_per_mtok_max: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A request as far as it matters for money. ``body`` is what goes to the seller."""

    endpoint: Endpoint
    body: dict[str, Any]
    model: str
    routing: Any
    """The field of that name, as it came: see ``market.routing.filters``."""
    stream: bool
    asks_for_usage: bool
    asks_for_running_usage: bool
    """Whether the buyer expects usage in each chunk of a stream as well."""
    text_bytes: int
    """Length of the JSON without images' data."""
    messages: int
    has_tools: bool
    images: int
    max_tokens: int
    """Of one choice; 0 where nothing is generated."""
    choices: int

    def get_bound(self, *, context_tokens: int | None, image_tokens: int | None) -> Tokens:
        """Return tokens that the request cannot exceed."""
        prompt = get_prompt_bound(
            body_bytes=self.text_bytes + self.images * (image_tokens or 0),
            messages=self.messages,
            has_tools=self.has_tools,
        )
        if context_tokens is not None:
            prompt = min(prompt, context_tokens * max(1, self._inputs()))
        return Tokens(prompt, self.max_tokens * self.choices)

    def get_estimate(self, *, image_tokens: int | None) -> Tokens:
        """Return the tokens that the price is compared by: all of the output that may come."""
        prompt = estimate_prompt_tokens(body_bytes=self.text_bytes, messages=self.messages)
        prompt += self.images * (image_tokens or 0)
        return Tokens(prompt, self.max_tokens * self.choices)

    def _inputs(self) -> int:
        for name in ("input", "prompt"):
            value = self.body.get(name)
            if isinstance(value, list) and value and not isinstance(value[0], int | dict):
                return len(value)
        return 1

    def build_body(self, model: str) -> bytes:
        """Return the JSON for a seller who calls the model ``model``."""
        sent = {**self.body, "model": model}
        fields = _LIMIT_FIELDS[self.endpoint]
        for name in [name for name in fields if sent.get(name) is not None] or fields[:1]:
            sent[name] = self.max_tokens
        if self.stream and self.endpoint is not Endpoint.RESPONSES:
            # Without it most providers do not say what a stream took.
            sent["stream_options"] = {**(sent.get("stream_options") or {}), "include_usage": True}
        if self.endpoint is Endpoint.RESPONSES:
            sent["store"] = False
        return orjson.dumps(sent)


def parse_call(endpoint: Endpoint, raw: bytes) -> Call:
    """Read a request body. Raises ``RequestRejected`` (400), naming the field."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise bad_request("invalid_json", f"The body is not JSON: {error}.") from None
    if not isinstance(body, dict):
        raise bad_request("invalid_type", "The body must be a JSON object.")
    _check_refused(body)
    _check_tools(body, endpoint)
    model = body.get("model")
    if not isinstance(model, str) or not model or len(model) > MODEL_LENGTH_MAX:
        raise wrong_type("model", "a non-empty string")
    routing = body.pop(ROUTING_FIELD, None)
    messages, images, image_bytes, inputs = _read_input(endpoint, body)
    stream = _read_flag(body, "stream")
    if stream and endpoint is Endpoint.EMBEDDINGS:
        raise bad_request("unsupported_parameter", "Embeddings do not stream.", param="stream")
    return Call(
        endpoint=endpoint,
        body=body,
        model=model,
        routing=routing,
        stream=stream,
        asks_for_usage=stream and _asks_for_usage(body),
        asks_for_running_usage=stream and _asks_for_running_usage(body),
        text_bytes=_count_json(body) - image_bytes,
        messages=messages,
        has_tools=bool(body.get("tools") or body.get("functions")),
        images=images,
        max_tokens=_read_limit(endpoint, body),
        choices=_read_choices(body) * inputs,
    )


def _count_json(value: Any) -> int:
    try:
        return len(orjson.dumps(value))
    except orjson.JSONEncodeError:
        raise bad_request("invalid_json", "The body is nested too deeply.") from None


def _check_refused(body: Mapping[str, Any]) -> None:
    for name in sorted(_REFUSED & body.keys()):
        if body[name] is not None and body[name] != _HARMLESS.get(name):
            message = f"'{name}' is not supported: what it costs cannot be bounded."
            raise bad_request("unsupported_parameter", message, param=name)


def _check_tools(body: Mapping[str, Any], endpoint: Endpoint) -> None:
    tools = body.get("tools")
    if tools is None:
        return
    if not isinstance(tools, list):
        raise wrong_type("tools", "a list")
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict) or tool.get("type") != "function":
            message = "Only tools of type 'function' are supported: others cost extra."
            raise bad_request("unsupported_tool", message, param=f"tools[{index}].type")
        function = tool if endpoint is Endpoint.RESPONSES else tool.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise wrong_type(f"tools[{index}]", "a function with a name")


def _read_input(endpoint: Endpoint, body: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Return (messages, images, bytes of images, separate inputs)."""
    match endpoint:
        case Endpoint.CHAT:
            messages = body.get("messages")
            if not isinstance(messages, list) or not messages:
                raise wrong_type("messages", "a non-empty list")
            images, size = _read_messages(messages, "messages")
            return len(messages), images, size, 1
        case Endpoint.RESPONSES:
            given = body.get("input")
            if isinstance(given, str):
                return 1, 0, 0, 1
            if not isinstance(given, list) or not given:
                raise wrong_type("input", "a string or a non-empty list")
            images, size = _read_messages(given, "input")
            return len(given), images, size, 1
        case Endpoint.COMPLETIONS:
            return 0, 0, 0, _read_texts(body, "prompt")
        case Endpoint.EMBEDDINGS:
            return 0, 0, 0, _read_texts(body, "input")


def _read_texts(body: Mapping[str, Any], name: str) -> int:
    """Return how many inputs: a text, a list of texts, tokens, or a list of lists of tokens."""
    expected = "a string, a list of strings, or tokens"
    value = body.get(name)
    if isinstance(value, str):
        return 1
    if not isinstance(value, list) or not value:
        raise wrong_type(name, expected)
    if all(type(item) is int for item in value):
        return 1
    if len(value) > INPUTS_MAX:
        raise wrong_type(name, f"of at most {INPUTS_MAX} inputs")
    for item in value:
        is_tokens = isinstance(item, list) and all(type(token) is int for token in item)
        if not isinstance(item, str) and not is_tokens:
            raise wrong_type(name, expected)
    return len(value)


def _read_messages(messages: list[Any], where: str) -> tuple[int, int]:
    images, image_bytes = 0, 0
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise wrong_type(f"{where}[{index}]", "an object")
        if message.get("audio") is not None or message.get("type") == "item_reference":
            raise _unknown_content(f"{where}[{index}]")
        content = message.get("content")
        if content is None or isinstance(content, str):
            continue
        if not isinstance(content, list):
            raise wrong_type(f"{where}[{index}].content", "a string, a list of parts or null")
        for number, part in enumerate(content):
            size = _read_part(part, f"{where}[{index}].content[{number}]")
            images += size is not None
            image_bytes += size or 0
    return images, image_bytes


def _read_part(part: Any, where: str) -> int | None:
    """Return the size of an image's URL or data, None for text."""
    if not isinstance(part, dict):
        raise wrong_type(where, "an object")
    match part.get("type"):
        case "text" | "input_text" | "output_text" | "refusal" | "summary_text":
            return None
        case "image_url" | "input_image":
            image = part.get("image_url")
            url = image.get("url") if isinstance(image, dict) else image
            if not isinstance(url, str):
                raise wrong_type(f"{where}.image_url", "an image's URL")
            return len(orjson.dumps(url))
        case _:
            raise _unknown_content(f"{where}.type")


def _unknown_content(param: str) -> ApiError:
    message = "Only text and, for models that state their size, images can be sent."
    return bad_request("unsupported_content", message, param=param)


def _read_flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise wrong_type(name, "true or false")
    return bool(value)


def _asks_for_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise wrong_type("stream_options", "an object")
    asked = options.get("include_usage")
    if asked is not None and not isinstance(asked, bool):
        raise wrong_type("stream_options.include_usage", "true or false")
    return bool(asked)


def _asks_for_running_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("continuous_usage_stats") is True


def _read_limit(endpoint: Endpoint, body: Mapping[str, Any]) -> int:
    fields = _LIMIT_FIELDS[endpoint]
    given = [(name, body[name]) for name in fields if body.get(name) is not None]
    for name, value in given:
        if type(value) is not int or value < 1:
            raise wrong_type(name, "a positive integer")
    if not fields:
        return 0
    limits: list[int] = [value for _, value in given] or [MAX_TOKENS_DEFAULT]
    return min(MAX_TOKENS_CAP, *limits)


def _read_choices(body: Mapping[str, Any]) -> int:
    value = body.get("n")
    if value is None:
        return 1
    if type(value) is not int or not 1 <= value <= CHOICES_MAX:
        raise wrong_type("n", f"an integer from 1 to {CHOICES_MAX}")
    return int(value)
