"""Payments by signed authorization (EIP-3009) as they are stored, and the credit that they bring.

A payment leads from a payer's signature to credit of an account. The market has no key of the
chain: it checks an authorization and writes it down (``ledger.payments.claims``); the keeper sends
the authorization to USDC and reads its outcome from the chain (``ledger.payments.outcomes``). ::

       ┌─ failed in its block ─┐
       ▼                       │        ┌─ reorg ─┐
    verified ──── planned ──► sent ─────┴──► settled ──► final
       └───────────────────────┴──► expired   its time ran out unused
                                └──► failed    cancelled, or used for another transfer

Anyone may submit an authorization: the money comes to the same account, once. A settled payment is
credit of the payer's account, one row of ``market_credit`` for each change, so that L7 holds. A
payment for a request is **claimed** by one request at a time, and for good by the request that is
charged: a claim ends where all its sales are void.

Lock order: ``x402_payment`` before ``market_account``. Amounts are in 1e-6 USDC. Every function
takes the connection of an open transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from contracts.authorizations import Authorization
from contracts.errors import Rejected
from contracts.units import SECONDS_PER_DAY, USDC_MAX
from ledger.tables import MarketAccount, MarketCredit, X402Payment, table_of

_account = table_of(MarketAccount)
_credit = table_of(MarketCredit)
_payment = table_of(X402Payment)

OPEN: Final = ("verified", "sent")
BURNT_REST_S: Final = SECONDS_PER_DAY
"""For how long nothing is taken of a payer whose payment has failed in a block."""
SOURCE: Final = "x402"
_NUMBERS_AT_ONCE: Final = 8


class ClaimOutcome(StrEnum):
    """What came of claiming a payment for a request."""

    CLAIMED = "claimed"
    UNPAID = "unpaid"
    """The payment is not settled."""
    IN_USE = "in_use"
    """Another request is being served with the payment."""
    USED = "used"
    """A request was served with the payment."""


class PaymentConflict(Rejected):
    """The payer has used the nonce for another payment, or for another request."""


class PaymentUncovered(Rejected):
    """The payer's balance does not cover all that it has signed and that is not settled."""


class PaymentRefused(Rejected):
    """Nothing of this payer is taken for now: the text says why."""


@dataclass(frozen=True, slots=True)
class NewPayment:
    """A payment to be written down. ``account_id`` None: the account of the payer's wallet."""

    payment_id: str
    authorization: Authorization
    purpose: str
    request_digest: str
    account_id: str | None = None


@dataclass(frozen=True, slots=True)
class PaymentRecord:
    """A payment as stored."""

    payment_id: str
    account_id: str
    authorization: Authorization
    purpose: str
    request_digest: str
    state: str
    error: str | None
    failures: int
    from_block: int
    intent_id: str | None
    tx_hash: str | None
    settled_block: int | None
    credited_usdc: int
    request_id: str | None
    created_at_s: int

    @property
    def is_over(self) -> bool:
        """Whether it can never settle any more."""
        return self.state in ("failed", "expired")


def set_credit(
    connection: Connection, payment: PaymentRecord, target_usdc: int, *, now_s: int
) -> None:
    """Bring the credit that stands on a payment to ``target_usdc``, as near as what is spent lets.

    The caller has written the payment's row in this transaction, so nobody else changes it.
    """
    delta_usdc = target_usdc - payment.credited_usdc
    if delta_usdc == 0:
        return
    row = connection.execute(
        select(_account.c.credited_usdc, _account.c.spent_usdc, _account.c.reserved_usdc)
        .where(_account.c.account_id == payment.account_id)
        .with_for_update()
    ).one()
    credited_usdc, spent_usdc, reserved_usdc = (int(value) for value in row)
    delta_usdc = max(delta_usdc, spent_usdc + reserved_usdc - credited_usdc)
    if delta_usdc == 0:
        return
    if credited_usdc + delta_usdc > USDC_MAX:
        raise ValueError(f"account {payment.account_id} cannot hold so much")
    connection.execute(
        insert(_credit).values(
            credit_id=_find_credit_id(connection, payment.payment_id),
            account_id=payment.account_id,
            amount_usdc=delta_usdc,
            source=SOURCE,
            credited_at_s=now_s,
        )
    )
    connection.execute(
        update(_account)
        .where(_account.c.account_id == payment.account_id)
        .values(credited_usdc=_account.c.credited_usdc + delta_usdc)
    )
    connection.execute(
        update(_payment)
        .where(_payment.c.payment_id == payment.payment_id)
        .values(credited_usdc=payment.credited_usdc + delta_usdc)
    )


def _find_credit_id(connection: Connection, payment_id: str) -> str:
    """Return the id of a payment's next change of credit: the first number that is not taken.

    Asked by whole ids: a search for what begins alike reads all credits on some databases.
    """
    for first in count(0, _NUMBERS_AT_ONCE):
        numbers = range(first, first + _NUMBERS_AT_ONCE)
        ids = [f"{SOURCE}:{payment_id}:{number}" for number in numbers]
        found = connection.execute(select(_credit.c.credit_id).where(_credit.c.credit_id.in_(ids)))
        free = sorted(set(ids) - set(found.scalars()), key=ids.index)
        if free:
            return free[0]
    raise AssertionError("unreachable")


def get_payment(connection: Connection, payment_id: str) -> PaymentRecord:
    """Return a payment that exists."""
    found = find_one(connection, _payment.c.payment_id == payment_id)
    assert found is not None
    return found


def find_one(connection: Connection, which: Any) -> PaymentRecord | None:
    """Return the one payment for which ``which`` holds, or None."""
    row = connection.execute(select(_payment).where(which)).mappings().one_or_none()
    return None if row is None else read_payment(row)


def read_payment(row: Mapping[Any, Any]) -> PaymentRecord:
    """Return a row of ``x402_payment``."""
    authorization = Authorization(
        payer=row["payer"],
        payee=row["payee"],
        value_usdc=int(row["value_usdc"]),
        valid_after_s=int(row["valid_after_s"]),
        valid_before_s=int(row["valid_before_s"]),
        nonce=row["nonce"],
        signature=bytes.fromhex(row["signature"][2:]),
    )
    names = ("payment_id", "account_id", "purpose", "request_digest", "state", "error", "failures")
    more = ("from_block", "intent_id", "tx_hash", "settled_block", "credited_usdc", "request_id")
    values: dict[str, Any] = {name: row[name] for name in (*names, *more, "created_at_s")}
    return PaymentRecord(authorization=authorization, **values)
