"""The indexer's settings, all ``INDEXER_…``."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from indexer.sync import SyncRules
from ledger.settings import ProcessSettings


class IndexerSettings(ProcessSettings):
    """How the chain is mirrored."""

    model_config = SettingsConfigDict(env_prefix="INDEXER_", frozen=True, extra="forbid")

    poll_interval_s: float = Field(
        default=0.5, gt=0, le=60, description="pause between two looks at the head, seconds"
    )
    confirmations: int = Field(
        default=1, ge=0, le=10_000, description="blocks on top of a hold before it counts"
    )
    window_blocks: int = Field(
        default=256, ge=2, le=100_000, description="deepest reorg that can be taken back, blocks"
    )
    range_blocks_max: int = Field(
        default=2_000, ge=1, le=100_000, description="longest eth_getLogs range, blocks"
    )
    blocks_per_step_max: int = Field(
        default=64, ge=1, le=10_000, description="most blocks followed in one step near the head"
    )

    def rules(self) -> SyncRules:
        """Return the part that the follower needs."""
        return SyncRules(
            confirmations=self.confirmations,
            window_blocks=self.window_blocks,
            range_blocks_max=self.range_blocks_max,
            blocks_per_step_max=self.blocks_per_step_max,
        )
