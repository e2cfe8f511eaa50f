"""Terms, payments and receipts as HTTP carries them, beside the package's own reading of them.

::

    terms    both versions are what the package's models take
    payment
    ├── of either version, as the package signs it → the same authorization, signed by its payer
    ├── of other terms: network, scheme, payee, asset, amount → its reason
    ├── malformed in any field → invalid_payload
    ├── times: not yet, over, about to be over, for ever
    └── an ERC-6492 wrapping → what is inside
    digest, calldata and reasons of EIP-3009
"""

import base64
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from x402 import x402ClientSync
from x402.http.utils import (
    decode_payment_required_header,
    decode_payment_response_header,
    encode_payment_signature_header,
)
from x402.mechanisms.evm.exact import register_exact_evm_client
from x402.mechanisms.evm.signers import EthAccountSigner
from x402.schemas.v1 import PaymentRequiredV1

from contracts.authorizations import (
    TRANSFER_TOPIC,
    USED_TOPIC,
    Authorization,
    TokenDomain,
    decode_aggregate,
    encode_aggregate,
    find_marks,
    is_transfer,
    read_reason,
    read_word,
)
from contracts.signatures import ERC6492_SUFFIX
from market.payments.x402 import (
    LEFT_S_MAX,
    LEFT_S_MIN,
    Payment,
    PaymentDemand,
    PaymentInvalid,
    PaymentReceipt,
    X402Terms,
    build_receipt_headers,
    build_required_body,
    build_required_header,
    check_times,
    parse_payment,
)

PAYER: LocalAccount = Account.from_key("0x" + "41" * 32)
USDC = "0x" + "a4" * 20
PAYEE = "0x" + "a3" * 20
DOMAIN = TokenDomain("USD Coin", "2", 8_453, USDC)
TERMS = X402Terms(DOMAIN, PAYEE, timeout_s=300)
DEMAND = PaymentDemand(1_234, "http://market.test/min30/v1/chat/completions", "Inference")
NOW_S = 1_800_000_000


def make_client() -> x402ClientSync:
    client = x402ClientSync()
    register_exact_evm_client(client, EthAccountSigner(PAYER))
    return client.set_spend_controls(False)


def sign(version: int) -> str:
    """Return a payment as the package sends it."""
    if version == 2:
        required: Any = decode_payment_required_header(build_required_header(TERMS, DEMAND))
    else:
        required = PaymentRequiredV1.model_validate_json(build_required_body(TERMS, DEMAND))
    return encode_payment_signature_header(make_client().create_payment_payload(required))


def change(header: str, edit: Callable[[dict[str, Any]], object]) -> str:
    """Return a payment with something else in it."""
    body = orjson.loads(base64.b64decode(header))
    edit(body)
    return base64.b64encode(orjson.dumps(body)).decode()


def reason_of(header: str) -> str:
    with pytest.raises(PaymentInvalid) as caught:
        parse_payment(header, TERMS)
    return caught.value.reason


def test_terms__of_both_versions__are_read_by_the_package() -> None:
    second = decode_payment_required_header(build_required_header(TERMS, DEMAND))
    first = PaymentRequiredV1.model_validate_json(build_required_body(TERMS, DEMAND))

    assert second.x402_version == 2
    assert second.accepts[0].model_dump() == {
        "scheme": "exact",
        "network": "eip155:8453",
        "asset": USDC,
        "amount": "1234",
        "payTo": PAYEE,
        "maxTimeoutSeconds": 300,
        "extra": {"name": "USD Coin", "version": "2"},
    }
    assert second.resource is not None  # type: ignore[union-attr]
    assert second.resource.url == DEMAND.url  # type: ignore[union-attr]
    assert first.accepts[0].network == "base"
    assert first.accepts[0].max_amount_required == "1234"
    assert first.accepts[0].resource == DEMAND.url


def test_terms__chain_without_an_old_name__goes_by_the_new_one() -> None:
    terms = X402Terms(TokenDomain("USD Coin", "2", 31_337, USDC), PAYEE, timeout_s=300)

    assert terms.network_v1 == terms.network == "eip155:31337"


