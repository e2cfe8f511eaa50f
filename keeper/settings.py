"""The keeper's settings, all ``KEEPER_…``."""

from pathlib import Path
from typing import Self

from eth_account import Account
from eth_utils.address import is_address, to_checksum_address
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from contracts.units import USDC_MAX
from keeper.alarms import AlarmRules
from keeper.calls import MULTICALL_BASE_GAS
from keeper.facts import HARVEST_MIN_USDC, ITEMS_MAX, Rules
from keeper.fees import TRANSACTION_GAS_MAX, FeeRules
from keeper.snapshot import ReadRules
from keeper.transactor import SendRules
from serving.process.settings import ProcessSettings


class KeeperSettings(ProcessSettings):
    """With which key, how often and when the keeper acts. Amounts are 1e-6 USDC."""

    model_config = SettingsConfigDict(
        env_prefix="KEEPER_", frozen=True, extra="forbid", hide_input_in_errors=True
    )

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
    confirmations: int = Field(
        default=2, ge=0, le=10_000, description="blocks on top before an outcome is final"
    )
    give_up_blocks: int = Field(
        default=64,
        ge=0,
        le=100_000,
        description="blocks on top of a failed settlement before its usage may join another one",
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
    tip_wei_max: int = Field(default=2_000_000_000, ge=0, description="highest tip per gas, wei")
    gas_margin_bps: int = Field(
        default=2_500, ge=0, le=100_000, description="added to a gas estimate, 1/10000"
    )
    ether_price_usdc: int = Field(
        default=4_000_000_000,
        ge=0,
        le=USDC_MAX,
        description="one ether, to weigh gas against yield; 0: gas counts as free",
    )

    hold_target_usdc: int = Field(
        default=5_000_000, ge=1, le=USDC_MAX, description="hold of a position in use"
    )
    hold_lifetime_s: int = Field(
        default=7_200, ge=60, le=24 * 3_600, description="how long a hold lives, seconds"
    )
    hold_renew_before_s: int = Field(
        default=2_700, ge=1, description="renewed when less of its life is left, seconds"
    )
    hold_shrink_before_s: int = Field(
        default=600,
        ge=1,
        description="a live hold is lowered only when less is left; below the proxy's margin",
    )
    hold_step_min_usdc: int = Field(
        default=10_000, ge=1, le=USDC_MAX, description="smallest gain worth a top-up"
    )
    active_window_s: int = Field(
        default=3_600, ge=1, description="how long a position counts as in use after a request"
    )
    release_grace_s: int = Field(
        default=300, ge=0, description="no new hold for so long after the owner asked for release"
    )

    settle_amount_usdc: int = Field(
        default=500_000, ge=1, le=USDC_MAX, description="a position's usage that is settled at once"
    )
    settle_max_age_s: int = Field(
        default=600, ge=0, description="oldest usage that may wait for more, seconds"
    )
    settle_before_expiry_s: int = Field(
        default=3_000, ge=1, description="usage on an idle hold is settled when less is left"
    )
    settle_landing_s: int = Field(
        default=60, ge=0, description="a hold must outlive now by this to be settled from, seconds"
    )

    harvest_min_usdc: int = Field(
        default=HARVEST_MIN_USDC, ge=HARVEST_MIN_USDC, le=USDC_MAX, description="smallest harvest"
    )
    harvest_margin_bps: int = Field(
        default=30_000, ge=0, description="how much more than its gas a harvest must bring, 1/10000"
    )
    harvest_max_age_s: int = Field(
        default=86_400, ge=0, description="overdue by this, a harvest is made at a loss, seconds"
    )
    harvest_gas: int = Field(
        default=400_000, ge=100_000, le=5_000_000, description="gas allowed to one harvest"
    )
    harvest_recheck_s: int = Field(
        default=300, ge=1, description="pause for a due position that is not worth it, seconds"
    )
    harvest_items_max: int = Field(
        default=30, ge=1, le=64, description="harvests in one transaction"
    )
    harvest_transactions_max: int = Field(
        default=4, ge=1, le=16, description="harvest transactions in one round, where so many pay"
    )

    sweep_amount_usdc: int = Field(
        default=10_000_000, ge=1, le=USDC_MAX, description="settled amount that is swept at once"
    )
    sweep_max_age_s: int = Field(
        default=86_400, ge=0, description="longest that anything settled waits, seconds"
    )

    payout_amount_usdc: int = Field(
        default=100_000_000, ge=1, le=USDC_MAX, description="payable amount that is paid at once"
    )
    payout_max_age_s: int = Field(
        default=30, ge=0, description="how long a payout waits for others to share its batch"
    )

    payment_confirmations: int = Field(
        default=1, ge=0, le=10_000, description="blocks on top before a buyer's payment is settled"
    )
    payment_gas: int = Field(
        default=200_000, ge=60_000, le=5_000_000, description="gas allowed to one payment"
    )
    payment_items_max: int = Field(
        default=40, ge=1, le=64, description="payments in one transaction"
    )
    payment_landing_s: int = Field(
        default=15, ge=0, description="a payment must be valid for longer to be sent, seconds"
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

    @field_validator("private_key")
    @classmethod
    def _key_is_one(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                Account.from_key(value.get_secret_value())
            except Exception:
                # The cause would show the key.
                raise ValueError("not a private key: 32 bytes in hex") from None
        return value

    @field_validator("rpc_url")
    @classmethod
    def _endpoints_are_some(cls, value: SecretStr) -> SecretStr:
        urls = value.get_secret_value().split()
        if not urls or not all(url.startswith(("http://", "https://")) for url in urls):
            raise ValueError("not http(s) URLs separated by spaces")
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
        if not self.hold_shrink_before_s < self.hold_renew_before_s < self.hold_lifetime_s:
            raise ValueError("hold_shrink_before_s < hold_renew_before_s < hold_lifetime_s")
        if not self.settle_landing_s < self.settle_before_expiry_s < self.hold_lifetime_s:
            raise ValueError("settle_landing_s < settle_before_expiry_s < hold_lifetime_s")
        if self.settle_landing_s >= self.hold_shrink_before_s:
            raise ValueError("settle_landing_s < hold_shrink_before_s")
        if sum(key is not None for key in (self.private_key, self.keyfile, self.kms_key_id)) > 1:
            raise ValueError("one of private_key, keyfile and kms_key_id, not several")
        if (self.keyfile is None) != (self.keyfile_password is None):
            raise ValueError("keyfile and keyfile_password go together")
        if self.give_up_blocks < self.confirmations:
            raise ValueError("confirmations <= give_up_blocks")
        harvest_gas = MULTICALL_BASE_GAS + self.harvest_gas * self.harvest_items_max
        if harvest_gas > TRANSACTION_GAS_MAX:
            raise ValueError(f"harvest_gas * harvest_items_max <= {TRANSACTION_GAS_MAX:,}")
        if not self.tip_wei <= self.tip_wei_max <= self.fee_wei_max:
            raise ValueError("tip_wei <= tip_wei_max <= fee_wei_max")
        return self

    @property
    def has_key(self) -> bool:
        """Whether there is anything to sign with."""
        return not (self.private_key is None and self.keyfile is None and self.kms_key_id is None)

    def rpc_urls(self) -> list[str]:
        """Return the endpoints, the first to be asked first."""
        return self.rpc_url.get_secret_value().split()

    def rules(self) -> Rules:
        """Return when to act."""
        return Rules(
            hold_target_usdc=self.hold_target_usdc,
            hold_lifetime_s=self.hold_lifetime_s,
            hold_renew_before_s=self.hold_renew_before_s,
            hold_shrink_before_s=self.hold_shrink_before_s,
            hold_step_min_usdc=self.hold_step_min_usdc,
            active_window_s=self.active_window_s,
            release_grace_s=self.release_grace_s,
            settle_amount_usdc=self.settle_amount_usdc,
            settle_max_age_s=self.settle_max_age_s,
            settle_before_expiry_s=self.settle_before_expiry_s,
            settle_landing_s=self.settle_landing_s,
            harvest_min_usdc=self.harvest_min_usdc,
            harvest_margin_bps=self.harvest_margin_bps,
            harvest_max_age_s=self.harvest_max_age_s,
            harvest_recheck_s=self.harvest_recheck_s,
            sweep_amount_usdc=self.sweep_amount_usdc,
            sweep_max_age_s=self.sweep_max_age_s,
            payout_amount_usdc=self.payout_amount_usdc,
            payout_max_age_s=self.payout_max_age_s,
            payment_landing_s=self.payment_landing_s,
            payment_items_max=self.payment_items_max,
            items_max=ITEMS_MAX,
            harvest_items_max=self.harvest_items_max,
            harvest_transactions_max=self.harvest_transactions_max,
        )

    def send_rules(self) -> SendRules:
        """Return how transactions are sent."""
        return SendRules(
            fees=FeeRules(
                fee_wei_max=self.fee_wei_max, tip_wei=self.tip_wei, tip_wei_max=self.tip_wei_max
            ),
            confirmations=self.confirmations,
            give_up_blocks=self.give_up_blocks,
            receipt_timeout_s=self.receipt_timeout_s,
            receipt_poll_s=self.receipt_poll_s,
            replace_after_s=self.replace_after_s,
            gas_margin_bps=self.gas_margin_bps,
        )

    def alarm_rules(self) -> AlarmRules:
        """Return from where on something is an alarm."""
        return AlarmRules(
            balance_wei_min=self.balance_wei_min,
            fee_wei_max=self.fee_wei_max,
            max_staleness_s=self.max_staleness_s,
            settle_age_s_max=self.settle_alarm_age_s,
            payment_age_s_max=self.payment_alarm_age_s,
        )

    def read_rules(self) -> ReadRules:
        """Return how the world is read."""
        return ReadRules(
            max_staleness_s=self.max_staleness_s,
            harvest_gas=self.harvest_gas,
            ether_price_usdc=self.ether_price_usdc,
            fees=self.send_rules().fees,
            payment_gas=self.payment_gas,
        )
