"""What a request says about money, and what is added to it, in every dialect.

::

    refused        what costs extra; the same field with a value that costs nothing passes
    tools          what the client runs passes, in each dialect's form; nothing else does
    limit          in the name that the model takes, no larger than fits
    additions      left out, once refused, and remembered by model
"""

import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from serving.dialects.call import Call, LimitRules, parse_call
from serving.dialects.endpoints import Endpoint
from serving.http.errors import RequestRejected
from serving.models.additions import Additions
from serving.models.failures import UpstreamRejected

LIMITS: Final = LimitRules(default=4_096, cap=100_000)
MINIMAL: Final[dict[Endpoint, dict[str, Any]]] = {
    Endpoint.CHAT: {"messages": [{"role": "user", "content": "hi"}]},
    Endpoint.RESPONSES: {"input": "hi"},
    Endpoint.COMPLETIONS: {"prompt": "hi"},
    Endpoint.EMBEDDINGS: {"input": "hi"},
}


def parse(endpoint: Endpoint = Endpoint.CHAT, **fields: Any) -> Call:
    body = {"model": "m", **MINIMAL[endpoint], **fields}
    return parse_call(endpoint, json.dumps(body).encode(), LIMITS, own_fields=frozenset({"own"}))


def refuse(endpoint: Endpoint = Endpoint.CHAT, **fields: Any) -> RequestRejected:
    with pytest.raises(RequestRejected) as caught:
        parse(endpoint, **fields)
    assert caught.value.status == 400
    return caught.value


# ---------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize("endpoint", list(MINIMAL))
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("service_tier", "auto"),
        ("service_tier", "default"),
        ("service_tier", "flex"),
        ("service_tier", "standard_only"),
        ("service_tier", None),
        ("extra_body", {}),
        ("extra_body", None),
        ("models", []),
        ("plugins", []),
        ("provider", {}),
        ("options", {}),
        ("best_of", 1),
        ("use_beam_search", False),
        ("modalities", ["text"]),
        ("enable_search", False),
        ("search_parameters", {"mode": "off"}),
        ("background", False),
        ("web_search_options", None),
        ("transforms", []),
        ("fallbacks", []),
        ("mock_response", None),
        ("mock_testing_fallbacks", False),
        ("metadata", {"tags": "x"}),
        ("cache_prompt", True),
        ("feedback", "x"),
    ],
    ids=repr,
)
def test_parse__value_that_costs_nothing__passes(endpoint: Endpoint, name: str, value: Any) -> None:
    call = parse(endpoint, **{name: value})

    if name == "extra_body":
        assert "extra_body" not in json.loads(call.build_body(model="m", max_tokens=0))
    else:
        assert call.body[name] == value


@pytest.mark.parametrize("endpoint", list(MINIMAL))
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("service_tier", "priority"),
        ("service_tier", "scale"),
        ("service_tier", ["auto"]),
        ("extra_body", {"n": 5}),
        ("models", ["dearer"]),
        ("best_of", True),
        ("best_of", 2),
        ("use_beam_search", 0),
        ("modalities", ["text", "audio"]),
        # Empty, these turn on what costs extra.
        ("web_search_options", {}),
        ("search_parameters", {}),
        ("audio", {}),
        ("prediction", {}),
        ("enable_search", True),
        ("background", True),
        ("previous_response_id", "r"),
        ("mcp_servers", [{}]),
        # What a provider's own router would obey.
        ("fallbacks", ["gpt-4o-mini"]),
        ("fallback_models", ["gpt-4o-mini"]),
        ("context_window_fallbacks", [{"m": ["n"]}]),
        ("content_policy_fallbacks", [{"m": ["n"]}]),
        ("mock_testing_fallbacks", True),
        ("mock_testing_context_fallbacks", True),
        ("mock_response", "litellm.RateLimitError"),
        ("mock_response", ""),
        ("mock_timeout", True),
        ("mock_tool_calls", []),
        ("models", ["gpt-4o-mini"]),
        ("route", "fallback"),
        ("provider", {"order": ["x"]}),
        ("preset", "cheap"),
        ("transforms", ["middle-out"]),
        ("tags", ["cheap"]),
        ("timeout", 0.001),
        ("num_retries", 9),
        ("user_config", {"model_list": []}),
        ("api_base", "https://x.example"),
        ("api_key", "k"),
        ("custom_llm_provider", "openai"),
        ("additional_drop_params", ["max_tokens"]),
        ("litellm_params", {"model": "n"}),
        ("lora_path", "x"),
        ("deferred", True),
        ("response_fields", ["id"]),
        ("kv_transfer_params", {"remote_host": "x"}),
        ("providerOptions", {"gateway": {"models": ["n"]}}),
    ],
    ids=repr,
)
def test_parse__value_that_may_cost_extra__refused(
    endpoint: Endpoint, name: str, value: Any
) -> None:
    error = refuse(endpoint, **{name: value})

    assert (error.code, error.param) == ("unsupported_parameter", name)


