"""Suppliers' addresses for payouts, as requests and answers state them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

NetworkName = Literal["base", "trc20", "erc20", "bep20"]
RailName = Literal["chain", "nowpayments", "manual"]
Decimals = Annotated[str, WithJsonSchema({"type": "string", "pattern": r"^[0-9]+\.[0-9]{6}$"})]
"""An amount as a decimal string with six decimals."""


class PayoutAddressWish(BaseModel):
    """Where to pay on one network. The network is named twice: addresses of several look alike."""

    model_config = ConfigDict(extra="forbid")

    network: NetworkName
    confirm_network: NetworkName = Field(description="the same network again")
    address: str = Field(max_length=128)
    is_preferred: bool | None = Field(
        default=None,
        description="whether payouts go by this network; left out: only if none was chosen",
    )


class PayoutAddressView(BaseModel):
    """An address of a network."""

    network: NetworkName
    asset: str
    rail: RailName
    minimum: Decimals = Field(description="less than this is carried over")
    address: str | None = Field(description="what payouts go to now; null: nothing")
    pending_address: str | None = Field(description="what counts later; null: nothing")
    pending_counts_at: int | None = Field(description="when it counts; null: nothing is pending")
    is_preferred: bool


class PayoutAddressList(BaseModel):
    """All networks."""

    networks: list[PayoutAddressView]
