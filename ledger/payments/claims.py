"""What the market does with payments: writes them down, and claims each for one request.

A payment for a request is claimed by one request at a time, and for good by the request that is
charged: a claim ends where all its sales are void. See ``ledger.payments.records``.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, func, select, union_all, update

from ledger.chain.mirror import load_mirror
from ledger.database.statements import insert_or_ignore
from ledger.payments.records import (
    BURNT_REST_S,
    OPEN,
    SOURCE,
    ClaimOutcome,
    NewPayment,
    PaymentConflict,
    PaymentRecord,
    PaymentRefused,
    PaymentUncovered,
    find_one,
    get_payment,
    read_payment,
    set_credit,
)
from ledger.selling.accounts import save_account
from ledger.tables import ApiCall, MarketCredit, MarketSale, X402Payment, table_of

_call = table_of(ApiCall)
_credit = table_of(MarketCredit)
_payment = table_of(X402Payment)
_sale = table_of(MarketSale)


def record_payment(
    connection: Connection,
    payment: NewPayment,
    *,
    new_account_id: str,
    balance_usdc: int,
    credits_now: bool,
    open_max: int,
    now_s: int,
) -> PaymentRecord:
    """Write a checked payment down, or find it; open the payer's account where there is none.

    ``balance_usdc`` is what the payer has, ``open_max`` how many payments of one payer may wait to
    settle; ``credits_now`` gives the credit before the money is there. Raises ``PaymentConflict``
    where the nonce stands for something else, ``PaymentUncovered``, and ``PaymentRefused`` where
    too many wait, or one has failed in a block within ``BURNT_REST_S``.
    """
    signed = payment.authorization
    account_id = payment.account_id or save_account(
        connection, account_id=new_account_id, kind="prepaid", wallet=signed.payer, now_s=now_s
    )
    mirror = load_mirror(connection)
    values = {
        "payment_id": payment.payment_id,
        "account_id": account_id,
        "payer": signed.payer,
        "payee": signed.payee,
        "value_usdc": signed.value_usdc,
        "valid_after_s": signed.valid_after_s,
        "valid_before_s": signed.valid_before_s,
        "nonce": signed.nonce,
        "signature": "0x" + signed.signature.hex(),
        "purpose": payment.purpose,
        "request_digest": payment.request_digest,
        "state": "verified",
        "failures": 0,
        "look_at_s": now_s,
        "from_block": 0 if mirror is None else mirror.block_number,
        "is_final": False,
        "credited_usdc": 0,
        "created_at_s": now_s,
        "updated_at_s": now_s,
    }
    is_new = insert_or_ignore(connection, _payment, values)
    stored = find_payment(connection, payer=signed.payer, nonce=signed.nonce)
    assert stored is not None
    if not is_new:
        check_same(stored, payment)
        return stored
    _check_payer(connection, signed.payer, open_max=open_max, now_s=now_s)
    promised = connection.execute(
        select(func.coalesce(func.sum(_payment.c.value_usdc), 0)).where(
            _payment.c.payer == signed.payer, _payment.c.state.in_(OPEN)
        )
    ).scalar_one()
    if int(promised) > balance_usdc:
        raise PaymentUncovered(f"{balance_usdc} does not cover {promised}")
    if credits_now:
        set_credit(connection, stored, signed.value_usdc, now_s=now_s)
        return get_payment(connection, stored.payment_id)
    return stored


def _check_payer(connection: Connection, payer: str, *, open_max: int, now_s: int) -> None:
    """Raise ``PaymentRefused`` where nothing more of a payer is taken now."""
    burnt_at_s = connection.execute(
        select(func.max(_payment.c.failed_in_block_s)).where(_payment.c.payer == payer)
    ).scalar_one()
    if burnt_at_s is not None and now_s - int(burnt_at_s) < BURNT_REST_S:
        raise PaymentRefused(
            "A payment of this payer failed in its block. Payments of this payer are refused for"
            " 24 hours from then."
        )
    waiting = connection.execute(
        select(func.count()).where(_payment.c.payer == payer, _payment.c.state.in_(OPEN))
    ).scalar_one()
    if int(waiting) > open_max:
        raise PaymentRefused(
            f"{open_max} payments of this payer wait to settle, which is the most that are taken"
            " at a time. Try again when one has settled."
        )


def check_same(stored: PaymentRecord, payment: NewPayment) -> None:
    """Raise ``PaymentConflict`` unless a payment is the stored one, for the same thing."""
    signed, ours = payment.authorization, stored.authorization
    facts = (signed.payer, signed.nonce, signed.payee, signed.value_usdc, signed.valid_after_s)
    if (
        facts != (ours.payer, ours.nonce, ours.payee, ours.value_usdc, ours.valid_after_s)
        or signed.valid_before_s != ours.valid_before_s
        or signed.signature != ours.signature
        or (payment.purpose, payment.request_digest) != (stored.purpose, stored.request_digest)
        or payment.account_id not in (None, stored.account_id)
    ):
        raise PaymentConflict("the nonce stands for another payment")


def find_payment(connection: Connection, *, payer: str, nonce: str) -> PaymentRecord | None:
    """Return the payment with a payer's nonce, or None."""
    return find_one(connection, (_payment.c.payer == payer) & (_payment.c.nonce == nonce))


