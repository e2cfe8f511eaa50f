"""Offers that refuse what others serve. Pure.

A seller may say that a request is invalid, and mostly it is; so a refusal is no failure. But an
offer that refuses every request, while other sellers serve the same requests, delays all buyers,
the more so the cheaper it is. After a few such refusals in a row the offer is asked last on that
endpoint, for a while: it serves only where no other offer can. Its other endpoints are not touched,
and the first request that it serves ends this. Times are seconds on one clock.
"""

from dataclasses import dataclass
from typing import Final

REFUSALS_BORNE: Final = 5
"""In a row, of requests that another seller served."""

LAST_S: Final = 300.0
LAST_S_MAX: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Refusing:
    """What an offer refused on one endpoint since it last served there."""

    refusals: int = 0
    last_until_s: float = 0.0

    def is_last(self, now_s: float) -> bool:
        """Tell whether others are asked first."""
        return now_s < self.last_until_s


def refuse(refusing: Refusing, *, now_s: float) -> Refusing:
    """Return what is known after one more refusal of what another seller served."""
    refusals = refusing.refusals + 1
    if refusals < REFUSALS_BORNE:
        return Refusing(refusals)
    doublings = min(refusals - REFUSALS_BORNE, 10)
    return Refusing(refusals, now_s + min(LAST_S * 2.0**doublings, LAST_S_MAX))
