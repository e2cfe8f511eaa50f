"""What of the market's settings concerns what is paid call by call, all ``MARKET_…``: x402, and
resold APIs."""

from pydantic import Field, field_validator

from contracts.authorizations import VALUE_USDC_MAX
from contracts.units import USDC_MAX
from market.identity.keys import is_address
from market.resale.economics import FEE_BPS
from market.supply_settings import SupplySettings


class PaidCallSettings(SupplySettings):
    """How payments by x402 are taken, and how resold APIs are called."""

    x402: bool = Field(
        default=True, description="let requests without a key be paid one by one, by x402"
    )
    x402_pay_to: str | None = Field(
        default=None, description="who is paid by x402; without it: the payouts contract"
    )
    x402_fee_usdc: int = Field(
        default=1_000,
        ge=0,
        le=USDC_MAX,
        description="what a request costs more that is paid by x402: the transaction",
    )
    x402_timeout_s: int = Field(
        default=300, ge=30, le=3_600, description="how long a payment is to be valid, seconds"
    )
    x402_wait_s: float = Field(
        default=30.0, gt=0, le=600, description="longest wait for a payment to settle, seconds"
    )
    x402_topup_usdc_max: int = Field(
        default=1_000_000_000, ge=1, le=VALUE_USDC_MAX, description="largest top-up, 1e-6 USDC"
    )
    x402_payments_open_max: int = Field(
        default=32, ge=1, le=10_000, description="payments of one payer that may wait to settle"
    )
    x402_contracts: bool = Field(
        default=False,
        description="take payments of addresses with code (ERC-1271, EIP-7702): such a payer can"
        " burn the keeper's gas",
    )
    x402_serve_first: bool = Field(
        default=False,
        description="serve before a payment has settled: one that never does is our loss",
    )
    withdrawal_fee_usdc: int = Field(
        default=1_000,
        ge=0,
        le=USDC_MAX,
        description="what a withdrawal of unused credit costs: the transaction, 1e-6 USDC",
    )
    resale_bytes_max: int = Field(
        default=4 * 1024**2, ge=1_024, description="longest answer taken from a resold API, bytes"
    )
    resale_timeout_s: float = Field(
        default=30.0, gt=0, le=600, description="longest wait for a resold API's answer, seconds"
    )
    resale_usage_interval_s: float = Field(
        default=300.0,
        ge=1,
        description="pause between two questions to an API's usage endpoint, seconds",
    )
    resale_fee_bps: int = Field(
        default=FEE_BPS,
        ge=0,
        le=10_000,
        description="part of what a call of a resold API costs that is the market's",
    )

    @field_validator("x402_pay_to")
    @classmethod
    def _refuse_odd_payee(cls, address: str | None) -> str | None:
        if address is None:
            return None
        if not is_address(address) or int(address, 16) == 0:
            raise ValueError("not an address that can be paid")
        return address.lower()
