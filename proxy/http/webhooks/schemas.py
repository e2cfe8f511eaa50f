"""Webhooks as requests and answers state them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from proxy.keys.tokens import INTEGER_MAX
from proxy.webhooks.happenings import KINDS

Kind = Literal["allowance.low", "allowance.capped", "position.harvested", "key.revoked"]
GRACE_MAX_S = 7 * 86_400


class WebhookWish(BaseModel):
    """An endpoint that is to be told."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: Annotated[str, Field(max_length=2_000, description="https, at a public address")]
    events: Annotated[list[Kind], Field(min_length=1, max_length=len(KINDS))] = Field(
        default=list(KINDS), description="what it is told of; left out: everything"
    )
    low_usdc: Annotated[int, Field(ge=0, le=INTEGER_MAX)] = Field(
        default=1_000_000, description="unspent allowance that counts as low, 1e-6 USDC"
    )


class WebhookRotation(BaseModel):
    """How long the secret before is still used beside the new one."""

    model_config = ConfigDict(extra="forbid", strict=True)

    grace_s: int = Field(default=86_400, ge=0, le=GRACE_MAX_S, description="seconds")


class WebhookView(BaseModel):
    """An endpoint that is told."""

    webhookId: str
    tokenId: str
    url: str
    events: list[Kind]
    low_usdc: int
    created_at: str
    secret_before_until: str | None = Field(description="until then signed by both secrets")


class WebhookIssued(WebhookView):
    """An endpoint with its new secret, which is shown once."""

    secret: str = Field(description="whsec_…: checks `webhook-signature`, by Standard Webhooks")


class WebhookList(BaseModel):
    """The position's endpoints, oldest first."""

    data: list[WebhookView]


class DeliveryView(BaseModel):
    """Something that an endpoint is or was told."""

    number: int = Field(description="its place in the endpoint's order")
    message_id: str = Field(description="`webhook-id`: the same where it is replayed")
    type: str
    state: Literal["waiting", "delivered", "failed"]
    tries: int = Field(description="how often it was sent")
    said: str | None = Field(description="of the last try: an HTTP status, or why there was none")
    created_at: str
    next_try_at: str | None
    ended_at: str | None


class DeliveryList(BaseModel):
    """The newest deliveries of an endpoint, the newest first."""

    data: list[DeliveryView]


class DeliveryQueued(BaseModel):
    """Something that is going to be told, after all that waits."""

    number: int = Field(description="its place in the endpoint's order")
