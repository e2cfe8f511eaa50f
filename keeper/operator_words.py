"""What an operator does about each alarm, in one line. Pure.

``docs/operations.md`` says the same at length.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

ALARM_MENDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "balance_low": "send ether to the address that `current keeper once --dry-run` names",
        "gas_price_high": "wait, or raise KEEPER_FEE_WEI_MAX if holds are about to lapse",
        "mirror_stale": "is the indexer running, does its RPC answer?",
        "settlement_late": "look for item_refused, kind_stopped and waiting in the keeper's log",
        "payment_late": "look for payments_not_followed, kind_stopped and waiting in the log",
        "bad_debt": "current keeper write-off --token-id <position> says how much it is",
        "gas_budget": "current keeper report says what costs so much; KEEPER_GAS_DAY_USDC_MAX",
        "kind_stopped": "the reason is in breaker_tripped; then: current keeper retry",
        "clock_behind": "set the clock: timedatectl set-ntp true",
        "clock_far_off": "set the clock: timedatectl set-ntp true",
        "node_away": "check KEEPER_RPC_URL: current doctor --part rpc",
    }
)
"""By alarm, as ``keeper.alarms`` names them."""
