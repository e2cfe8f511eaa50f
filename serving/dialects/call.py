"""A request for text: the parts of it that matter for money, for both servers. Pure.

Everything that is not read here reaches the provider unchanged. Refused is what would make the cost
unbounded, or another one than what was reserved for.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from serving.dialects.common_form import CommonForm, without_fields
from serving.dialects.content import Content, read_chat, read_response, read_texts
from serving.dialects.endpoints import LIMIT_FIELDS, Endpoint, name_limit
from serving.dialects.parameters import validate_parameters
from serving.dialects.thinking import fit_thinking
from serving.dialects.tools import validate_tools
from serving.http.errors import bad_request, wrong_type
from serving.http.strict_json import parse_and_write, write_json
from serving.models.bounds import estimate_prompt_tokens, get_prompt_bound
from serving.models.prices import Tokens
from serving.models.refused import NOT_PASSED_ON, find_refused

CHOICES_MAX: Final = 128
MODEL_LENGTH_MAX: Final = 200
STREAM_OPTIONS: Final = "stream_options"

_STREAMS_WITHOUT_ASKING: Final = frozenset(
    {Endpoint.RESPONSES, Endpoint.MESSAGES, Endpoint.EMBEDDINGS}
)
"""Endpoints whose streams say the usage by themselves, or that have no streams."""


@dataclass(frozen=True, slots=True)
class LimitRules:
    """How many output tokens of one choice a server lets through."""

    default: int
    """The output limit of a request that names none."""
    cap: int
    """Whatever the request asks for."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request. ``body`` is what goes to the provider, without the server's own fields."""

    endpoint: Endpoint
    body: dict[str, Any]
    written: bytes
    """``body`` as JSON."""
    model: str
    stream: bool
    asks_for_usage: bool
    """Whether the client expects a stream to end with a chunk that has usage and no choices."""
    asks_for_running_usage: bool
    """Whether the client expects usage in each chunk of a stream as well."""
    text_bytes: int
    """Length of the JSON without images' data."""
    messages: int
    has_tools: bool
    images: int
    inputs: int
    """Separate prompts."""
    choices: int
    """Answers to all inputs together."""
    requested_max_tokens: int | None
    """The output limit of one choice that the request names."""
    limits: LimitRules
    own: Mapping[str, Any]
    """The server's own fields, as they came."""
    extras: frozenset[str] = frozenset()
    """Fields at any depth that only some providers know, of a translated request."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """What is sent beside the body for the next server itself: no provider sees it, so it counts as
    no part of the prompt."""
    renames_limit: bool = False
    """Whether the output limit goes by the name that the model takes: the client named it in
    another dialect."""
    unshown_bytes: int = 0
    """Bytes of ``written`` beyond ``text_bytes`` that may be prompt: they count for the bound, and
    not for the estimate, which is the same in every dialect."""
    as_chat: "Call | None" = None
    """The same request as a chat, of one that came in another dialect and is passed on in it."""
    form: CommonForm | None = None
    """Where this is the translation of another dialect's request: what its answer needs."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The dialect's own headers, which go to the provider."""

    def get_prompt_bound(
        self, *, context_tokens: int | None, image_tokens: int | None, added_bytes: int = 0
    ) -> int:
        """Return a number of tokens that the prompt cannot exceed.

        ``added_bytes`` are those that a server adds for a next server, which counts them again.
        """
        return get_prompt_bound(
            body_bytes=self.text_bytes
            + self.unshown_bytes
            + added_bytes
            + self.images * (image_tokens or 0),
            messages=self.messages,
            has_tools=self.has_tools,
            context_tokens=None if context_tokens is None else context_tokens * self.inputs,
        )

    def count_added_bytes(self, model: str) -> int:
        """Return how many bytes ``build_body`` adds at most, by the model's name and additions."""
        added = max(0, len(orjson.dumps(model)) - len(orjson.dumps(self.model)))
        names_limit = self.requested_max_tokens is None or self.renames_limit
        if names_limit and LIMIT_FIELDS[self.endpoint]:
            longest = max(LIMIT_FIELDS[self.endpoint], key=len)
            added += len(orjson.dumps({longest: self.limits.default}))
        if self.stream and self.endpoint not in _STREAMS_WITHOUT_ASKING:
            added += len(orjson.dumps({STREAM_OPTIONS: {"include_usage": True}}))
        return added

    def estimate_prompt(self, *, image_tokens: int | None) -> int:
        """Return how many tokens the prompt probably has."""
        text = estimate_prompt_tokens(body_bytes=self.text_bytes, messages=self.messages)
        return text + self.images * (image_tokens or 0)

    def get_max_tokens(self, *, context_tokens: int | None, image_tokens: int | None = None) -> int:
        """Return the output limit of one choice that is applied; 0 where nothing is generated.

        Where the request names no limit, the limit leaves room for the prompt in the context.
        """
        if not self.generates:
            return 0
        requested = self.requested_max_tokens
        applied = min(self.limits.cap, self.limits.default if requested is None else requested)
        if context_tokens is None:
            return applied
        if requested is None:
            prompt = -(-self.estimate_prompt(image_tokens=image_tokens) // self.inputs)
            return max(1, min(applied, context_tokens - prompt))
        return min(applied, context_tokens)

    def get_bound(self, *, context_tokens: int | None, image_tokens: int | None) -> Tokens:
        """Return tokens that the request cannot exceed."""
        limit = self.get_max_tokens(context_tokens=context_tokens, image_tokens=image_tokens)
        prompt = self.get_prompt_bound(context_tokens=context_tokens, image_tokens=image_tokens)
        return Tokens(prompt, limit * self.choices)

    def get_estimate(self, *, context_tokens: int | None, image_tokens: int | None) -> Tokens:
        """Return the tokens that prices are compared by: all of the output that may come."""
        limit = self.get_max_tokens(context_tokens=context_tokens, image_tokens=image_tokens)
        return Tokens(self.estimate_prompt(image_tokens=image_tokens), limit * self.choices)

    @property
    def generates(self) -> bool:
        """Whether the endpoint has an output whose length is limited."""
        return bool(LIMIT_FIELDS[self.endpoint])

    @property
    def additions(self) -> frozenset[str]:
        """The fields that the server adds to the client's request: see ``additions``."""
        added: set[str] = set()
        if self.requested_max_tokens is None or self.renames_limit:
            added.update(LIMIT_FIELDS[self.endpoint])
        if self.stream and self.endpoint not in _STREAMS_WITHOUT_ASKING:
            added.add(STREAM_OPTIONS)
        return self.extras.union(added)

    @property
    def client_fields(self) -> frozenset[str]:
        """The ones of ``additions`` whose values are the client's."""
        if self.requested_max_tokens is None:
            return self.extras
        return self.extras.union(LIMIT_FIELDS[self.endpoint])

    def build_body(
        self, *, model: str, max_tokens: int, without: Collection[str] = frozenset()
    ) -> bytes:
        """Return the JSON for a provider that calls the model ``model``.

        A limit that the request names is lowered to ``max_tokens``; else ``max_tokens`` is added,
        in the name that the model takes. ``without`` are additions that the model refuses.
        """
        changes: dict[str, Any] = {} if self.body["model"] == model else {"model": model}
        if self.beside:
            changes |= self.beside
        if max_tokens > 0:
            changes |= self._build_limit(model, max_tokens, without)
        if self.stream and self.endpoint not in _STREAMS_WITHOUT_ASKING:
            # Without it most providers do not say what a stream took.
            changes[STREAM_OPTIONS] = self._build_stream_options(without)
        if self.endpoint is Endpoint.RESPONSES and self.body.get("store") is not False:
            changes["store"] = False
        unknown = self.extras.intersection(without) if without else None
        if not changes and not unknown:
            return self.written
        sent = {**self.body, **changes}
        if self.endpoint is Endpoint.MESSAGES and max_tokens > 0:
            sent = fit_thinking(sent, max_tokens)
        if unknown:
            sent = without_fields(sent, unknown)
        if sent.get(STREAM_OPTIONS, 0) is None:
            del sent[STREAM_OPTIONS]
        if self.renames_limit and not changes.keys().isdisjoint(LIMIT_FIELDS[self.endpoint]):
            for name in LIMIT_FIELDS[self.endpoint]:
                if name not in changes:
                    sent.pop(name, None)
        return orjson.dumps(sent)

    def _build_limit(self, model: str, max_tokens: int, without: Collection[str]) -> dict[str, int]:
        fields = LIMIT_FIELDS[self.endpoint]
        named = [name for name in fields if self.body.get(name) is not None]
        known = name_limit(self.endpoint, model)
        names = [name for name in (known, *fields) if name is not None and name not in without]
        if not named:
            return {names[0]: max_tokens} if names else {}
        if not self.renames_limit:
            return {name: max_tokens for name in named if self.body[name] != max_tokens}
        chosen = names[0] if names else named[0]
        return {chosen: max_tokens} if [chosen] != named or self.body[chosen] != max_tokens else {}

    def _build_stream_options(self, without: Collection[str]) -> dict[str, Any] | None:
        options = self.body.get(STREAM_OPTIONS) or {}
        if STREAM_OPTIONS in without:
            kept = {name: value for name, value in options.items() if name != "include_usage"}
            return kept or None
        return {**options, "include_usage": True}


def parse_call(
    endpoint: Endpoint, raw: bytes, limits: LimitRules, *, own_fields: frozenset[str]
) -> Call:
    """Read a request body. Raises ``RequestRejected`` (400), naming the field.

    ``own_fields`` are for the server itself: they are kept apart, and not passed on.
    """
    body, written = parse_and_write(raw)
    return build_call(endpoint, body, written, limits, own_fields=own_fields)


def build_call(
    endpoint: Endpoint,
    body: dict[str, Any],
    written: bytes,
    limits: LimitRules,
    *,
    own_fields: frozenset[str],
    extras: frozenset[str] = frozenset(),
    renames_limit: bool = False,
) -> Call:
    """Read a body that is parsed; ``written`` is the same as JSON. Raises as ``parse_call``."""
    own = {name: body[name] for name in own_fields if name in body}
    dropped = own.keys() | (NOT_PASSED_ON & body.keys())
    if own:
        body = {name: value for name, value in body.items() if name not in own}
    refused = find_refused(body, limits=LIMIT_FIELDS[endpoint])
    if refused is not None:
        message = f"'{refused}' is not supported: what it costs cannot be bounded."
        raise bad_request("unsupported_parameter", message, param=refused)
    if endpoint is Endpoint.CHAT:
        validate_parameters(body)
    validate_tools(body, endpoint)
    model = body.get("model")
    listed = own.get("models")
    if model is None and isinstance(listed, list) and listed:
        # A list of models is itself a choice: its first one stands for it.
        model = listed[0]
        body = {**body, "model": model}
    if not isinstance(model, str) or not model or len(model) > MODEL_LENGTH_MAX:
        raise wrong_type("model", "a non-empty string")
    stream = read_flag(body, "stream")
    if stream and endpoint is Endpoint.EMBEDDINGS:
        raise bad_request("unsupported_parameter", "Embeddings do not stream.", param="stream")
    content = _read_content(endpoint, body)
    if dropped:
        body = {name: value for name, value in body.items() if name not in dropped}
        written = write_json(body)
    return Call(
        endpoint=endpoint,
        body=body,
        written=written,
        model=model,
        stream=stream,
        asks_for_usage=stream and _asks_for_usage(body),
        asks_for_running_usage=stream and _asks_for_running_usage(body),
        text_bytes=len(written) - content.image_bytes,
        messages=content.messages,
        has_tools=bool(body.get("tools") or body.get("functions")),
        images=content.images,
        inputs=content.inputs,
        choices=_read_choices(body) * content.inputs,
        requested_max_tokens=_read_limit(endpoint, body),
        limits=limits,
        own=own,
        extras=extras,
        renames_limit=renames_limit,
    )


def _read_content(endpoint: Endpoint, body: Mapping[str, Any]) -> Content:
    match endpoint:
        case Endpoint.CHAT | Endpoint.MESSAGES:
            return read_chat(body)
        case Endpoint.RESPONSES:
            return read_response(body)
        case Endpoint.COMPLETIONS:
            return read_texts(body, "prompt")
        case Endpoint.EMBEDDINGS:
            return read_texts(body, "input")


def read_flag(body: Mapping[str, Any], name: str) -> bool:
    """Return an optional boolean field, false where it is absent. Raises 400."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise wrong_type(name, "true or false")
    return bool(value)


def _asks_for_usage(body: Mapping[str, Any]) -> bool:
    options = body.get(STREAM_OPTIONS)
    if options is None:
        return False
    if not isinstance(options, dict):
        raise wrong_type(STREAM_OPTIONS, "an object")
    asked = options.get("include_usage")
    if asked is not None and not isinstance(asked, bool):
        raise wrong_type(f"{STREAM_OPTIONS}.include_usage", "true or false")
    return bool(asked)


def _asks_for_running_usage(body: Mapping[str, Any]) -> bool:
    options = body.get(STREAM_OPTIONS)
    return isinstance(options, dict) and options.get("continuous_usage_stats") is True


def _read_limit(endpoint: Endpoint, body: Mapping[str, Any]) -> int | None:
    fields = LIMIT_FIELDS[endpoint]
    given = [(name, body[name]) for name in fields if body.get(name) is not None]
    for name, value in given:
        if type(value) is not int or value < 1:
            raise wrong_type(name, "a positive integer")
    return min((value for _, value in given), default=None)


def _read_choices(body: Mapping[str, Any]) -> int:
    value = body.get("n")
    if value is None:
        return 1
    if type(value) is not int or not 1 <= value <= CHOICES_MAX:
        raise wrong_type("n", f"an integer from 1 to {CHOICES_MAX}")
    return int(value)
