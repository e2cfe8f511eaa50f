"""A key, its credit and one request, in the shapes that OpenRouter's clients read: US dollars."""

from pydantic import BaseModel, Field


class KeyLimits(BaseModel):
    """A key's limit and use, as far as money goes. Dollars."""

    label: str
    limit: float | None = Field(description="the tightest limit of its own; null: none")
    limit_remaining: float | None = Field(description="what is left of that limit; null: no limit")
    limit_reset: str | None = Field(description="`daily` or `monthly`; null: it never counts anew")
    usage: float = Field(description="charged in all")
    usage_daily: float = Field(description="charged in this UTC day")
    usage_monthly: float = Field(description="charged in this UTC month")
    is_free_tier: bool
    is_provisioning_key: bool = Field(description="whether it manages child keys: a root key does")


class KeyAnswer(BaseModel):
    """The key that asks."""

    data: KeyLimits


class Credits(BaseModel):
    """A position's allowance. Dollars."""

    total_credits: float = Field(description="credited so far and not withdrawn")
    total_usage: float = Field(description="spent of it, with what is in flight")


class CreditsAnswer(BaseModel):
    """What the key's position has."""

    data: Credits


class Generation(BaseModel):
    """One request. Costs in dollars."""

    id: str
    model: str
    created_at: str = Field(description="ISO 8601")
    total_cost: float = Field(description="what was charged")
    usage: float = Field(description="the same as `total_cost`")
    tokens_prompt: int = Field(description="tokens of the prompt, as charged")
    tokens_completion: int = Field(description="tokens of the output, as charged")
    native_tokens_prompt: int = Field(description="the same as `tokens_prompt`")
    native_tokens_completion: int = Field(description="the same as `tokens_completion`")
    native_tokens_cached: int = Field(description="tokens of the prompt that were cached")
    cancelled: bool = Field(description="whether it was given back without a charge")


class GenerationAnswer(BaseModel):
    """One request's cost."""

    data: Generation
