"""The indexer's settings, all ``INDEXER_…``."""

from typing import ClassVar, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from indexer.sync import SyncRules
from serving.process.settings import ProcessSettings, is_url


class IndexerSettings(ProcessSettings):
    """How the chain is mirrored."""

    model_config = SettingsConfigDict(env_prefix="INDEXER_", frozen=True, extra="forbid")

    takes_several_endpoints: ClassVar[bool] = True

    rpc_url: SecretStr = Field(
        description="JSON-RPC endpoints of the chain, separated by spaces; may hold tokens"
    )
    rpc_quorum: int = Field(
        default=1, ge=1, le=16, description="how many endpoints must agree on what is mirrored"
    )
    heads_url: SecretStr | None = Field(
        default=None, description="WebSocket endpoint that tells of new blocks; without it: polling"
    )
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

    log_level: str = Field(
        default="info",
        pattern="^(debug|info|warning|error)$",
        description="least level that is logged; info: what is mirrored, debug: every block",
    )

    metrics_port: int = Field(
        default=0, ge=0, le=65_535, description="port of the Prometheus metrics; 0: off"
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="address on which the metrics are served"
    )

    @field_validator("heads_url", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _check_endpoints(self) -> Self:
        urls = self.rpc_urls()
        if len(set(urls)) < len(urls):
            raise ValueError("RPC_URL names an endpoint twice")
        if self.rpc_quorum > len(urls):
            raise ValueError(f"RPC_QUORUM is {self.rpc_quorum}, of {len(urls)} endpoints")
        heads_url = self.heads_url
        if heads_url is not None and not is_url(heads_url.get_secret_value(), ("ws", "wss")):
            raise ValueError("HEADS_URL must be a ws or wss URL")
        return self

    def rules(self) -> SyncRules:
        """Return the part that the follower needs."""
        return SyncRules(
            confirmations=self.confirmations,
            window_blocks=self.window_blocks,
            range_blocks_max=self.range_blocks_max,
            blocks_per_step_max=self.blocks_per_step_max,
        )
