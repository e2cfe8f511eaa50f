"""Messages as the documents state them, as far as they are read or guaranteed."""

from typing import Literal

from pydantic import BaseModel, Field

from serving.dialects.shapes import PassThrough
from serving.http.document.schemas import ErrorFacts


class MessageBlock(PassThrough):
    """A block of a message, such as text, an image, a tool's call or its result."""

    type: str


class MessageTurn(PassThrough):
    """One turn of a conversation."""

    role: str
    content: str | list[MessageBlock]


class MessageTool(PassThrough):
    """A function of the client's own that the model may call."""

    name: str
    description: str | None = None


class MessageRequest(PassThrough):
    """A conversation to continue, in Anthropic's dialect. Fields that cost nothing pass."""

    model: str = Field(min_length=1, max_length=200)
    messages: list[MessageTurn] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1, description="capped by the operator")
    system: str | list[MessageBlock] | None = None
    stream: bool | None = None
    tools: list[MessageTool] | None = None


class MessageUsage(PassThrough):
    """What a message took. Tokens read from a cache stand apart from the input."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | None = None
    cost: int | None = Field(default=None, description="what was charged, in 1e-6 USDC")


class AnsweredMessage(PassThrough):
    """A model's turn."""

    id: str
    type: str
    role: str
    model: str
    content: list[MessageBlock]
    stop_reason: str | None
    stop_sequence: str | None
    usage: MessageUsage


class MessageEvent(PassThrough):
    """One event of a streamed message."""

    type: str


class TokenCount(PassThrough):
    """How many tokens a prompt probably has."""

    input_tokens: int


class MessageErrorDetail(ErrorFacts):
    """What went wrong, as Anthropic's SDKs expect it, with the figures behind it."""

    type: str = Field(description="Anthropic's class of the error")
    message: str = Field(description="for people: what happened, what it means, what to do")
    code: str = Field(description="for programs: stable, lower case")
    param: str | None = Field(default=None, description="the field to blame, if one is")


class MessageErrorBody(BaseModel):
    """The body of every answer in Anthropic's dialect that is not a success."""

    type: Literal["error"]
    error: MessageErrorDetail
    request_id: str
