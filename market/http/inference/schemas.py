"""The buyers' calls for text: OpenAI's shapes, and what is ours in them."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from market.http.prices import Amount
from market.routing.filters import FILTERS_MAX
from serving.dialects.endpoints import Endpoint
from serving.dialects.message_shapes import AnsweredMessage, MessageEvent, MessageRequest
from serving.dialects.shapes import (
    ChatChunk,
    ChatCompletion,
    ChatRequest,
    Completion,
    CompletionRequest,
    EmbeddingList,
    EmbeddingRequest,
    ModelResponse,
    ProviderPolicy,
    ResponseEvent,
    ResponseRequest,
)
from serving.models.grades import Grade


class Routing(BaseModel):
    """Which sellers a request may go to. Ours alone: it does not reach the seller."""

    model_config = ConfigDict(extra="forbid")

    only: list[str] | None = Field(
        default=None,
        max_length=FILTERS_MAX,
        description="`offer:<id>`, `seller:<address>`, `provider:<name>`; a bare word: provider",
    )
    ignore: list[str] | None = Field(
        default=None, max_length=FILTERS_MAX, description="likewise: none of these"
    )
    trusted_only: bool | None = Field(
        default=None,
        description="whether only sellers serve whom the operator has approved; left out: as the"
        " key has it, or else the market",
    )
    minimum_grade: Grade | None = Field(
        default=None,
        description="the lowest provenance that may serve: A the maker, B a known company,"
        " C attested, D any host",
    )
    max_price_input_per_1m: Amount | None = None
    max_price_output_per_1m: Amount | None = None
    max_price_per_request: Amount | None = Field(
        default=None,
        description="USD, the most that an offer may take for a request on top of its tokens;"
        " without it the most is the reference's fee",
    )
    max_price_cached_input_per_1m: Amount | None = Field(
        default=None,
        description="an offer without such a price has its input price held against it",
    )


class RoutedChatRequest(ChatRequest):
    """A chat to complete."""

    routing: Routing | None = None
    provider: ProviderPolicy | list[ProviderPolicy] | None = None


class RoutedCompletionRequest(CompletionRequest):
    """A text to complete."""

    routing: Routing | None = None
    provider: ProviderPolicy | list[ProviderPolicy] | None = None


class RoutedResponseRequest(ResponseRequest):
    """What a response is to answer. Nothing is stored: `store` is always false."""

    routing: Routing | None = None
    provider: ProviderPolicy | list[ProviderPolicy] | None = None


class RoutedMessageRequest(MessageRequest):
    """A conversation to continue, in Anthropic's dialect. Fields that cost nothing pass."""

    routing: Routing | None = None
    provider: ProviderPolicy | list[ProviderPolicy] | None = None


class RoutedEmbeddingRequest(EmbeddingRequest):
    """Texts to embed."""

    routing: Routing | None = None
    provider: ProviderPolicy | list[ProviderPolicy] | None = None


BODIES: Final[Mapping[Endpoint, type[BaseModel]]] = {
    Endpoint.CHAT: RoutedChatRequest,
    Endpoint.COMPLETIONS: RoutedCompletionRequest,
    Endpoint.RESPONSES: RoutedResponseRequest,
    Endpoint.MESSAGES: RoutedMessageRequest,
    Endpoint.EMBEDDINGS: RoutedEmbeddingRequest,
}
ANSWERS: Final[Mapping[Endpoint, type[BaseModel]]] = {
    Endpoint.CHAT: ChatCompletion,
    Endpoint.COMPLETIONS: Completion,
    Endpoint.RESPONSES: ModelResponse,
    Endpoint.MESSAGES: AnsweredMessage,
    Endpoint.EMBEDDINGS: EmbeddingList,
}
EVENTS: Final[Mapping[Endpoint, type[BaseModel]]] = {
    Endpoint.CHAT: ChatChunk,
    Endpoint.COMPLETIONS: Completion,
    Endpoint.RESPONSES: ResponseEvent,
    Endpoint.MESSAGES: MessageEvent,
}

HEADERS: Final[dict[str, Any]] = {
    name: {"description": description, "schema": {"type": kind}}
    for name, kind, description in (
        ("x-market-cost-usdc", "integer", "what was charged, in 1e-6 USDC; not on a stream"),
        ("x-market-reserved-usdc", "integer", "the ceiling that was reserved, in 1e-6 USDC"),
        ("x-market-offer", "string", "the offer that served"),
        ("x-market-seller", "string", "whose offer it is: a wallet, or a supplier's id"),
        ("x-market-host", "string", "the host that was called, as far as it is public"),
        ("x-market-grade", "string", "its provenance: A maker, B known company, C attested, D any"),
        ("x-market-own-provider", "string", "the buyer's own provider that served, in its place"),
        ("x-market-attempts", "integer", "how many sellers were tried"),
        ("x-market-estimated-discount-pct", "number", "below the reference price, per cent"),
    )
}
"""What an answer says of its price."""
