"""What payers are told: what to pay, what has become of a payment, what it was for."""

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from contracts.authorizations import Authorization
from contracts.units import format_usdc
from ledger.payments.records import NewPayment, PaymentConflict, PaymentRecord
from market.errors import PaymentNeeded
from market.payments.x402 import (
    NONCE_USED,
    Payment,
    PaymentDemand,
    PaymentInvalid,
    PaymentReceipt,
    X402Terms,
    build_receipt_headers,
    build_required_body,
    build_required_header,
    parse_payment,
)
from serving.process.ids import new_id

CREDIT_HEADER: Final = "x-market-credit-usdc"
PAYMENT_HEADER: Final = "x-market-payment"
DESCRIPTION: Final = "Inference; what it costs less stays the payer's credit"
AT_LEAST: Final = (
    "{} USDC is the least that a payment has to move: sending less would cost more than it brings."
)
NEVER: Final = "The payment never settled: {}. Nothing was taken."
PENDING: Final = (
    "The payment is not settled yet. Send the same request with the same payment again; if it"
    " settles meanwhile, it is credit of the payer, and is not taken twice."
)


@dataclass(frozen=True, slots=True)
class Settled:
    """A payment that has settled, as the answer states it."""

    record: PaymentRecord
    version: int
    terms: X402Terms

    def build_headers(self) -> dict[str, str]:
        """Return the receipt."""
        signed = self.record.authorization
        receipt = PaymentReceipt(signed.payer, signed.value_usdc, self.record.tx_hash or "")
        headers = build_receipt_headers(self.terms, receipt, version=self.version)
        return headers | {PAYMENT_HEADER: self.record.payment_id}


def demand_at_least(demand: PaymentDemand, floor_usdc: int) -> PaymentDemand:
    """Return a demand of ``floor_usdc`` at least (1e-6 USDC), which says so where it is more."""
    if demand.amount_usdc >= floor_usdc:
        return demand
    reason = AT_LEAST.format(format_usdc(floor_usdc))
    return replace(
        demand,
        amount_usdc=floor_usdc,
        description=f"{demand.description}. {reason}",
        message=f"{demand.message} {reason}",
    )


def read_payment(
    header: str | None, terms: X402Terms
) -> tuple[Payment | None, PaymentInvalid | None]:
    """Return the payment that came, or why it cannot be read."""
    try:
        return (None if header is None else parse_payment(header, terms)), None
    except PaymentInvalid as error:
        return None, error


def digest_order(purpose: str, what: str, content: bytes) -> str:
    """Return the digest of the request that a payment is for."""
    return sha256(b"\0".join((purpose.encode(), what.encode(), content))).hexdigest()


def build_payment(
    payment: Payment, purpose: str, digest: str, account_id: str | None
) -> NewPayment:
    """Return a payment as it is written down, with an id of its own."""
    return NewPayment(new_id(), payment.authorization, purpose, digest, account_id)


def explain_invalid(error: PaymentInvalid | PaymentConflict) -> PaymentInvalid:
    """Return why a payment will not do, in the protocol's words."""
    if isinstance(error, PaymentInvalid):
        return error
    return PaymentInvalid(NONCE_USED, "The authorization was used for another request.")


def ask_for_payment(
    terms: X402Terms, demand: PaymentDemand, invalid: PaymentInvalid | None = None
) -> PaymentNeeded:
    """Return the 402 that asks for a payment, and says why the payment that came is refused."""
    if invalid is not None:
        demand = replace(demand, error=invalid.reason, message=invalid.message)
    return PaymentNeeded(
        demand.message,
        header=build_required_header(terms, demand),
        content=build_required_body(terms, demand),
    )


def describe_payment(record: PaymentRecord) -> dict[str, object]:
    """Return what a payer is told of a payment."""
    signed: Authorization = record.authorization
    return {
        "payment_id": record.payment_id,
        "purpose": record.purpose,
        "payer": signed.payer,
        "value_usdc": signed.value_usdc,
        "credited_usdc": record.credited_usdc,
        "state": record.state,
        "error": record.error,
        "transaction": record.tx_hash,
        "nonce": signed.nonce,
        "valid_before": signed.valid_before_s,
        "created_at": record.created_at_s,
    }