@pytest.mark.parametrize("version", [1, 2])
def test_payment__as_the_package_signs_it__is_the_payers(version: int) -> None:
    payment = parse_payment(sign(version), TERMS)

    signed = payment.authorization
    assert payment == Payment(version, signed)
    assert (signed.payer, signed.payee) == (PAYER.address.lower(), PAYEE)
    assert signed.value_usdc == 1_234
    assert signed.is_signed_by_key(DOMAIN)
    other = TokenDomain("USD Coin", "2", 8_453, "0x" + "a5" * 20)
    assert not signed.is_signed_by_key(other), "another asset"


def test_payment__without_padding__is_read() -> None:
    assert parse_payment(sign(2).rstrip("="), TERMS).version == 2


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("x402Version",), 3, "invalid_x402_version"),
        (("x402Version",), True, "invalid_x402_version"),
        (("accepted", "scheme"), "upto", "unsupported_scheme"),
        (("accepted", "network"), "eip155:1", "network_mismatch"),
        (("accepted", "network"), "base", "network_mismatch"),
        (("accepted", "asset"), "0x" + "a5" * 20, "invalid_asset"),
        (("accepted", "payTo"), USDC, "invalid_exact_evm_payload_recipient_mismatch"),
        (("accepted", "amount"), "1233", "invalid_exact_evm_payload_authorization_value_mismatch"),
        (("accepted",), [], "invalid_payload"),
        (("payload",), None, "invalid_payload"),
        (("payload", "authorization"), 1, "invalid_payload"),
        (("payload", "signature"), "0xzz", "invalid_exact_evm_payload_signature"),
        (("payload", "signature"), 1, "invalid_exact_evm_payload_signature"),
        (("payload", "authorization", "to"), USDC, "invalid_exact_evm_payload_recipient_mismatch"),
        (("payload", "authorization", "from"), "0x12", "invalid_payload"),
        (("payload", "authorization", "nonce"), "0x12", "invalid_payload"),
        (("payload", "authorization", "nonce"), 7, "invalid_payload"),
        (("payload", "authorization", "value"), "1e3", "invalid_payload"),
        (("payload", "authorization", "value"), "-1", "invalid_payload"),
        (("payload", "authorization", "value"), "\u0661", "invalid_payload"),
        (("payload", "authorization", "value"), 1.5, "invalid_payload"),
        (
            ("payload", "authorization", "value"),
            "0",
            "invalid_exact_evm_payload_authorization_value_mismatch",
        ),
        (
            ("payload", "authorization", "value"),
            str(10**15 + 1),
            "invalid_exact_evm_payload_authorization_value_mismatch",
        ),
        (
            ("payload", "authorization", "validBefore"),
            str(2**256 - 1),
            "invalid_exact_evm_payload_authorization_valid_before",
        ),
    ],
)
def test_payment__not_by_the_terms__is_refused(
    path: tuple[str, ...], value: Any, reason: str
) -> None:
    def edit(body: dict[str, Any]) -> None:
        for name in path[:-1]:
            body = body[name]
        body[path[-1]] = value

    assert reason_of(change(sign(2), edit)) == reason


@pytest.mark.parametrize(
    "header",
    ["", "%", "bm90IGpzb24=", "W10=", "bnVsbA==", "e30=" * 20_000, "é"],
)
def test_payment__no_payment_at_all__is_refused(header: str) -> None:
    assert reason_of(header) in ("invalid_payload", "invalid_x402_version")


def test_payment__of_a_wallet_to_be_deployed__is_what_is_inside() -> None:
    inner = b"\x07" * 70
    wrapped = encode(["address", "bytes", "bytes"], [PAYEE, b"deploy", inner]) + ERC6492_SUFFIX

    def edit(body: dict[str, Any]) -> None:
        body["payload"]["signature"] = "0x" + wrapped.hex()

    assert parse_payment(change(sign(2), edit), TERMS).authorization.signature == inner

    def spoil(body: dict[str, Any]) -> None:
        body["payload"]["signature"] = "0x" + ERC6492_SUFFIX.hex()

    assert reason_of(change(sign(2), spoil)) == "invalid_exact_evm_payload_signature"


