"""x402: payment terms, signed payments and receipts, as HTTP carries them. Pure.

Version 2 has all of it in headers, base64 of JSON: ``PAYMENT-REQUIRED`` (what is asked for),
``PAYMENT-SIGNATURE`` (what was signed), ``PAYMENT-RESPONSE`` (the receipt). Version 1 has the terms
in the body of the 402, and ``X-PAYMENT``, ``X-PAYMENT-RESPONSE``. Both are served: a 402 has the
terms of version 2 in its header and terms of version 1 in its body.

Only the scheme ``exact`` by EIP-3009: the payer signs one transfer of USDC over exactly the amount.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from contracts.authorizations import VALUE_USDC_MAX, Authorization, TokenDomain
from contracts.signatures import ERC6492_SUFFIX, parse_signature, unwrap_counterfactual
from contracts.units import USDC_MAX

SCHEME: Final = "exact"
HEADER_LENGTH_MAX: Final = 32_768
LEFT_S_MIN: Final = 20
"""For how long a payment must still be valid: it has to get into a block."""

LEFT_S_MAX: Final = 3_600 + 60
"""For how long it may be: what waits longer would be forgotten by its payer."""

VALUE_MISMATCH: Final = "invalid_exact_evm_payload_authorization_value_mismatch"
INVALID_SIGNATURE: Final = "invalid_exact_evm_payload_signature"
NONCE_USED: Final = "invalid_exact_evm_nonce_already_used"
INSUFFICIENT_FUNDS: Final = "invalid_exact_evm_insufficient_balance"
SIMULATION_FAILED: Final = "invalid_exact_evm_transaction_simulation_failed"
PAYER_REFUSED: Final = "payer_refused"
"""A word of ours: the protocol has none for a payer whom this seller does not serve now."""
_VALID_BEFORE: Final = "invalid_exact_evm_payload_authorization_valid_before"
_VALID_AFTER: Final = "invalid_exact_evm_payload_authorization_valid_after"
_RECIPIENT: Final = "invalid_exact_evm_payload_recipient_mismatch"

NETWORKS_V1: Final[Mapping[int, str]] = {
    1: "ethereum",
    137: "polygon",
    8_453: "base",
    43_113: "avalanche-fuji",
    43_114: "avalanche",
    80_002: "polygon-amoy",
    84_532: "base-sepolia",
}
"""What version 1 calls chains; others go by the name of version 2."""

_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_NONCE: Final = re.compile(r"0x[0-9a-fA-F]{64}")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,77}")


class PaymentInvalid(Exception):
    """A payment cannot be taken. ``reason`` is the protocol's word, ``message`` for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class X402Terms:
    """The payee and the token of payments. ``payee`` is 0x hex in lower case."""

    domain: TokenDomain
    payee: str
    timeout_s: int
    """How long a payment is to be valid."""

    @property
    def network(self) -> str:
        """The chain, by CAIP-2."""
        return f"eip155:{self.domain.chain_id}"

    @property
    def network_v1(self) -> str:
        """The chain as version 1 calls it."""
        return NETWORKS_V1.get(self.domain.chain_id, self.network)