def test_parse__own_fields__are_kept_apart() -> None:
    call = parse(own={"x": 1})

    assert call.own == {"own": {"x": 1}}
    assert "own" not in call.body
    assert b"own" not in call.written


def test_parse__stored_prompt__refused() -> None:
    assert refuse(Endpoint.RESPONSES, prompt={"id": "p"}).param == "prompt"


# ------------------------------------------------------------------------------------------ tools

FUNCTION: Final = {"name": "f", "parameters": {"type": "object"}}
CUSTOM: Final = {"name": "c", "description": "d", "format": {"type": "text"}}
TOOLS: Final[dict[Endpoint, list[dict[str, Any]]]] = {
    Endpoint.CHAT: [
        {"type": "function", "function": FUNCTION},
        {"type": "custom", "custom": CUSTOM},
        {
            "type": "namespace",
            "name": "g",
            "description": "d",
            "tools": [
                {"type": "function", "function": FUNCTION},
                {"type": "custom", "custom": CUSTOM},
            ],
        },
        {
            "type": "namespace",
            "namespace": {"name": "g", "tools": [{"type": "function", **FUNCTION}]},
        },
    ],
    Endpoint.RESPONSES: [
        {"type": "function", **FUNCTION},
        {"type": "custom", **CUSTOM},
        {
            "type": "namespace",
            "name": "g",
            "tools": [{"type": "function", **FUNCTION}, {"type": "custom", **CUSTOM}],
        },
    ],
}


@pytest.mark.parametrize("endpoint", list(TOOLS))
def test_tools__that_the_client_runs__pass(endpoint: Endpoint) -> None:
    call = parse(endpoint, tools=TOOLS[endpoint])

    assert call.body["tools"] == TOOLS[endpoint]
    assert call.has_tools


@pytest.mark.parametrize("endpoint", list(TOOLS))
@pytest.mark.parametrize(
    "kind",
    [
        "web_search",
        "web_search_preview",
        "file_search",
        "code_interpreter",
        "computer",
        "mcp",
        "image_generation",
        "local_shell",
        None,
        1,
        ["function"],
    ],
)
def test_tools__that_the_provider_runs__refused(endpoint: Endpoint, kind: Any) -> None:
    tool = {"type": kind, "name": "x"}

    error = refuse(endpoint, tools=[*TOOLS[endpoint][:1], tool])
    assert (error.code, error.param) == ("unsupported_tool", "tools[1].type")
    inside = {"type": "namespace", "name": "g", "tools": [tool]}
    assert refuse(endpoint, tools=[inside]).param == "tools[0].tools[0].type"


@pytest.mark.parametrize("endpoint", list(TOOLS))
@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function"},
        {"type": "custom"},
        {"type": "custom", "name": "a b", "custom": {"name": "a b"}},
        {"type": "custom", "name": "c", "format": 1, "custom": {"name": "c", "format": 1}},
        {"type": "namespace"},
        {"type": "namespace", "name": "g"},
        {"type": "namespace", "name": "g", "tools": {}},
        {
            "type": "namespace",
            "name": "g",
            "tools": [{"type": "namespace", "name": "h", "tools": []}],
        },
        1,
    ],
    ids=repr,
)
def test_tools__of_odd_shape__refused(endpoint: Endpoint, tool: Any) -> None:
    param = refuse(endpoint, tools=[tool]).param

    assert param is not None
    assert param.startswith("tools[0]")


def test_tools__in_groups__count_one_by_one() -> None:
    one = {"type": "function", "function": FUNCTION}
    group = {"type": "namespace", "name": "g", "tools": [one] * 100}

    parse(tools=[group, *[one] * 28])
    assert refuse(tools=[group, *[one] * 29]).param == "tools"


