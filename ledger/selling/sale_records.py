"""Arguments and results of the functions of sales. Amounts are in 1e-6 USDC."""

from dataclasses import dataclass
from enum import StrEnum

from contracts.errors import Rejected


class SaleDenial(StrEnum):
    """Why a sale cannot be reserved."""

    KEY_REVOKED = "key_revoked"
    CREDIT_SPENT = "credit_spent"
    OFFER_CHANGED = "offer_changed"
    CAP_REACHED = "cap_reached"
    QUOTA_SPENT = "quota_spent"
    TOKENS_SPENT = "tokens_spent"
    """Of a supplier's quota."""
    RATE_LIMITED = "rate_limited"
    """The request is one too many for this minute, over all processes."""


class SaleRefused(Rejected):
    """A sale does not fit the buyer's credit or the offer's limits as they are now.

    ``available_usdc`` is the buyer's free credit where that is what lacks.
    """

    def __init__(self, reason: SaleDenial, available_usdc: int | None = None) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.available_usdc = available_usdc


class SaleResolved(Rejected):
    """The sale has already left the state that the call expects, or was never there."""


def build_sale_id(request_id: str, attempt: int) -> str:
    """Return the id of one attempt at a request."""
    return f"{request_id}.{attempt}"


@dataclass(frozen=True, slots=True)
class NewSale:
    """The reservation of one attempt. ``offer_version`` is the version whose price it uses."""

    request_id: str
    attempt: int
    account_id: str
    key_id: str
    offer_id: str
    offer_version: int
    seller: str
    payout_address: str
    endpoint: str
    model: str
    input_usdc_per_mtok: int
    output_usdc_per_mtok: int
    fee_bps: int
    ceiling_usdc: int
    unit: str | None = None
    """The unit of media: the input price is then for a million of its base, which tokens count."""
    cached_input_usdc_per_mtok: int | None = None
    """Price of prompt tokens that the endpoint had cached; None: the input price."""
    per_request_usdc: int = 0
    """What the request costs beside its tokens, in 1e-6 USDC."""
    supply_offer_id: str | None = None
    """The supplier's offer whose ceilings it counts against; None: a seller's own."""
    bound_tokens: int = 0
    """The most tokens that it can come to: what is reserved of a supplier's quota."""
    flat_fee_usdc: int = 0
    """The operator's own part of the ceiling and of the cost, beside the seller's price."""
    vesting_s: int = 0
    """How long its earning stays what a conviction gives back, seconds."""

    @property
    def sale_id(self) -> str:
        """The attempt's own id."""
        return build_sale_id(self.request_id, self.attempt)


@dataclass(frozen=True, slots=True)
class SaleFigures:
    """The amounts of a posted sale: ``cost = earning + fee + margin``."""

    prompt_tokens: int
    completion_tokens: int
    cost_usdc: int
    earning_usdc: int
    fee_usdc: int
    margin_usdc: int
    input_usdc_per_mtok: int
    """The price that applies to a prompt of the counted length."""
    output_usdc_per_mtok: int
    cached_input_usdc_per_mtok: int | None = None
    per_request_usdc: int = 0
    cached_tokens: int = 0
    """The part of ``prompt_tokens`` that is charged at the cached price."""
    is_cut: bool = False
    """Whether the seller reported more than can be true."""


@dataclass(frozen=True, slots=True)
class Used:
    """How much of an offer's limits is used after a call, and the buyer's free credit."""

    offer_id: str
    day: int
    day_used_usdc: int
    total_used_usdc: int
    available_usdc: int