@dataclass(frozen=True, slots=True)
class PaymentDemand:
    """The payment that one 402 asks for. ``error`` says why a payment that was sent is refused."""

    amount_usdc: int
    url: str
    description: str
    error: str = "payment_required"
    message: str = "Payment required."
    extensions: Mapping[str, Any] = field(default_factory=dict)
    """Of version 2, by their names."""


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as it was sent: not checked against anything yet."""

    version: int
    authorization: Authorization


@dataclass(frozen=True, slots=True)
class PaymentReceipt:
    """The outcome of a payment. ``tx_hash`` is empty while it is in no block."""

    payer: str
    amount_usdc: int
    tx_hash: str
    success: bool = True
    error: str | None = None


# ------------------------------------------------------------------------------------------- terms


def build_accepts(terms: X402Terms, amount_usdc: int) -> list[dict[str, Any]]:
    """Return how an amount (1e-6 USDC) may be paid, as version 2 states it."""
    domain = terms.domain
    return [
        {
            "scheme": SCHEME,
            "network": terms.network,
            "asset": domain.token,
            "amount": str(amount_usdc),
            "payTo": terms.payee,
            "maxTimeoutSeconds": terms.timeout_s,
            "extra": {"name": domain.name, "version": domain.version},
        }
    ]


def build_required_header(terms: X402Terms, demand: PaymentDemand) -> str:
    """Return the header of a 402 that asks for a payment: version 2."""
    return _encode(
        {
            "x402Version": 2,
            "error": demand.error,
            "resource": {
                "url": demand.url,
                "description": demand.description,
                "mimeType": "application/json",
            },
            "accepts": build_accepts(terms, demand.amount_usdc),
            **({"extensions": demand.extensions} if demand.extensions else {}),
        }
    )


def build_required_body(terms: X402Terms, demand: PaymentDemand) -> bytes:
    """Return the body of the same 402: version 1, and words for people."""
    domain = terms.domain
    return orjson.dumps(
        {
            "x402Version": 1,
            "error": demand.error,
            "message": demand.message,
            "accepts": [
                {
                    "scheme": SCHEME,
                    "network": terms.network_v1,
                    "maxAmountRequired": str(demand.amount_usdc),
                    "resource": demand.url,
                    "description": demand.description,
                    "mimeType": "application/json",
                    "payTo": terms.payee,
                    "maxTimeoutSeconds": terms.timeout_s,
                    "asset": domain.token,
                    "extra": {"name": domain.name, "version": domain.version},
                }
            ],
        }
    )


def build_receipt_headers(
    terms: X402Terms, receipt: PaymentReceipt, *, version: int
) -> dict[str, str]:
    """Return the receipt as the version of the payment has it."""
    body: dict[str, Any] = {
        "success": receipt.success,
        "transaction": receipt.tx_hash,
        "network": terms.network if version == 2 else terms.network_v1,
        "payer": receipt.payer,
        "amount": str(receipt.amount_usdc),
    }
    if receipt.error is not None:
        body["errorReason"] = receipt.error
    return {"payment-response" if version == 2 else "x-payment-response": _encode(body)}


def _encode(value: Mapping[str, Any]) -> str:
    return b64encode(orjson.dumps(value)).decode("ascii")


# ---------------------------------------------------------------------------------------- payments


def parse_payment(header: str, terms: X402Terms) -> Payment:
    """Return the payment of a header, by these terms. Raises ``PaymentInvalid``.

    Its amount, its times and its signature are not looked at here.
    """
    body = _decode(header)
    version = body.get("x402Version")
    if type(version) is not int or version not in (1, 2):
        raise PaymentInvalid("invalid_x402_version", "x402Version must be 1 or 2.")
    accepted = body if version == 1 else _read_mapping(body, "accepted")
    if accepted.get("scheme") != SCHEME:
        raise PaymentInvalid("unsupported_scheme", f"Only the scheme {SCHEME!r} is taken.")
    networks = (terms.network,) if version == 2 else (terms.network, terms.network_v1)
    if accepted.get("network") not in networks:
        raise PaymentInvalid("network_mismatch", f"Pay on {terms.network}.")
    payload = _read_mapping(body, "payload")
    authorization = _read_authorization(payload)
    if authorization.payee != terms.payee:
        raise PaymentInvalid(_RECIPIENT, f"Pay to {terms.payee}.")
    if version == 2:
        _check_accepted(accepted, authorization, terms)
    return Payment(version, authorization)


def check_times(authorization: Authorization, *, now_s: int) -> None:
    """Raise ``PaymentInvalid`` unless a payment is valid now and will be for long enough."""
    if authorization.valid_after_s >= now_s:
        raise PaymentInvalid(_VALID_AFTER, "The payment is not valid yet.")
    left_s = authorization.valid_before_s - now_s
    if left_s < LEFT_S_MIN:
        raise PaymentInvalid(_VALID_BEFORE, "The payment has expired, or is about to.")
    if left_s > LEFT_S_MAX:
        message = f"The payment must not be valid for longer than {LEFT_S_MAX} seconds."
        raise PaymentInvalid(_VALID_BEFORE, message)


def _check_accepted(
    accepted: Mapping[str, Any], authorization: Authorization, terms: X402Terms
) -> None:
    """Raise ``PaymentInvalid`` unless the terms that were accepted are these and what was signed.

    The signed values decide; terms that differ from them were misunderstood by the client.
    """
    if str(accepted.get("asset")).lower() != terms.domain.token:
        raise PaymentInvalid("invalid_asset", f"Pay in {terms.domain.token}.")
    if str(accepted.get("payTo")).lower() != terms.payee:
        raise PaymentInvalid(_RECIPIENT, f"Pay to {terms.payee}.")
    if accepted.get("amount") != str(authorization.value_usdc):
        raise PaymentInvalid(VALUE_MISMATCH, "Sign exactly the amount that is asked for.")


def _decode(header: str) -> Mapping[str, Any]:
    try:
        if len(header) > HEADER_LENGTH_MAX:
            raise ValueError("too long")
        # Some leave the padding out.
        body = orjson.loads(b64decode(header + "=" * (-len(header) % 4), validate=True))
    except (Base64Error, ValueError):
        raise _malformed("The payment header is not base64 of JSON.") from None
    if not isinstance(body, dict):
        raise _malformed("The payment is not a JSON object.")
    return body


def _read_authorization(payload: Mapping[str, Any]) -> Authorization:
    fields = _read_mapping(payload, "authorization")
    text = payload.get("signature")
    # The payload's scheme writes the prefix. A number of 5,000 digits is no signature.
    is_prefixed = isinstance(text, str) and text.startswith("0x")
    signature = parse_signature(str(text)) if is_prefixed else None
    if signature is None:
        raise PaymentInvalid(INVALID_SIGNATURE, "The signature must be 0x hex.")
    if signature.endswith(ERC6492_SUFFIX):
        # USDC asks a wallet that is there, not one to be deployed: what is inside is for it.
        unwrapped = unwrap_counterfactual(signature)
        if unwrapped is None:
            raise PaymentInvalid(INVALID_SIGNATURE, "The ERC-6492 signature is malformed.")
        signature = unwrapped.signature
    value_usdc = _read_number(fields, "value")
    if not 0 < value_usdc <= VALUE_USDC_MAX:
        raise PaymentInvalid(VALUE_MISMATCH, "Sign exactly the amount that is asked for.")
    return Authorization(
        payer=_read_text(fields, "from", _ADDRESS),
        payee=_read_text(fields, "to", _ADDRESS),
        value_usdc=value_usdc,
        valid_after_s=_bound(_read_number(fields, "validAfter")),
        valid_before_s=_bound(_read_number(fields, "validBefore")),
        nonce=_read_text(fields, "nonce", _NONCE),
        signature=signature,
    )


def _bound(time_s: int) -> int:
    if time_s > USDC_MAX:
        raise PaymentInvalid(_VALID_BEFORE, "The payment's times are out of range.")
    return time_s


def _read_mapping(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if not isinstance(value, dict):
        raise _malformed(f"The payment lacks {name!r}.")
    return value


def _read_text(fields: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise _malformed(f"The authorization's {name!r} is malformed.")
    return value.lower()


def _read_number(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if type(value) is int and value >= 0:
        return value
    if not isinstance(value, str) or _NUMBER.fullmatch(value) is None:
        raise _malformed(f"The authorization's {name!r} is malformed.")
    return int(value)


def _malformed(message: str) -> PaymentInvalid:
    return PaymentInvalid("invalid_payload", message)
