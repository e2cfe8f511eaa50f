"""Wallet signatures, with real wallets; contract wallets answer from a table.

::

    is_signed_by
    ├── EOA: its signature, v as 0/1 or 27/28; another's, another text
    ├── ERC-1271: the wallet's word, padded or not; no code; a revert
    └── ERC-6492: before or after deployment; malformed
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import encode_defunct
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import Retryable
from contracts.node_errors import NodeRefused, NodeUnavailable
from contracts.reader import ChainReader
from contracts.signature_checker import SignatureChecker
from contracts.signatures import (
    ERC1271_MAGIC,
    ERC6492_SUFFIX,
    parse_signature,
    unwrap_counterfactual,
)
from proxy.keys.key_message import (
    build_key_message,
    is_before_revocation,
    is_timestamp_current,
)

OWNER = Account.from_key("0x" + "11" * 32)
OUTSIDER = Account.from_key("0x" + "22" * 32)
WALLET = "0x" + "c0" * 20
FACTORY = "0x" + "fa" * 20
MULTICALL3 = "0x" + "a5" * 20
TEXT = build_key_message(token_id=0, timestamp_ms=1_700_000_000_000)
MAGIC = ERC1271_MAGIC + bytes(28)


class FakeNode:
    """Answers ``eth_call`` from a function of (to, data); counts the calls. Knows who has code."""

    def __init__(self, answer: Callable[[str, bytes], bytes], deployed: Sequence[str]) -> None:
        self.calls = 0
        self._answer = answer
        self._deployed = deployed

    def request(self, method: str, params: list[Any]) -> str:
        call, block = params
        if method == "eth_getCode":
            return "0x60" if call.lower() in self._deployed else "0x"
        assert (method, block) == ("eth_call", "latest")
        self.calls += 1
        return "0x" + self._answer(call["to"].lower(), bytes.fromhex(call["data"][2:])).hex()


def make_checker(
    answer: Callable[[str, bytes], bytes] = lambda *_: b"", *, deployed: Sequence[str] = ()
) -> Any:
    node: Any = FakeNode(answer, deployed)
    return SignatureChecker(ChainReader(node), multicall3=MULTICALL3), node


def sign(account: Any, text: str = TEXT) -> bytes:
    return bytes(account.sign_message(encode_defunct(text=text)).signature)


def test_message__is_the_exact_text() -> None:
    assert TEXT == "Issue Current API key for token 0 at 1700000000000"


def test_eoa__owner__needs_no_chain() -> None:
    checker, node = make_checker()

    assert checker.is_signed_by(OWNER.address, TEXT, sign(OWNER))
    assert checker.is_signed_by(OWNER.address.lower(), TEXT, sign(OWNER))
    assert node.calls == 0


def test_eoa__v_of_0_or_1__is_normalised() -> None:
    checker, _ = make_checker()
    signature = sign(OWNER)

    assert checker.is_signed_by(OWNER.address, TEXT, signature[:64] + bytes([signature[64] - 27]))


@pytest.mark.parametrize(
    ("text", "signature"),
    [
        (TEXT, sign(OUTSIDER)),
        (TEXT + " ", sign(OWNER)),
        (TEXT, sign(OWNER)[:64]),
        (TEXT, sign(OWNER)[:64] + b"\x25"),
        (TEXT, bytes(65)),
        (TEXT, b"\xff" * 65),
        (TEXT, sign(OWNER) + b"\0"),
    ],
)
def test_eoa__not_the_owner__is_refused(text: str, signature: bytes) -> None:
    checker, _ = make_checker()

    assert not checker.is_signed_by(OWNER.address, text, signature)


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        (MAGIC, True),
        (MAGIC + bytes(32), True),
        (ERC1271_MAGIC, False),
        (b"", False),
        (bytes(32), False),
        (ERC1271_MAGIC + b"\x01" * 28, False),
        (bytes(28) + ERC1271_MAGIC, False),
    ],
)
def test_erc1271__answer__decides(answer: bytes, valid: bool) -> None:
    checker, _ = make_checker(lambda to, _: answer if to == WALLET else b"")

    assert checker.is_signed_by(WALLET, TEXT, b"any length at all") is valid


def test_erc1271__revert__is_refused() -> None:
    def revert(*_: object) -> bytes:
        raise NodeRefused(3, "execution reverted: no")

    checker, _ = make_checker(revert)

    assert not checker.is_signed_by(WALLET, TEXT, b"x")


def test_erc1271__node_down__is_retryable() -> None:
    def fail(*_: object) -> bytes:
        raise NodeUnavailable("refused")

    checker, _ = make_checker(fail)

    with pytest.raises(Retryable):
        checker.is_signed_by(WALLET, TEXT, b"x")


def wrap(inner: bytes) -> bytes:
    return encode(["address", "bytes", "bytes"], [FACTORY, b"deploy", inner]) + ERC6492_SUFFIX


@pytest.mark.parametrize(
    ("results", "valid"),
    [
        ([(True, b""), (True, MAGIC)], True),
        ([(False, b""), (True, MAGIC)], True),
        ([(True, b""), (True, b"")], False),
        ([(True, MAGIC), (True, b"")], False),
        ([(True, b""), (False, MAGIC)], False),
        ([(True, MAGIC)], False),
    ],
)
def test_erc6492__no_code__asked_after_its_deployment(
    results: list[tuple[bool, bytes]], valid: bool
) -> None:
    answer = encode(["(bool,bytes)[]"], [results])
    checker, node = make_checker(lambda to, _: answer if to == MULTICALL3 else b"")

    assert checker.is_signed_by(WALLET, TEXT, wrap(b"inner")) is valid
    assert node.calls == 1


@pytest.mark.parametrize(("inner", "valid"), [(b"inner", True), (b"other", False)])
def test_erc6492__deployed__judges_the_inner_one_and_no_factory_is_called(
    inner: bytes, valid: bool
) -> None:
    asked: list[str] = []

    def answer(to: str, data: bytes) -> bytes:
        asked.append(to)
        return MAGIC if b"inner" in data else b""

    checker, _ = make_checker(answer, deployed=[WALLET])

    assert checker.is_signed_by(WALLET, TEXT, wrap(inner)) is valid
    assert asked == [WALLET]


@pytest.mark.parametrize("body", [b"", b"x", bytes(96), b"\xff" * 96, wrap(b"")[:-33]])
def test_erc6492__malformed__is_refused(body: bytes) -> None:
    checker, _ = make_checker()

    assert not checker.is_signed_by(WALLET, TEXT, body + ERC6492_SUFFIX)


@given(st.binary(max_size=300))
def test_unwrap__any_bytes__never_raises(body: bytes) -> None:
    unwrap_counterfactual(body + ERC6492_SUFFIX)


def test_parse_signature__empty__is_for_the_wallet_to_judge() -> None:
    assert parse_signature("0x") == b""


@pytest.mark.parametrize(
    "text", ["", "0xabc", "abc", "0x0xab", "0xzz", "0x" + "ab" * 9_000, "0x a"]
)
def test_parse_signature__not_hex__is_none(text: str) -> None:
    assert parse_signature(text) is None


@pytest.mark.parametrize("text", ["0xabCD", "0XabCD", "abCD"])
def test_parse_signature__with_or_without_a_prefix__is_the_same(text: str) -> None:
    assert parse_signature(text) == b"\xab\xcd"


@pytest.mark.parametrize(
    ("distance_ms", "expected"),
    [(0, True), (-300_000, True), (-300_001, False), (30_000, True), (30_001, False)],
)
def test_timestamp__five_minutes_old_or_thirty_seconds_ahead(
    distance_ms: int, expected: bool
) -> None:
    now_ms = 1_700_000_000_000
    assert is_timestamp_current(now_ms + distance_ms, now_ms=now_ms) is expected


@pytest.mark.parametrize(
    ("signed_at_ms", "revoked_at_s", "expected"),
    [
        (99_999, 100, True),
        (100_000, 100, False),
        (99_999, 0, False),
        (199_999, 201, True),
        (229_999, 230, True),  # a wallet's clock may be ahead as far as a block's
        (230_000, 230, False),
        (99_999, 231, False),  # a chain further ahead says nothing of the order
    ],
)
def test_revocation__only_what_was_signed_before_it__is_refused(
    signed_at_ms: int, revoked_at_s: int, expected: bool
) -> None:
    assert is_before_revocation(signed_at_ms, revoked_at_s=revoked_at_s, now_s=200.0) is expected