@pytest.mark.parametrize(
    "choice",
    [
        "auto",
        "none",
        "required",
        "any",
        {"type": "function", "function": {"name": "f"}},
        {"type": "custom", "custom": {"name": "c"}},
        {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "auto",
                "tools": [
                    {"type": "function", "function": {"name": "f"}},
                    {"type": "custom", "custom": {"name": "c"}},
                ],
            },
        },
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
    ],
    ids=repr,
)
def test_tool_choice__among_the_clients_own__passes(choice: Any) -> None:
    assert parse(tool_choice=choice).body["tool_choice"] == choice


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "name": "f"},
        {"type": "custom", "name": "c"},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "c"}]},
    ],
    ids=repr,
)
def test_tool_choice__of_responses__is_flat(choice: Any) -> None:
    assert parse(Endpoint.RESPONSES, tool_choice=choice).body["tool_choice"] == choice


@pytest.mark.parametrize(
    "choice",
    [
        "f",
        [],
        {"type": "web_search_preview"},
        {"type": "mcp", "server_label": "x"},
        {"type": "function"},
        {"type": "custom", "custom": {}},
        {"type": "allowed_tools"},
        {"type": "allowed_tools", "tools": [{"type": "web_search"}]},
        {"type": "allowed_tools", "mode": "none", "tools": []},
        {"type": "allowed_tools", "tools": [{"type": "function"}]},
        {"type": "allowed_tools", "allowed_tools": {"tools": [{"type": "mcp", "name": "x"}]}},
    ],
    ids=repr,
)
def test_tool_choice__of_what_costs_extra_or_makes_no_sense__refused(choice: Any) -> None:
    param = refuse(tool_choice=choice).param

    assert param is not None
    assert param.startswith("tool_choice")


@pytest.mark.parametrize("keyword", ["enum", "type", "required", "properties", "items", "anyOf"])
def test_schema__keyword_that_is_null__passes(keyword: str) -> None:
    schema = {"type": "object", "properties": {"a": {keyword: None}}}

    parse(tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}])


def test_messages__calls_of_custom_tools__pass() -> None:
    called = {"id": "1", "type": "custom", "custom": {"name": "c", "input": "x"}}
    messages = [{"role": "assistant", "tool_calls": [called]}]

    assert parse(messages=messages).body["messages"] == messages


# ------------------------------------------------------------------------------------------ limit


def get_limit(call: Call, model: str, **limits: Any) -> dict[str, Any]:
    max_tokens = call.get_max_tokens(**{"context_tokens": None, **limits})
    sent = json.loads(call.build_body(model=model, max_tokens=max_tokens))
    return {name: value for name, value in sent.items() if name.startswith("max_")}


@pytest.mark.parametrize(
    "model",
    [
        "gpt-5",
        "gpt-5-mini-2025-08-07",
        "openai/gpt-5.1",
        "o1",
        "o3-mini",
        "azure/o4-mini",
        "gpt-6",
        "ft:gpt-5-mini:acme::x",
        "codex-mini-latest",
        "GPT-5",
    ],
)
def test_limit__added_for_a_reasoner__as_max_completion_tokens(model: str) -> None:
    assert get_limit(parse(), model) == {"max_completion_tokens": 4_096}


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o",
        "gpt-4.1-mini",
        "gpt-oss-120b",
        "gpt-3.5-turbo",
        "llama-3.3-70b",
        "phi-4",
        "deepseek-chat",
        "solar-pro2",
        "qwen3-o1x",
        "mistral-large",
        "claude-opus-4-5",
    ],
)
def test_limit__added_for_any_other_model__as_max_tokens(model: str) -> None:
    assert get_limit(parse(), model) == {"max_tokens": 4_096}


def test_limit__named_by_the_client__stays_under_its_name() -> None:
    assert get_limit(parse(max_tokens=7), "gpt-5") == {"max_tokens": 7}
    assert get_limit(parse(max_completion_tokens=7), "llama") == {"max_completion_tokens": 7}
    assert parse(max_tokens=7).written == parse(max_tokens=7).build_body(model="m", max_tokens=7)


@pytest.mark.parametrize(
    ("context_tokens", "words"), [(4_096, 1_000), (4_096, 1), (512, 50), (64, 9)]
)
def test_limit__not_named__leaves_room_for_the_prompt(context_tokens: int, words: int) -> None:
    call = parse(messages=[{"role": "user", "content": "word " * words}])
    prompt = call.estimate_prompt(image_tokens=None)

    limit = call.get_max_tokens(context_tokens=context_tokens)

    assert limit == max(1, min(4_096, context_tokens - prompt))
    assert limit + prompt <= context_tokens or limit == 1
    assert get_limit(parse(), "m", context_tokens=1_000_000) == {"max_tokens": 4_096}


