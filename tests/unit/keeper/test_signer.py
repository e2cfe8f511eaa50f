"""Signing: a key in memory, in an encrypted file and in a vault of keys give the same transaction.

::

    parse_signature   r and s in DER │ padded │ anything else → SigningFailed
    lower_s           lower half → itself │ upper half → its mirror image
    find_y_parity     either parity │ another key or digest → SigningFailed
    open_keyfile      right password │ wrong password, no JSON → KeyUnreadable, silent
    open_kms          without boto3 → KeyUnreadable
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_keys.datatypes import PrivateKey
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from hypothesis import given
from hypothesis import strategies as st

from keeper.errors import KeyUnreadable, SigningFailed
from keeper.transactor.kms import (
    KmsSigner,
    find_y_parity,
    lower_s,
    open_kms,
    parse_public_key,
    parse_signature,
)
from keeper.transactor.signer import ECDSA_ORDER, LocalSigner, open_keyfile

KEY = bytes.fromhex("4c" * 32)
SPKI_PREFIX = bytes.fromhex("3056301006072a8648ce3d020106052b8104000a03420004")
TRANSACTION: dict[str, Any] = {
    "type": 2,
    "chainId": 8453,
    "nonce": 7,
    "to": to_checksum_address("0x" + "5e" * 20),
    "data": "0x1234",
    "value": 0,
    "gas": 21_000,
    "maxFeePerGas": 10**9,
    "maxPriorityFeePerGas": 10**6,
}


def encode_der(r: int, s: int) -> bytes:
    """Return (r, s) as KMS does: two signed integers, as short as they can be."""
    parts = [value.to_bytes(value.bit_length() // 8 + 1) for value in (r, s)]
    body = b"".join(bytes([0x02, len(part)]) + part for part in parts)
    return bytes([0x30, len(body)]) + body


class FakeKms:
    """KMS with one key in it; it signs in the upper half of ``s`` where told to."""

    def __init__(self, key: bytes = KEY, *, upper_half: bool = False) -> None:
        self._key = PrivateKey(key)
        self._upper_half = upper_half
        self.asked: list[Mapping[str, Any]] = []
        self.fails = False

    def get_public_key(self, *, KeyId: str) -> Mapping[str, Any]:
        assert KeyId == "alias/settler"
        return {"PublicKey": SPKI_PREFIX + self._key.public_key.to_bytes()}

    def sign(self, **request: Any) -> Mapping[str, Any]:
        if self.fails:
            raise ConnectionError("no answer")
        self.asked.append(request)
        signature = self._key.sign_msg_hash(request["Message"])
        s = ECDSA_ORDER - signature.s if self._upper_half else signature.s
        return {"Signature": encode_der(signature.r, s)}


@pytest.mark.parametrize("upper_half", [False, True])
@pytest.mark.parametrize("nonce", range(8))
def test_kms_sign__either_half_and_parity__is_what_a_local_key_signs(
    upper_half: bool, nonce: int
) -> None:
    client = FakeKms(upper_half=upper_half)
    signer = KmsSigner(client, "alias/settler")
    transaction = {**TRANSACTION, "nonce": nonce}

    signed = signer.sign(transaction)

    assert signed == LocalSigner(KEY).sign(transaction)
    assert Account.recover_transaction(signed.raw_tx) == signer.address
    assert client.asked[0]["MessageType"] == "DIGEST"
    assert client.asked[0]["SigningAlgorithm"] == "ECDSA_SHA_256"


def test_local_sign__any__decodes_to_what_was_signed() -> None:
    signed = LocalSigner(KEY).sign(TRANSACTION)

    expected = Account.sign_transaction(TRANSACTION, KEY)
    assert signed.raw_tx == expected.raw_transaction.to_0x_hex()
    assert signed.tx_hash == expected.hash.to_0x_hex()
    decoded = TypedTransaction.from_bytes(HexBytes(signed.raw_tx)).as_dict()
    assert {name: decoded[name] for name in ("chainId", "nonce", "gas", "maxFeePerGas")} == {
        name: TRANSACTION[name] for name in ("chainId", "nonce", "gas", "maxFeePerGas")
    }
    assert signed.sender == Account.from_key(KEY).address.lower()


@given(r=st.integers(1, ECDSA_ORDER - 1), s=st.integers(1, ECDSA_ORDER - 1))
def test_parse_signature__any_numbers__come_back(r: int, s: int) -> None:
    assert parse_signature(encode_der(r, s)) == (r, s)
    assert lower_s(s) in (s, ECDSA_ORDER - s)
    assert lower_s(s) <= ECDSA_ORDER // 2


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"\x30",
        b"\x30\x80",
        encode_der(1, 1)[:-1],
        encode_der(1, 1) + b"\x00",
        b"\x31" + encode_der(1, 1)[1:],
        encode_der(0, 1),
        encode_der(1, ECDSA_ORDER),
        b"\x30\x06\x02\x01\xff\x02\x01\x01",
        b"\x30\x09\x02\x01\x01\x02\x01\x01\x02\x01\x01",
    ],
)
def test_parse_signature__anything_else__is_refused(der: bytes) -> None:
    with pytest.raises(SigningFailed):
        parse_signature(der)


def test_find_y_parity__another_digest_or_key__is_refused() -> None:
    digest = b"\x01" * 32
    key = PrivateKey(KEY)
    signature = key.sign_msg_hash(digest)
    found = find_y_parity(digest, r=signature.r, s=signature.s, public_key=key.public_key)
    assert found == signature.v
    with pytest.raises(SigningFailed):
        find_y_parity(b"\x02" * 32, r=signature.r, s=signature.s, public_key=key.public_key)
    with pytest.raises(SigningFailed):
        # Not the x of any point: nothing is recovered at all.
        find_y_parity(digest, r=5, s=signature.s, public_key=key.public_key)


def test_kms__key_of_another_curve__is_refused() -> None:
    p256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004") + b"\x01" * 64
    for der in (p256, SPKI_PREFIX + b"\x01" * 63, b""):
        with pytest.raises(KeyUnreadable, match="ECC_SECG_P256K1"):
            parse_public_key(der)


def test_kms__does_not_answer__is_for_the_next_round() -> None:
    client = FakeKms()
    signer = KmsSigner(client, "alias/settler", failures=(ConnectionError,))
    client.fails = True

    with pytest.raises(SigningFailed, match="ConnectionError"):
        signer.sign(TRANSACTION)


def test_open_kms__without_boto3__says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)

    with pytest.raises(KeyUnreadable, match=r"current\[kms\]"):
        open_kms("alias/settler", region=None)


def test_open_keyfile__right_password__signs_like_the_key() -> None:
    text = json.dumps(Account.encrypt(KEY, "correct horse", iterations=2))

    assert open_keyfile(text, "correct horse").sign(TRANSACTION) == LocalSigner(KEY).sign(
        TRANSACTION
    )


@pytest.mark.parametrize("text", ["", "{}", "[]", "4c" * 32])
def test_open_keyfile__not_one__is_refused_and_shows_nothing(text: str) -> None:
    with pytest.raises(KeyUnreadable) as refused:
        open_keyfile(text, "correct horse")

    assert refused.value.__cause__ is None
    assert "4c4c" not in str(refused.value) + repr(refused.value)


def test_open_keyfile__wrong_password__is_refused_and_shows_nothing() -> None:
    text = json.dumps(Account.encrypt(KEY, "correct horse", iterations=2))

    with pytest.raises(KeyUnreadable) as refused:
        open_keyfile(text, "battery staple")

    assert "staple" not in str(refused.value)


def test_signers__repr__shows_the_address_only() -> None:
    local, kms = LocalSigner(KEY), KmsSigner(FakeKms(), "alias/settler")

    for signer in (local, kms):
        assert "4c4c" not in repr(signer) + str(signer)
        assert signer.address in repr(signer)
