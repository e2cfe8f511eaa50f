"""Where a supplier can be paid: the networks, and which addresses of them are refused. Pure.

An address is refused when it is saved, with the reason. ERC-20, BEP-20 and USDC addresses look
alike, so whoever saves one names its network twice. Texts are kept as they must be sent: an EVM
address with its EIP-55 checksum, a TRON address as it is.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from eth_utils.address import is_checksum_address, to_checksum_address

from market.suppliers.base58 import decode_check

_EVM: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_TRON: Final = re.compile(r"T[1-9A-HJ-NP-Za-km-z]{33}")
_TRON_PREFIX: Final = 0x41
_TRON_BYTES: Final = 21
PRECOMPILE_MAX: Final = 0xFFFF
"""Addresses up to here are the chain's own programs: what arrives there is lost."""


class Network(StrEnum):
    """What a payout can travel by."""

    BASE = "base"
    """USDC on the chain of the contracts."""
    TRC20 = "trc20"
    ERC20 = "erc20"
    BEP20 = "bep20"


class Rail(StrEnum):
    """Who sends a payout."""

    CHAIN = "chain"
    """The keeper, by the payouts contract."""
    NOWPAYMENTS = "nowpayments"
    MANUAL = "manual"
    """An operator, by hand."""


@dataclass(frozen=True, slots=True)
class Currency:
    """What is sent on a network."""

    asset: str
    decimals: int
    """Of the token on that network; amounts of payouts have six at most."""
    ticker: str
    """What NOWPayments calls it; empty where it is not sent by them."""


CURRENCIES: Final = {
    Network.BASE: Currency("USDC", 6, ""),
    Network.TRC20: Currency("USDT", 6, "usdttrc20"),
    Network.ERC20: Currency("USDT", 6, "usdterc20"),
    Network.BEP20: Currency("USDT", 18, "usdtbsc"),
}

TOKENS: Final = frozenset(
    # USDT and USDC on Ethereum, BNB chain and Base, each in lower case.
    {
        "0xdac17f958d2ee523a2206206994597c13d831ec7",
        "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48",
        "0x55d398326f99059ff775485246999027b3197955",
        "0x8ac76a51cc950d9822d68b83fe1ad97b32cd580d",
        "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913",
        "0xfde4c96c8593536e31f229ea8f37b2ada2699bb2",
        "0xd9aaec86b65d86f6a7b5b1b0c42ffa531710b6ca",
    }
)
TRON_TOKENS: Final = frozenset(
    {"TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", "TEkxiTehnzSmSe2XqrBj4w32RUN966rdz8"}
)
"""USDT and USDC on TRON."""
DEAD: Final = frozenset(
    {"0x" + "0" * 36 + "dead", "0xdead" + "0" * 36, "0x" + "f" * 40, "0x" + "e" * 40}
)
"""Addresses that people send to when they burn something."""


class AddressRefused(ValueError):
    """The address cannot be paid; the text says why, and can be shown."""


def check_address(network: Network, text: str, *, own: Collection[str] = ()) -> str:
    """Return an address as it is kept. Raises ``AddressRefused``.

    ``own``: contracts and wallets of the operator, in lower case.
    """
    if network is Network.TRC20:
        return _check_tron(text)
    return _check_evm(network, text, own=own)


def _check_evm(network: Network, text: str, *, own: Collection[str]) -> str:
    if _TRON.fullmatch(text) is not None:
        raise AddressRefused(f"this is an address of TRON, not of the network {network}")
    if _EVM.fullmatch(text) is None:
        raise AddressRefused("an address of this network is 0x and 40 hexadecimal digits")
    digits = text[2:]
    if digits != digits.lower() and not is_checksum_address(text):
        raise AddressRefused("the checksum (EIP-55) is wrong: a letter is not as it was")
    lower, value = text.lower(), int(text, 16)
    if value == 0:
        raise AddressRefused("nobody holds the zero address")
    if lower in DEAD:
        raise AddressRefused("nobody holds this address: what is sent there is burnt")
    if value <= PRECOMPILE_MAX:
        raise AddressRefused("this is a program of the chain itself, not a wallet")
    if lower in TOKENS:
        raise AddressRefused("this is the contract of a token, not a wallet")
    if lower in own:
        raise AddressRefused("this address is one of the market's own")
    return to_checksum_address(lower)


def _check_tron(text: str) -> str:
    if _EVM.fullmatch(text) is not None:
        raise AddressRefused("this is an address of an EVM network, not of TRON")
    if _TRON.fullmatch(text) is None:
        raise AddressRefused("an address of TRON is a T and 33 letters of base58")
    try:
        payload = decode_check(text)
    except ValueError as error:
        raise AddressRefused(str(error)) from None
    if len(payload) != _TRON_BYTES or payload[0] != _TRON_PREFIX:
        raise AddressRefused("this is not an address of TRON's main network")
    value = int.from_bytes(payload[1:], "big")
    if value == 0:
        raise AddressRefused("nobody holds the zero address")
    if value <= PRECOMPILE_MAX:
        raise AddressRefused("this is a program of the chain itself, not a wallet")
    if text in TRON_TOKENS:
        raise AddressRefused("this is the contract of a token, not a wallet")
    return text