@pytest.mark.parametrize(
    ("after_s", "before_s", "reason"),
    [
        (-1, LEFT_S_MIN, None),
        (-1, LEFT_S_MAX, None),
        (0, LEFT_S_MIN, "invalid_exact_evm_payload_authorization_valid_after"),
        (-1, LEFT_S_MIN - 1, "invalid_exact_evm_payload_authorization_valid_before"),
        (-1, -1, "invalid_exact_evm_payload_authorization_valid_before"),
        (-1, LEFT_S_MAX + 1, "invalid_exact_evm_payload_authorization_valid_before"),
    ],
)
def test_times__at_their_limits(after_s: int, before_s: int, reason: str | None) -> None:
    nonce = "0x" + "00" * 32
    signed = Authorization("0x", "0x", 1, NOW_S + after_s, NOW_S + before_s, nonce, b"")
    if reason is None:
        check_times(signed, now_s=NOW_S)
        return
    with pytest.raises(PaymentInvalid) as caught:
        check_times(signed, now_s=NOW_S)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("version", "name", "network"),
    [(2, "payment-response", "eip155:8453"), (1, "x-payment-response", "base")],
)
def test_receipt__of_either_version__is_read_by_the_package(
    version: int, name: str, network: str
) -> None:
    receipt = PaymentReceipt(PAYER.address.lower(), 1_234, "0x" + "01" * 32)
    headers = build_receipt_headers(TERMS, receipt, version=version)

    read = decode_payment_response_header(headers[name])
    assert (read.success, read.transaction, read.network) == (True, receipt.tx_hash, network)
    assert (read.payer, read.amount) == (receipt.payer, "1234")


def test_calldata__low_v__is_what_usdc_takes() -> None:
    signed = parse_payment(sign(2), TERMS).authorization
    low = bytes([signed.signature[64] - 27])
    same = Authorization(
        signed.payer,
        signed.payee,
        signed.value_usdc,
        signed.valid_after_s,
        signed.valid_before_s,
        signed.nonce,
        signed.signature[:64] + low,
    )

    assert same.encode_transfer() == signed.encode_transfer()
    assert same.is_signed_by_key(DOMAIN)


def test_aggregate__answer_cut_short__is_no_answer() -> None:
    assert encode_aggregate([(USDC, b"\x01")])[:4].hex() == "82ad56cb"
    with pytest.raises(ValueError, match="not an answer"):
        decode_aggregate(b"\x00" * 31)
    assert read_word((True, b"\x00" * 31)) is None
    assert read_word((False, b"\x00" * 32)) is None


def test_reason__strangers_words__are_cut_and_printable() -> None:
    def error(text: str) -> bytes:
        return bytes.fromhex("08c379a0") + encode(["string"], [text])

    assert read_reason(error("usdc: paused")) == "usdc: paused"
    assert read_reason(error("a\nb" + "x" * 500)) == "ab" + "x" * 97
    assert read_reason(b"") == "reverted without a reason"
    assert read_reason(bytes.fromhex("08c379a0") + b"\xff" * 70) == "reverted without a reason"


def test_evidence__only_the_transfer_itself__counts() -> None:
    payer, nonce = "0x" + "11" * 20, "0x" + "22" * 32
    word = "0x" + "00" * 12 + "11" * 20
    used = {"address": USDC, "topics": [USED_TOPIC, word, nonce], "data": "0x"}
    to_us = [TRANSFER_TOPIC, word, "0x" + "00" * 12 + PAYEE[2:]]
    transfer = {"address": USDC.upper().replace("0X", "0x"), "topics": to_us, "data": hex(5)}

    assert find_marks([used, transfer], token=USDC) == {(payer, nonce): used}
    assert find_marks([{**used, "address": PAYEE}], token=USDC) == {}
    parties = {"payer": payer, "payee": PAYEE}
    assert is_transfer(transfer, token=USDC, value_usdc=5, **parties)
    assert not is_transfer(transfer, token=USDC, value_usdc=6, **parties)
    assert not is_transfer(transfer, token=PAYEE, value_usdc=5, **parties)
    assert not is_transfer(transfer, token=USDC, value_usdc=5, payer=payer, payee=payer)
    assert not is_transfer(used, token=USDC, value_usdc=5, **parties)
    assert not is_transfer(None, token=USDC, value_usdc=5, **parties)
