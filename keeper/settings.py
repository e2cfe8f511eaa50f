"""The keeper's settings, all ``KEEPER_…``."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from eth_account import Account
from eth_utils.address import is_address, to_checksum_address
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from contracts.units import USDC_MAX
from keeper.alarms import AlarmRules
from keeper.duties.registry import Rules
from keeper.snapshot import CLOCK_SLACK_S, ReadRules
from keeper.transactor.fees import FeeRules
from keeper.transactor.means import SendRules
from ledger.database.clock import FAR_OFF_S
from serving.process.settings import ProcessSettings


@dataclass(frozen=True, slots=True)
class KeySettings:
    """Where one key is: in one of several places, or nowhere."""

    private_key: SecretStr | None
    keyfile: Path | None
    keyfile_password: SecretStr | None
    kms_key_id: str | None

    @property
    def is_set(self) -> bool:
        """Whether there is a key."""
        return not (self.private_key is None and self.keyfile is None and self.kms_key_id is None)

    def check(self) -> None:
        """Raise ``ValueError`` where the key is in several places, or in half of one."""
        if sum(key is not None for key in (self.private_key, self.keyfile, self.kms_key_id)) > 1:
            raise ValueError("one of private_key, keyfile and kms_key_id, not several")
        if (self.keyfile is None) != (self.keyfile_password is None):
            raise ValueError("keyfile and keyfile_password go together")


class KeeperSettings(ProcessSettings, Rules):
    """The keeper's key, intervals and limits. Amounts are 1e-6 USDC.

    The rules of each duty are declared in the duty's file, and are settings too.
    """

    model_config = SettingsConfigDict(
        env_prefix="KEEPER_", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    takes_several_endpoints: ClassVar[bool] = True

    rpc_url: SecretStr = Field(
        description="JSON-RPC endpoints of the chain, separated by spaces; may hold tokens"
    )

    private_key: SecretStr | None = Field(
        default=None,
        description="the settler's key, 32 bytes in hex; without any key: dry run only",
    )
    keyfile: Path | None = Field(
        default=None, description="the settler's key, encrypted: a version 3 JSON file; instead"
    )
    keyfile_password: SecretStr | None = Field(
        default=None, description="the password of the keyfile"
    )
    kms_key_id: str | None = Field(
        default=None, description="the settler's key in AWS KMS, ECC_SECG_P256K1; instead"
    )
    kms_region: str | None = Field(
        default=None, description="the key's AWS region; without it: what boto3 finds"
    )
    payments_private_key: SecretStr | None = Field(
        default=None,
        description="another key for x402 and payouts, 32 bytes in hex; without one: the settler's",
    )
    payments_keyfile: Path | None = Field(
        default=None, description="that key, encrypted: a version 3 JSON file; instead"
    )
    payments_keyfile_password: SecretStr | None = Field(
        default=None, description="the password of that keyfile"
    )
    payments_kms_key_id: str | None = Field(
        default=None, description="that key in AWS KMS, in the same region; instead"
    )
    address: str | None = Field(
        default=None, description="whom a dry run without a key pretends to be"
    )

    log_level: str = Field(
        default="info",
        pattern="^(debug|info|warning|error)$",
        description="least level that is logged",
    )

    poll_interval_s: float = Field(
        default=2.0, gt=0, le=3_600, description="pause between two rounds of the daemon, seconds"
    )
    max_staleness_s: int = Field(
        default=60, ge=1, description="oldest mirror that is acted on, seconds"
    )
    receipt_timeout_s: float = Field(
        default=30.0, gt=0, le=600, description="longest wait for a receipt in one round, seconds"
    )
    receipt_poll_s: float = Field(
        default=0.25, gt=0, le=60, description="pause between two looks for a receipt, seconds"
    )
    replace_after_s: int = Field(
        default=60, ge=1, description="how long a transaction may be stuck before its fee is raised"
    )
    failures_max: int = Field(
        default=5, ge=1, le=1_000, description="failures in a row after which a kind is stopped"
    )
    failures_rest_s: int = Field(
        default=600, ge=1, description="how long a stopped kind rests before it is tried once"
    )

    fee_wei_max: int = Field(
        default=50_000_000_000, ge=1, description="most that is paid per gas, base fee and tip, wei"
    )
    tip_wei: int = Field(default=1_000_000, ge=0, description="tip per gas at first, wei")
    tip_wei_max: int = Field(
        default=2_000_000_000,
        ge=0,
        description="highest tip per gas, wei; 0: a stuck fee is never raised",
    )
    l1_fee_wei_max: int = Field(
        default=10_000_000_000_000_000,
        ge=0,
        le=10**20,
        description="most that is believed of the L1 data fee of 1,024 bytes, wei; else it is this",
    )
    gas_margin_bps: int = Field(
        default=2_500, ge=0, le=100_000, description="added to a gas estimate, 1/10000"
    )
    ether_price_usdc: int = Field(
        default=4_000_000_000,
        ge=0,
        le=USDC_MAX,
        description="one ether, to weigh gas against yield; 0: gas counts as free",
    )

    gas_day_usdc_max: int = Field(
        default=50_000_000,
        ge=0,
        le=USDC_MAX,
        description="most that a kind costs in a day (UTC) beyond what pays its gas; 0: no bound",
    )
    gas_account_day_usdc_max: int = Field(
        default=5_000_000,
        ge=0,
        le=USDC_MAX,
        description="most that a kind may cost in a day for one position, payer or payee; 0: no"
        " bound",
    )

    payment_alarm_age_s: int = Field(
        default=120, ge=1, description="oldest payment that waits to be settled before an alarm"
    )

    metrics_port: int = Field(
        default=0, ge=0, le=65_535, description="port of the Prometheus metrics; 0: off"
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="address on which the metrics are served"
    )
    watch_interval_s: int = Field(
        default=30, ge=1, description="pause between two looks at what raises an alarm, seconds"
    )
    alarm_repeat_s: int = Field(
        default=900, ge=1, description="how often an alarm that stands is logged again, seconds"
    )
    balance_wei_min: int = Field(
        default=2_000_000_000_000_000, ge=0, description="ether below which an alarm is raised, wei"
    )
    settle_alarm_age_s: int = Field(
        default=3_600, ge=1, description="oldest usage without a settlement before an alarm"
    )

    @field_validator("private_key", "payments_private_key")
    @classmethod
    def _key_is_one(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                Account.from_key(value.get_secret_value())
            except Exception:
                # The cause would show the key.
                raise ValueError("not a private key: 32 bytes in hex") from None
        return value

    @field_validator("address")
    @classmethod
    def _address_is_one(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not is_address(value):
            raise ValueError("not an address")
        return to_checksum_address(value)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for key in (self.settler_key(), self.payments_key()):
            key.check()
        if self.payments_key().is_set and not self.has_key:
            raise ValueError("a payments key goes beside the settler's key, not instead of it")
        if self.give_up_blocks < self.confirmations:
            raise ValueError("confirmations <= give_up_blocks")
        if not self.tip_wei <= self.tip_wei_max <= self.fee_wei_max:
            raise ValueError("tip_wei <= tip_wei_max <= fee_wei_max")
        return self

    @property
    def has_key(self) -> bool:
        """Whether there is anything to sign with."""
        return self.settler_key().is_set

    def settler_key(self) -> "KeySettings":
        """Return the key that signs whatever no other key does."""
        return KeySettings(self.private_key, self.keyfile, self.keyfile_password, self.kms_key_id)

    def payments_key(self) -> "KeySettings":
        """Return the key of payments and payouts."""
        return KeySettings(
            self.payments_private_key,
            self.payments_keyfile,
            self.payments_keyfile_password,
            self.payments_kms_key_id,
        )

    def rules(self) -> Rules:
        """Return when to act."""
        return Rules.model_validate({name: getattr(self, name) for name in Rules.model_fields})

    def send_rules(self) -> SendRules:
        """Return how transactions are sent."""
        return SendRules(
            fees=FeeRules(
                fee_wei_max=self.fee_wei_max, tip_wei=self.tip_wei, tip_wei_max=self.tip_wei_max
            ),
            confirmations=self.confirmations,
            receipt_timeout_s=self.receipt_timeout_s,
            receipt_poll_s=self.receipt_poll_s,
            replace_after_s=self.replace_after_s,
            gas_margin_bps=self.gas_margin_bps,
            ether_price_usdc=self.ether_price_usdc,
        )

    def alarm_rules(self) -> AlarmRules:
        """Return from where on something is an alarm."""
        return AlarmRules(
            balance_wei_min=self.balance_wei_min,
            fee_wei_max=self.fee_wei_max,
            max_staleness_s=self.max_staleness_s,
            settle_age_s_max=self.settle_alarm_age_s,
            payment_age_s_max=self.payment_alarm_age_s,
            clock_behind_s_max=CLOCK_SLACK_S,
            clock_off_s_max=FAR_OFF_S,
        )

    def read_rules(self) -> ReadRules:
        """Return how the world is read."""
        return ReadRules(
            max_staleness_s=self.max_staleness_s,
            ether_price_usdc=self.ether_price_usdc,
            tip_wei=self.tip_wei,
            l1_fee_wei_max=self.l1_fee_wei_max,
            gas_day_usdc_max=self.gas_day_usdc_max,
            gas_account_day_usdc_max=self.gas_account_day_usdc_max,
        )
