"""An offer as this process knows it: its terms, its price now, what requests taught of it."""

from collections import deque
from dataclasses import dataclass, field

from market.routing.measured import Measured
from market.routing.offer_pricing import PriceBasis
from market.routing.ranking import Offer
from market.routing.refusing import Refusing
from market.routing.seller_health import Place


@dataclass(slots=True)
class Live:
    """An offer's state beside its price."""

    offer: Offer
    upstream_model: str
    base_url: str
    payout_address: str
    fee_bps: int
    basis: PriceBasis
    supply_offer_id: str | None = None
    """The supplier's offer whose ceilings count for all processes; None: a seller's own."""
    limited_until: float = 0.0
    """Until when the ledger is not asked again whether a minute has room, on the book's clock."""
    day: int = 0
    day_used_usdc: int = 0
    total_used_usdc: int = 0
    refusing: dict[str, Refusing] = field(default_factory=dict)
    """What the offer refused, by endpoint."""
    in_flight: int = 0
    measured: Measured = field(default_factory=Measured)
    started: deque[float] = field(default_factory=deque)
    """When the requests of the last minute began, where their number is limited."""

    @property
    def place(self) -> Place:
        """Where the offer's model is served: what failures belong to."""
        return Place(self.offer.seller, self.offer.origin, self.offer.model)
