"""What of the market's settings concerns suppliers' pay, all ``MARKET_…``."""

from decimal import Decimal
from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr

from ledger.suppliers.settlement import NetworkTerms, SettlementTerms
from market.supplier_settings import SupplierSettings
from market.suppliers.nowpayments import ProviderAccount
from market.suppliers.payout_addresses import CURRENCIES, Network, Rail
from market.suppliers.settling_days import parse_clock, parse_minimums
from serving.process.settings import is_url

IPN_PATH: Final = "/v1/supply/payouts/ipn"


def _check_clock(text: str) -> str:
    parse_clock(text)
    return text


def _check_minimums(text: str) -> str:
    parse_minimums(text)
    return text


def _check_rate(text: str) -> str:
    if not text.replace(".", "", 1).isdecimal() or not 0 < Decimal(text) <= 1_000:
        raise ValueError("must be a decimal number above 0")
    return text


def _check_url(text: str) -> str:
    if not is_url(text):
        raise ValueError("must be an http or https URL")
    return text.rstrip("/")


class SupplySettings(SupplierSettings):
    """What suppliers pay, and how they are paid."""

    supplier_fee_bps: int = Field(
        default=1_500,
        ge=0,
        le=10_000,
        description="part of a supplier's gross that is the market's, unless agreed otherwise, in"
        " 1/10,000 of it",
    )
    settle_at: Annotated[str, AfterValidator(_check_clock)] = Field(
        default="02:00", description="when the day before is settled, HH:MM in UTC"
    )
    settle_interval_s: float = Field(
        default=30.0,
        gt=0,
        description="pause between two looks for days to settle and payouts to follow, seconds",
    )
    address_cooling_s: int = Field(
        default=48 * 3_600,
        ge=0,
        le=30 * 86_400,
        description="how long after it was saved a payout address counts, seconds",
    )
    payout_minimums: Annotated[str, AfterValidator(_check_minimums)] = Field(
        default="base=0.01,trc20=10,erc20=50,bep20=5",
        description="smallest payout of each network in whole USDC or USDT (at most six decimals),"
        " <network>=<amount> with commas between; less is carried over",
    )
    settle_usd_rate: Annotated[str, AfterValidator(_check_rate)] = Field(
        default="1", description="US dollars for one USDC or USDT, as payouts state it"
    )
    settle_usd_rate_source: str = Field(
        default="par", pattern="^[!-~]{1,64}$", description="who says that rate"
    )
    nowpayments_url: Annotated[str, AfterValidator(_check_url)] = Field(
        default="https://api.nowpayments.io", description="where NOWPayments' API is"
    )
    nowpayments_api_key: SecretStr = Field(
        default=SecretStr(""),
        description="the operator's key at NOWPayments; without it USDT is paid by hand",
    )
    nowpayments_email: str = Field(default="", description="the account's address there")
    nowpayments_password: SecretStr = Field(default=SecretStr(""), description="its password")
    nowpayments_totp_secret: SecretStr = Field(
        default=SecretStr(""), description="what its one-time codes are made of, base32"
    )
    nowpayments_ipn_secret: SecretStr = Field(
        default=SecretStr(""), description="what its notices are signed with"
    )

    @property
    def settle_at_s(self) -> int:
        """When the day before is settled, in seconds after midnight UTC."""
        return parse_clock(self.settle_at)

    @property
    def has_nowpayments(self) -> bool:
        """Whether payouts go by NOWPayments."""
        return bool(self.nowpayments_api_key.get_secret_value())

    def settlement_terms(self) -> SettlementTerms:
        """Return what suppliers' days are settled by."""
        minimums = parse_minimums(self.payout_minimums)
        usdt = Rail.NOWPAYMENTS if self.has_nowpayments else Rail.MANUAL
        return SettlementTerms(
            fee_bps=self.supplier_fee_bps,
            networks={
                network: NetworkTerms(
                    rail=Rail.CHAIN if network is Network.BASE else usdt,
                    asset=CURRENCIES[network].asset,
                    minimum_usdc=minimums[network],
                )
                for network in Network
            },
            default_network=Network.BASE,
            usd_rate=self.settle_usd_rate,
            usd_rate_source=self.settle_usd_rate_source,
        )

    def nowpayments_account(self, public_url: str) -> ProviderAccount:
        """Return the operator's account at NOWPayments; notices are sent to ``public_url``."""
        return ProviderAccount(
            base_url=self.nowpayments_url,
            api_key=self.nowpayments_api_key.get_secret_value(),
            email=self.nowpayments_email,
            password=self.nowpayments_password.get_secret_value(),
            totp_secret=self.nowpayments_totp_secret.get_secret_value(),
            ipn_url=public_url + IPN_PATH,
        )
