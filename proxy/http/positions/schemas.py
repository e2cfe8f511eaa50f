"""A position as answers state it."""

from pydantic import BaseModel, Field

from ledger.chain.harvest_outlook import NoHarvest


class AllowanceView(BaseModel):
    """A position's allowance now."""

    credited_usdc: int = Field(description="all that was ever credited: yield harvested and gifts")
    spent_usdc: int = Field(description="settled on chain")
    withdrawn_usdc: int
    unspent_usdc: int
    held_usdc: int = Field(description="set aside on chain for requests, confirmed part")
    in_flight_usdc: int = Field(description="reserved or charged, and not settled on chain yet")
    remaining_today_usdc: int = Field(description="what requests can still reserve today")
    day_cap_usdc: int
    day_spent_usdc: int
    resets_at: str


class HarvestView(BaseModel):
    """When yield is turned into allowance."""

    interval_s: int
    last_at: str | None
    next_at: str | None = Field(
        description="when the next one of at least 0.01 USDC is expected; null: none is in sight"
    )
    is_estimate: bool = Field(
        description="whether the yield is still to reach 0.01 USDC; `next_at` is when it does, at "
        "the pace since the last harvest"
    )
    no_harvest_because: NoHarvest | None = Field(description="why none is expected")


class MirrorView(BaseModel):
    """How recent the view of the chain is."""

    block_number: int
    block_hash: str
    lag_blocks: int = Field(description="how many blocks the node was ahead")
    age_s: int


class PositionView(BaseModel):
    """A position as the proxy sees it. Public: all of it is on chain."""

    token_id: int
    owner: str
    key_epoch: int
    model_tier: int
    daily_smoothing_bps: int
    vault: str
    principal_usdc: int
    pending_yield_usdc: int | None = Field(
        description="what a harvest would credit now; null where the chain does not say"
    )
    allowance: AllowanceView
    harvest: HarvestView
    mirror: MirrorView | None
