"""OpenAI's API as far as it is read or guaranteed here, for the servers' documents.

Requests reach the provider and its answers come back with all other fields as they are: every model
here is open, see ``PassThrough``. Nothing is parsed by these models; the parsers beside them are
strict where money depends on a field.
"""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

PASS_THROUGH: Final = "x-pass-through"
"""Marks the objects whose further fields are the provider's or the client's own."""


class PassThrough(BaseModel):
    """An object of OpenAI's API. Only the named fields are read or guaranteed here.

    Every other field goes through unchanged: what it holds is between client and provider.
    """

    model_config = ConfigDict(extra="allow", json_schema_extra={PASS_THROUGH: True})


# ----------------------------------------------------------------------------------------- requests


class ContentPart(PassThrough):
    """A part of a message, such as text or an image."""

    type: str = Field(description="`text`, `image_url` …")


class ChatMessage(PassThrough):
    """One message of a chat."""

    role: str
    content: str | list[ContentPart] | None = None


class FunctionSpec(PassThrough):
    """A function that the model may call."""

    name: str


class Tool(PassThrough):
    """A tool that the model may use: a function of the client's own."""

    type: str
    function: FunctionSpec | None = None


class StreamOptions(PassThrough):
    """How a stream is to end."""

    include_usage: bool | None = Field(
        default=None, description="whether the chunk with the usage has no choices"
    )


class ChatRequest(PassThrough):
    """A chat to complete."""

    model: str = Field(min_length=1, max_length=200)
    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(
        default=None, ge=1, description="newer name of `max_tokens`"
    )
    n: int | None = Field(default=None, ge=1, le=128, description="how many choices")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[Tool] | None = None


class CompletionRequest(PassThrough):
    """A text to complete."""

    model: str = Field(min_length=1, max_length=200)
    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int | None = Field(default=None, ge=1)
    n: int | None = Field(default=None, ge=1, le=128, description="how many choices")
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class ResponseInput(PassThrough):
    """An item of what a response is to answer."""

    role: str | None = None
    content: str | list[ContentPart] | None = None


class ResponseRequest(PassThrough):
    """What a response is to answer. Nothing is stored: `store` is always false."""

    model: str = Field(min_length=1, max_length=200)
    input: str | list[ResponseInput]
    max_output_tokens: int | None = Field(default=None, ge=1)
    stream: bool | None = None


class EmbeddingRequest(PassThrough):
    """Texts to embed."""

    model: str = Field(min_length=1, max_length=200)
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] | None = None


class PolicyPrices(BaseModel):
    """The most that whoever serves may take, in USD."""

    model_config = ConfigDict(extra="forbid")

    prompt: float | str | None = Field(default=None, description="a million tokens")
    completion: float | str | None = Field(default=None, description="a million tokens")
    request: float | str | None = Field(default=None, description="a request, beside its tokens")


class ProviderPolicy(BaseModel):
    """Who may serve a request, and who is asked first, as OpenRouter's clients say it.

    A request can only narrow what its key allows. Several objects in a list hold together.
    """

    model_config = ConfigDict(extra="forbid")

    only: list[str] | None = Field(
        default=None, description="names of providers, `seller:<address>`, `offer:<id>`"
    )
    ignore: list[str] | None = Field(default=None, description="likewise: none of these")
    order: list[str] | None = Field(default=None, description="likewise: these first")
    allow_fallbacks: bool | None = Field(
        default=None, description="false: only `order`, or only the first choice without one"
    )
    zdr: bool | None = Field(default=None, description="only who keeps nothing of requests")
    data_collection: Literal["allow", "deny"] | None = Field(
        default=None, description="`deny`: only who lets nobody train on requests"
    )
    regions: list[str] | None = Field(default=None, description="only in these: eu, us …")
    quantizations: list[str] | None = Field(
        default=None, description="only these weights; `unknown` is one of them"
    )
    require_parameters: bool | None = Field(
        default=None, description="only who obeys every field of the request"
    )
    trusted_only: bool | None = Field(
        default=None, description="only whom the market's operator has approved"
    )
    minimum_grade: Literal["A", "B", "C", "D"] | None = Field(
        default=None,
        description="only of this provenance: A the model's maker, B also known companies …",
    )
    sort: str | dict[str, str] | None = Field(
        default=None, description="price (as if left out), throughput or latency"
    )
    max_price: PolicyPrices | None = None


# ------------------------------------------------------------------------------------------ answers


class Usage(PassThrough):
    """What an answer took. The charge is by these figures, bounded by what can be true."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


class ChargedUsage(Usage):
    """The usage that ends a stream."""

    cost: int | None = Field(default=None, description="what was charged, in 1e-6 USDC")


class AnswerMessage(PassThrough):
    """The message of one choice."""

    role: str | None = None
    content: str | None = None


class ChatChoice(PassThrough):
    """One of the completions."""

    index: int | None = None
    message: AnswerMessage | None = None
    finish_reason: str | None = None


class ChatCompletion(PassThrough):
    """A completed chat, as the provider sent it."""

    id: str | None = None
    object: str | None = None
    model: str | None = None
    choices: list[ChatChoice]
    usage: Usage | None = None


class ChunkChoice(PassThrough):
    """What a chunk adds to one choice."""

    index: int | None = None
    delta: AnswerMessage | None = None
    finish_reason: str | None = None


class ChatChunk(PassThrough):
    """One event of a streamed chat. The last one before ``[DONE]`` has the usage and the cost."""

    choices: list[ChunkChoice] | None = None
    usage: ChargedUsage | None = None


class TextChoice(PassThrough):
    """One of the completions."""

    index: int | None = None
    text: str | None = None
    finish_reason: str | None = None


class Completion(PassThrough):
    """A completed text, whole or one event of a stream."""

    id: str | None = None
    object: str | None = None
    model: str | None = None
    choices: list[TextChoice]
    usage: ChargedUsage | None = None


class ResponseUsage(PassThrough):
    """What a response took."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cost: int | None = Field(default=None, description="what was charged, in 1e-6 USDC")


class OutputItem(PassThrough):
    """An item of a response: a message, reasoning or a function call."""

    type: str | None = None


class ModelResponse(PassThrough):
    """A response, as the provider sent it."""

    id: str | None = None
    object: str | None = None
    output: list[OutputItem]
    usage: ResponseUsage | None = None


class EventResponse(PassThrough):
    """The response as far as an event of its stream says it."""

    usage: ResponseUsage | None = None


class ResponseEvent(PassThrough):
    """One event of a streamed response."""

    type: str | None = None
    response: EventResponse | None = None


class Embedding(PassThrough):
    """One text's embedding."""

    index: int | None = None
    embedding: list[float] | str = Field(description="a string where `base64` was asked for")


class EmbeddingList(PassThrough):
    """The texts' embeddings, as the provider sent them."""

    object: str | None = None
    data: list[Embedding]
    usage: Usage | None = None
