"""The block that a round decides at, and the rules that every duty shares. Pure."""

from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from keeper.budgets import NO_BUDGETS, Budgets
from keeper.gas import FREE, GasPrice

ITEMS_MAX: Final = 200
"""The most items that ``hold``, ``settle`` and ``pay`` take in one transaction."""

REORGS_DEEPEST: Final = 256
"""As deep as the indexer's default window: past it the mirror stops, and the keeper with it. What
cannot be made good again waits until its block is deeper."""

Subject = tuple[str, int | str]
"""A kind, and the token, payout or payment that an item of that kind is about."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The block that a round decides at, and what must be left alone at it.

    ``now_s`` is the chain's clock or ours, whichever is ahead: a hold must not be thought alive
    because one of them lags.
    """

    block_number: int
    block_hash: str
    now_s: int
    mirrored_at_s: int = 0
    """The block's own time."""
    wall_s: int = 0
    """The time by our own clock."""
    in_flight: frozenset[tuple[str, int]] = frozenset()
    """(kind, token id) of transactions whose effect is not mirrored yet."""
    kinds_in_flight: frozenset[str] = frozenset()
    """Kinds of which any transaction's effect is not mirrored yet."""
    resting: frozenset[Subject] = frozenset()
    """Items refused lately: they would fail their whole batch."""
    gas_price: GasPrice = FREE
    tip_wei: int = 0
    """The tip in ``gas_price``, per gas."""
    budgets: Budgets = NO_BUDGETS

    def count_in_flight(self, kind: str) -> int:
        return sum(other == kind for other, _ in self.in_flight)

    def count_resting(self, kind: str) -> int:
        return sum(other == kind for other, _ in self.resting)


class DutyRules(BaseModel):
    """Rules that several duties share. Each subclass is one duty's; all of them are settings."""

    model_config = ConfigDict(frozen=True)

    confirmations: int = Field(
        default=2, ge=0, le=10_000, description="blocks on top before an outcome is final"
    )
    give_up_blocks: int = Field(
        default=64,
        ge=0,
        le=100_000,
        description="blocks on top of a failed settlement before its usage may join another one",
    )
    items_max: int = Field(
        default=ITEMS_MAX,
        ge=1,
        le=ITEMS_MAX,
        description="positions in one settlement or hold, payees in one payout",
    )
