"""Arguments and results of the functions of calls. Amounts are in 1e-6 USDC."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from contracts.errors import Rejected

TRIAL_S: Final = 3_600
"""For so long the API's word that nothing remains is believed: then one call may try."""


class CallDenial(StrEnum):
    """Why a call cannot be reserved."""

    KEY_REVOKED = "key_revoked"
    CREDIT_SPENT = "credit_spent"
    CONNECTION_CHANGED = "connection_changed"
    QUOTA_SOLD = "quota_sold"


class CallRefused(Rejected):
    """A call does not fit the consumer's credit, or what the connection has for sale now.

    ``available_usdc`` is the consumer's free credit where that is what lacks.
    """

    def __init__(self, reason: CallDenial, available_usdc: int | None = None) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.available_usdc = available_usdc


class CallResolved(Rejected):
    """The call has already left the state that is expected, or was never there."""


@dataclass(frozen=True, slots=True)
class PeriodTerms:
    """A period of a connection's quota, as its owner's terms have it. ``ends_at_s`` is not of it.

    ``base_units``: what is for sale while the owner uses no more than the reserve.
    """

    starts_at_s: int
    ends_at_s: int
    base_units: int
    quota_units: int
    reserved_units: int


@dataclass(frozen=True, slots=True)
class NewCall:
    """The reservation of one attempt. ``version`` is that of the terms whose price it uses."""

    request_id: str
    attempt: int
    account_id: str
    key_id: str
    connection_id: str
    version: int
    owner: str
    payout_address: str
    operation: str
    period: PeriodTerms
    units_max: int
    price_usdc: int
    is_flat: bool
    transaction_fee_usdc: int
    ceiling_usdc: int
    fee_bps: int = 1_000
    """What the platform takes of the price, in 1/100 of a per cent."""
    count_on: str = "2xx"
    """The statuses that are charged, joined by commas: the audit looks at them."""

    @property
    def call_id(self) -> str:
        """The attempt's own id."""
        return f"{self.request_id}.{self.attempt}"


@dataclass(frozen=True, slots=True)
class CallFigures:
    """The amounts of a posted call: ``cost = earning + fee``."""

    units: int
    cost_usdc: int
    earning_usdc: int
    fee_usdc: int


@dataclass(frozen=True, slots=True)
class CallTrace:
    """How an attempt went, for the audit log. Times in milliseconds."""

    status: int | None = None
    """The API's HTTP status; None where no answer came."""
    api_ms: int | None = None
    whole_ms: int | None = None
    remaining_units: int | None = None
    """What the API says that remains of the whole quota; None where it does not."""


NO_TRACE = CallTrace()


@dataclass(frozen=True, slots=True)
class PeriodUse:
    """How much of a period is used after a call. Units are the API's."""

    connection_id: str
    starts_at_s: int
    for_sale_units: int
    sold_units: int
    reserved_units: int
    own_units: int
    lost_units: int
    carried_units: int = 0
    """What was sold of the same time under other terms of the connection."""
    read_at_s: int = 0
    """When the API said last what remains; 0: it never did."""

    @property
    def left_units(self) -> int:
        """What can still be sold."""
        return self.for_sale_units - self.sold_units - self.reserved_units

    def has_left(self, units: int, terms: PeriodTerms, *, now_s: int) -> bool:
        """Tell whether a call that takes so many units can be sold now.

        One may be where the terms leave them and only the API's own count, an hour old, does not.
        """
        if units <= self.left_units:
            return True
        here = self.sold_units + self.reserved_units
        others = self.lost_units + self.carried_units
        return (
            self.own_units > terms.reserved_units
            and 0 < self.read_at_s <= now_s - TRIAL_S
            and here + others + units <= terms.base_units
        )