def test_limit__of_responses_and_completions__has_its_own_name() -> None:
    assert get_limit(parse(Endpoint.RESPONSES), "gpt-5") == {"max_output_tokens": 4_096}
    assert get_limit(parse(Endpoint.COMPLETIONS), "gpt-5") == {"max_tokens": 4_096}
    assert get_limit(parse(Endpoint.EMBEDDINGS), "m") == {}


def test_bound__of_several_inputs__each_has_the_context() -> None:
    call = parse(Endpoint.COMPLETIONS, prompt=["x" * 9_000, "y" * 9_000], max_tokens=7, n=2)

    assert (call.inputs, call.choices) == (2, 4)
    bound = call.get_bound(context_tokens=500, image_tokens=None)
    assert (bound.prompt, bound.completion) == (1_000, 28)


@pytest.mark.parametrize("name", ["items", "prefixItems"])
def test_parse__schema_of_a_tuple__passes_and_its_parts_are_checked(name: str) -> None:
    def ask(*parts: Any) -> list[Any]:
        schema = {"type": "object", "properties": {"at": {"type": "array", name: list(parts)}}}
        return [{"type": "function", "function": {"name": "f", "parameters": schema}}]

    parse(tools=ask({"type": "number"}, {"type": "string"}, True))
    error = refuse(tools=ask({"type": "number"}, 5))
    assert error.param == f"tools[0].function.parameters.properties.at.{name}[1]"


