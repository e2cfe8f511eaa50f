"""Addresses that suppliers are paid at: what is refused, and why.

::

    EVM    checksum by EIP-55, or all lower case; no zero, precompile, token, nor our own
    TRON   base58check, first byte 0x41, its own zero address
    both   an address of the other kind is named as such
"""

import pytest

from market.suppliers.base58 import decode_check
from market.suppliers.payout_addresses import AddressRefused, Network, check_address

WALLET = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
TRON = "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8"
OURS = "0x" + "a3" * 20


@pytest.mark.parametrize("network", [Network.BASE, Network.ERC20, Network.BEP20])
@pytest.mark.parametrize("text", [WALLET, WALLET.lower()])
def test_check_address__evm__is_kept_with_its_checksum(network: Network, text: str) -> None:
    assert check_address(network, text) == WALLET


def test_check_address__tron__is_kept_as_it_is() -> None:
    assert check_address(Network.TRC20, TRON) == TRON


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "EIP-55"),
        ("0x" + WALLET[2:].upper(), "EIP-55"),
        ("0x" + "0" * 40, "zero address"),
        ("0x" + "0" * 39 + "9", "program of the chain"),
        ("0x" + "0" * 37 + "100", "program of the chain"),
        ("0x000000000000000000000000000000000000dEaD", "burnt"),
        ("0xdAC17F958D2ee523a2206206994597C13D831ec7", "token"),
        ("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", "token"),
        (OURS, "market's own"),
        (TRON, "TRON"),
        (WALLET[:-1], "40 hexadecimal"),
        (WALLET + "0", "40 hexadecimal"),
        (WALLET[2:], "40 hexadecimal"),
        (f" {WALLET}", "40 hexadecimal"),
        (f"{WALLET}\n", "40 hexadecimal"),
        ("", "40 hexadecimal"),
    ],
)
def test_check_address__evm_that_cannot_be_paid__is_refused(text: str, reason: str) -> None:
    with pytest.raises(AddressRefused, match=reason):
        check_address(Network.ERC20, text, own={OURS})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb", "zero address"),
        ("TJRabPrwbZy45sbavfcjinPJC18kjpRTv9", "checksum"),
        ("TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", "token"),
        ("T9yD14Nj9j7xAB4dbGeiX9h8unkLG5AT1X", "program of the chain"),
        (WALLET, "EVM"),
        (TRON.lower(), "base58"),
        (TRON[:-1], "33 letters"),
        (TRON + "1", "33 letters"),
        ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "33 letters"),
        ("T0000000000000000000000000000000OI", "33 letters"),
    ],
)
def test_check_address__tron_that_cannot_be_paid__is_refused(text: str, reason: str) -> None:
    with pytest.raises(AddressRefused, match=reason):
        check_address(Network.TRC20, text)


def test_check_address__first_byte_of_another_network__is_refused() -> None:
    shasta = "27P5XkQGiwDBfBKNQyp1RBVCHoPxSiLnnsu"

    with pytest.raises(AddressRefused):
        check_address(Network.TRC20, shasta)


def test_decode_check__of_bitcoins_first_address__is_its_hash() -> None:
    assert decode_check("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa").hex() == (
        "0062e907b15cbf27d5425399ebf6f0fb50ebb88f18"
    )


@pytest.mark.parametrize("text", ["", "1", "1111", "0", "I", "é", "z" * 129])
def test_decode_check__of_what_is_none__is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        decode_check(text)
