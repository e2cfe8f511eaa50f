"""A buyer's account and top-ups, as requests and answers state them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from market.http.prices import Amount
from serving.dialects.message_shapes import MessageErrorBody
from serving.http.document.schemas import ErrorBody, ErrorDetail


class TopUpWish(BaseModel):
    """How much credit to buy."""

    model_config = ConfigDict(extra="forbid")

    amount_usd: Amount = Field(description="US dollars, from 0.000001")


class PaymentView(BaseModel):
    """A payment as its payer sees it."""

    payment_id: str
    purpose: Literal["request", "topup"]
    payer: str
    value_usdc: int = Field(description="what was signed")
    credited_usdc: int = Field(description="what of it is credit now")
    state: Literal["verified", "sent", "settled", "failed", "expired"]
    error: str | None = Field(description="why it failed")
    transaction: str | None = Field(description="the hash; null: in no block yet")
    nonce: str
    valid_before: int
    created_at: int


class BuyerAccount(BaseModel):
    """A buyer's prepaid credit: ``available = credited - spent - reserved``."""

    account_id: str
    wallet: str | None = Field(description="the wallet that it is of; null: the operator's own")
    credited_usdc: int
    spent_usdc: int
    reserved_usdc: int
    available_usdc: int
    payments: list[PaymentView] = Field(description="the newest, newest first")


class BuyerSale(BaseModel):
    """The outcome of one request of the account."""

    request_id: str = Field(description="the `x-request-id` of its answer")
    state: Literal["reserved", "posted", "voided"] = Field(
        description="reserved: it is still running, or what it came to is about to be written"
    )
    model: str
    endpoint: str
    offer_id: str = Field(description="the offer that served, or was tried last")
    attempts: int = Field(description="how many sellers were tried")
    cost_usdc: int | None = Field(description="null: reserved; 0: voided")
    prompt_tokens: int | None = Field(description="null: not posted; of media: the quantity")
    completion_tokens: int | None


class ToppedUp(BaseModel):
    """A payment that became credit."""

    account_id: str
    payment: PaymentView
    available_usdc: int


class PaymentTerms(BaseModel):
    """One way to pay, by x402 version 1."""

    scheme: Literal["exact"]
    network: str
    maxAmountRequired: str = Field(description="1e-6 USDC, as a decimal string")
    resource: str
    description: str
    mimeType: str
    payTo: str
    maxTimeoutSeconds: int = Field(description="how long a payment is to be valid")
    asset: str = Field(description="the token's address")
    extra: "TokenDomain"


class TokenDomain(BaseModel):
    """The token's name and version, as EIP-712 signs them."""

    name: str
    version: str


class PaymentRequired(BaseModel):
    """What to pay, by x402 version 1; the header ``PAYMENT-REQUIRED`` has it by version 2."""

    x402Version: Literal[1]
    error: str = Field(description="why the payment that came will not do")
    message: str
    accepts: list[PaymentTerms]


class PaidErrorDetail(ErrorDetail):
    """The error, and the state of the payment that came with the request."""

    payment: PaymentView | None = None


class PaidMessageErrorBody(MessageErrorBody):
    """The same in Anthropic's dialect."""

    payment: PaymentView | None = None


class PaidErrorBody(ErrorBody):
    """The body of an answer that is not a success, to a request that may be paid for by x402."""

    error: PaidErrorDetail
    payment: PaymentView | None = None