# ----------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("kind", ["function_call_output", "custom_tool_call_output"])
def test_parse__image_in_a_result__is_counted_as_one_and_nothing_else_is(kind: str) -> None:
    def ask(part: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"type": kind, "call_id": "c", "output": [part]}]

    image = {"type": "input_image", "image_url": "https://a.example/b.png"}
    assert parse(Endpoint.RESPONSES, input=ask(image)).images == 1
    document = {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA"}
    film = {"type": "input_image", "image_url": "data:video/mp4;base64,AAAA"}
    assert refuse(Endpoint.RESPONSES, input=ask(document)).code == "unsupported_content"
    assert refuse(Endpoint.RESPONSES, input=ask(film)).code == "unsupported_content"


def test_parse__screen_as_a_result__is_refused() -> None:
    screen = {"type": "computer_screenshot", "image_url": "https://a.example"}
    item = {"type": "computer_call_output", "call_id": "c", "output": screen}

    assert refuse(Endpoint.RESPONSES, input=[item]).param == "input[0].output"


# -------------------------------------------------------------------------------------- additions

UNSUPPORTED: Final = "Unsupported parameter: 'max_tokens' is not supported with this model. Use "


class Model:
    """A model that refuses some fields, in its own words."""

    def __init__(self, refuses: dict[str, tuple[int, str, str | None]]) -> None:
        self.refuses = refuses
        self.bodies: list[dict[str, Any]] = []

    def ask(self, call: Call) -> Callable[[frozenset[str]], Any]:
        async def post(without: frozenset[str]) -> str:
            body = json.loads(call.build_body(model="m", max_tokens=9, without=without))
            self.bodies.append(body)
            for name, (status, message, param) in self.refuses.items():
                if name in body:
                    raise UpstreamRejected(status, message, param)
            return "served"

        return post


@pytest.mark.parametrize(
    ("name", "refusal", "fields"),
    [
        ("max_tokens", (400, UNSUPPORTED + "'max_completion_tokens' instead.", "max_tokens"), {}),
        ("max_tokens", (400, "max_tokens is not allowed for this model", None), {}),
        ("max_tokens", (422, "Extra inputs are not permitted", "max_tokens"), {}),
        (
            "max_tokens",
            (400, "max_tokens is too large: 4096, at most 2048 are taken", None),
            {},
        ),
        ("stream_options", (400, "Unrecognized request argument: stream_options", None), {}),
        ("stream_options", (422, "Extra inputs are not permitted", None), {}),
        ("stream_options", (422, "field required", "stream_options.include_usage"), {}),
        ("stream_options", (400, "include_usage is not a known option", None), {}),
        ("stream_options", (400, "unknown field", None), {"max_tokens": 5}),
        ("stream_options", (400, "Additional properties are not allowed", None), {"max_tokens": 5}),
        (
            "stream_options",
            (400, "stream_options is not supported", None),
            {"stream_options": {"include_usage": True}},
        ),
    ],
    ids=repr,
)
async def test_additions__refused__asked_once_more_without_and_remembered(
    name: str, refusal: tuple[int, str, str | None], fields: dict[str, Any]
) -> None:
    model, additions = Model({name: refusal}), Additions()
    call = parse(stream=True, **fields)

    for _ in range(3):
        assert await additions.send(("u", "m"), call.additions, model.ask(call)) == "served"

    assert [name in body for body in model.bodies] == [True, False, False, False]
    limits = [[field for field in body if field.startswith("max_")] for body in model.bodies]
    assert all(limits), "there is always a limit"
    # Another model of the same provider is not concerned.
    other = Model({})
    await additions.send(("u", "other"), call.additions, other.ask(call))
    assert name in other.bodies[0]


async def test_additions__both_refused__each_is_left_out() -> None:
    model = Model(
        {
            "stream_options": (400, "unknown argument stream_options", None),
            "max_tokens": (400, UNSUPPORTED + "'max_completion_tokens' instead.", None),
        }
    )
    call = parse(stream=True)

    assert await Additions().send(("u", "m"), call.additions, model.ask(call)) == "served"
    assert len(model.bodies) == 3
    assert model.bodies[-1]["max_completion_tokens"] == 9


@pytest.mark.parametrize(
    "error",
    [
        UpstreamRejected(400, "messages: content is empty", "messages"),
        UpstreamRejected(400, "'temperature' is not supported with this model", "temperature"),
        UpstreamRejected(413, "max_tokens", None),
        UpstreamRejected(
            400, "max_tokens and prompt are too long", None, "context_length_exceeded"
        ),
        UpstreamRejected(400, "unsupported parameter", "logit_bias"),
    ],
    ids=repr,
)
async def test_additions__something_else_is_refused__is_told_at_once(
    error: UpstreamRejected,
) -> None:
    asked = 0

    async def post(_: frozenset[str]) -> str:
        nonlocal asked
        asked += 1
        raise error

    call = parse(stream=True)
    with pytest.raises(UpstreamRejected) as caught:
        await Additions().send(("u", "m"), call.additions, post)
    assert caught.value is error
    assert asked == 1


@pytest.mark.parametrize(
    ("message", "code", "is_kept"),
    [
        ("Unsupported parameter: 'reasoning_effort' is not supported with this model.", None, True),
        ("Unrecognized request argument supplied: reasoning_effort", None, True),
        ("reasoning_effort: Extra inputs are not permitted", None, True),
        ("This model does not support reasoning_effort", None, True),
        ("reasoning_effort is not supported", None, True),
        ("`reasoning_effort` unknown", "unknown_parameter", True),
        ("Invalid value: 'max'. Supported values are: 'low'.", "invalid_value", False),
        (
            "Unsupported value: 'reasoning_effort' does not support 'max' with this model.",
            "unsupported_value",
            False,
        ),
        ("reasoning_effort: Input should be 'low', 'medium' or 'high'", None, False),
        ("'max' is not supported for reasoning_effort", None, False),
        ("reasoning_effort 'max' is not supported", None, False),
        ("reasoning_effort=max is not supported", None, False),
        ("this model does not support reasoning_effort 'max'", None, False),
        ("A maximum of 4 blocks with reasoning_effort may be provided. Found 5.", None, False),
        ("Invalid 'reasoning_effort': string too long", "string_above_max_length", False),
        ("reasoning_effort is not allowed when tools are sent", None, False),
        ("Bad reasoning_effort", None, False),
        ("Invalid parameter: reasoning_effort", None, False),
    ],
)
async def test_additions__field_of_one_client__is_taken_from_all_only_where_it_is_unknown(
    message: str, code: str | None, is_kept: bool
) -> None:
    param = "reasoning_effort" if code is not None else None
    additions, name = Additions(), frozenset({"reasoning_effort"})
    asked: list[frozenset[str]] = []

    async def refuse_once(without: frozenset[str]) -> str:
        asked.append(without)
        if not without:
            raise UpstreamRejected(400, message, param, code)
        return "served"

    for _ in range(2):
        await additions.send(("u", "m"), name, refuse_once, clients=name)

    assert asked == [frozenset(), name, name] if is_kept else [frozenset(), name] * 2


async def test_additions__name_within_another_word__is_not_the_field() -> None:
    async def post(_: frozenset[str]) -> str:
        raise UpstreamRejected(400, "users_list is wrong", None)

    with pytest.raises(UpstreamRejected):
        await Additions().send(("u", "m"), frozenset({"user"}), post)


async def test_additions__limit_that_the_client_named__is_not_touched() -> None:
    model = Model({"max_tokens": (400, UNSUPPORTED + "'max_completion_tokens' instead.", None)})
    call = parse(max_tokens=5)

    with pytest.raises(UpstreamRejected):
        await Additions().send(("u", "m"), call.additions, model.ask(call))
    assert len(model.bodies) == 1
