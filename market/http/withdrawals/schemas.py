"""Withdrawals of unused credit, as requests and answers state them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.http.document.schemas import ErrorBody, ErrorDetail


class WithdrawalWish(BaseModel):
    """A signed challenge: what to withdraw is in its text."""

    model_config = ConfigDict(extra="forbid")

    message: str = Field(max_length=10_000, description="the challenge, unchanged")
    signature: str = Field(
        max_length=100_000, description="0x…; EIP-191 signature of the message by its address"
    )


class WithdrawalView(BaseModel):
    """A withdrawal, and how far its payout has come."""

    withdrawal_id: str
    wallet: str = Field(description="who signed it and is paid")
    amount_usdc: int = Field(description="what left the account")
    fee_usdc: int = Field(description="what of that the transaction costs")
    state: Literal["planned", "sent", "paid", "credited"] = Field(
        description="credited: the wallet could not be paid, and claims it from the payouts"
        " contract"
    )
    transaction: str | None = Field(description="the hash; null: in no final block yet")
    requested_at: int


class WithdrawalList(BaseModel):
    """What an account may withdraw, and what it has withdrawn."""

    withdrawable_usdc: int = Field(description="unused, paid in by x402, in final blocks")
    pending_usdc: int = Field(description="paid in, in blocks that may still be taken back")
    minimum_usdc: int = Field(description="the least that is paid, beside the fee")
    fee_usdc: int = Field(description="what a withdrawal's transaction costs")
    chain_id: int = Field(description="the chain that withdrawals are paid on")
    withdrawals: list[WithdrawalView] = Field(description="the newest, newest first")


class WithdrawalErrorDetail(ErrorDetail):
    """Why nothing is paid, and what may come to it."""

    pending_usdc: int | None = Field(
        default=None, description="paid in, in blocks that may still be taken back"
    )


class WithdrawalErrorBody(ErrorBody):
    """The body of an answer that is not a withdrawal."""

    error: WithdrawalErrorDetail