def load_payments(connection: Connection, payment_ids: Iterable[str]) -> list[PaymentRecord]:
    """Return the payments that are there of those named, oldest first."""
    query = select(_payment).where(_payment.c.payment_id.in_(list(payment_ids)))
    rows = connection.execute(query.order_by(_payment.c.payment_id)).mappings()
    return [read_payment(row) for row in rows]


def load_account_payments(
    connection: Connection, account_id: str, *, limit: int
) -> list[PaymentRecord]:
    """Return the newest payments to an account, newest first."""
    query = select(_payment).where(_payment.c.account_id == account_id)
    rows = connection.execute(query.order_by(_payment.c.payment_id.desc()).limit(limit))
    return [read_payment(row) for row in rows.mappings()]


def look_again(connection: Connection, payment_id: str, *, now_s: int) -> None:
    """Have the keeper look at an open payment now: somebody waits for it."""
    connection.execute(
        update(_payment)
        .where(_payment.c.payment_id == payment_id, _payment.c.state == "verified")
        .values(error=None, look_at_s=now_s, updated_at_s=now_s)
    )


def claim_payment(
    connection: Connection,
    payment_id: str,
    *,
    request_id: str,
    now_s: int,
    until_s: int,
    holder_id: str | None = None,
) -> ClaimOutcome:
    """Claim a payment for a request until it is charged. Where it dies, the claim ends with
    its process ``holder_id``, at the latest at ``until_s``.

    Only a payment that is settled, or was credited before that, can be claimed.
    """
    row = connection.execute(
        select(
            _payment.c.credited_usdc,
            _payment.c.request_id,
            _payment.c.claimed_until_s,
        )
        .where(_payment.c.payment_id == payment_id)
        .with_for_update()
    ).one()
    credited_usdc, claimed_by, claimed_until_s = row
    if int(credited_usdc) == 0:
        return ClaimOutcome.UNPAID
    if claimed_by is not None:
        states = set(
            connection.execute(
                union_all(
                    *(
                        select(sold.c.state).where(sold.c.request_id == claimed_by)
                        for sold in (_sale, _call)
                    )
                )
            ).scalars()
        )
        if "posted" in states:
            return ClaimOutcome.USED
        if "reserved" in states or int(claimed_until_s) > now_s:
            return ClaimOutcome.IN_USE
    connection.execute(
        update(_payment)
        .where(_payment.c.payment_id == payment_id)
        .values(
            request_id=request_id, claimed_until_s=until_s, holder_id=holder_id, updated_at_s=now_s
        )
    )
    return ClaimOutcome.CLAIMED


def release_payment(
    connection: Connection, payment_id: str, *, request_id: str, now_s: int
) -> None:
    """End a request's claim. Its sales still count: one that is posted keeps the payment used."""
    connection.execute(
        update(_payment)
        .where(_payment.c.payment_id == payment_id, _payment.c.request_id == request_id)
        .values(claimed_until_s=now_s, holder_id=None, updated_at_s=now_s)
    )


def release_claims_of(connection: Connection, holder_id: str, *, now_s: int) -> int:
    """End the claims of a dead process; return how many. Their sales still count."""
    return connection.execute(
        update(_payment)
        .where(_payment.c.holder_id == holder_id, _payment.c.claimed_until_s > now_s)
        .values(claimed_until_s=now_s, holder_id=None, updated_at_s=now_s)
    ).rowcount


def find_payment_mismatches(connection: Connection) -> list[tuple[str, str]]:
    """Return payments whose credit is not what their rows of ``market_credit`` add up to (L7)."""
    is_of_payment = _credit.c.credit_id.like(SOURCE + ":" + _payment.c.payment_id + ":%")
    booked = select(func.coalesce(func.sum(_credit.c.amount_usdc), 0)).where(
        _credit.c.account_id == _payment.c.account_id, is_of_payment
    )
    rows = connection.execute(
        select(
            _payment.c.payment_id,
            _payment.c.state,
            _payment.c.value_usdc,
            _payment.c.credited_usdc,
            booked.scalar_subquery(),
        )
    )
    return [
        (f"payment {payment_id}", f"{state}, of {value}, credited {credited}, booked {rows_say}")
        for payment_id, state, value, credited, rows_say in rows
        if int(credited) != int(rows_say) or (state == "settled" and int(credited) != int(value))
    ]
