"""Unused credit that wallets take back: out of their accounts, into payouts that the keeper pays.

A withdrawal and its payout are written in one transaction, before anything is sent: a payout of the
market like a seller's, by the same id, in a batch that pays once. So a process may die at any
moment, and a message that comes twice is one withdrawal, by its nonce.

What may be withdrawn is unused, was paid in by x402, and is in blocks that no reorg takes back any
more: never what an operator has given as credit, nor a payment whose block may still go.

Lock order: ``market_account``, then the rows of the withdrawal. Amounts are in 1e-6 USDC.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, func, insert, not_, select, update

from contracts.errors import Rejected
from ledger.selling.lost_payouts import LOST_PREFIX
from ledger.tables import (
    Block,
    MarketAccount,
    MarketCredit,
    MarketPayout,
    MarketWithdrawal,
    PayoutBatch,
    PayoutItem,
    X402Payment,
    table_of,
)

_account = table_of(MarketAccount)
_batch = table_of(PayoutBatch)
_block = table_of(Block)
_credit = table_of(MarketCredit)
_item = table_of(PayoutItem)
_payment = table_of(X402Payment)
_payout = table_of(MarketPayout)
_withdrawal = table_of(MarketWithdrawal)

SOURCE: Final = "withdrawal"
LOST_SOURCE: Final = "lost_withdrawal"
"""Of a restored ledger: what left an account for a payout whose withdrawal is lost."""


class WithdrawalRefused(Rejected):
    """There is not so much to withdraw. ``available_usdc`` is what there is, ``young_usdc`` what
    may come to it once its blocks are final."""

    def __init__(self, available_usdc: int, young_usdc: int) -> None:
        super().__init__(f"{available_usdc} can be withdrawn, {young_usdc} is not final")
        self.available_usdc = available_usdc
        self.young_usdc = young_usdc


@dataclass(frozen=True, slots=True)
class SignedWithdrawal:
    """A withdrawal as its wallet has signed it. ``amount_usdc`` None: all that there is."""

    withdrawal_id: str
    wallet: str
    amount_usdc: int | None
    fee_usdc: int
    nonce: str


@dataclass(frozen=True, slots=True)
class Withdrawable:
    """What of an account may be withdrawn now, and what is not final yet."""

    available_usdc: int
    young_usdc: int


@dataclass(frozen=True, slots=True)
class TakenBack:
    """Credit that a restore took out of an account, as its wallet was paid it. In 1e-6 USDC."""

    account_id: str
    wallet: str
    amount_usdc: int


@dataclass(frozen=True, slots=True)
class WaitingWithdrawals:
    """Withdrawals that the keeper has put into no batch yet. ``oldest_at_s`` None: none waits."""

    count: int
    oldest_at_s: int | None


@dataclass(frozen=True, slots=True)
class WithdrawalRecord:
    """A withdrawal, and how far its payout has come."""

    withdrawal_id: str
    account_id: str
    wallet: str
    amount_usdc: int
    fee_usdc: int
    requested_at_s: int
    state: str
    """``planned``, ``sent``, ``paid``; ``credited`` where the wallet could not be paid, and claims
    it from the payouts contract."""
    tx_hash: str | None


def withdraw(
    connection: Connection, wish: SignedWithdrawal, *, minimum_usdc: int, now_s: int
) -> str:
    """Take credit out of a wallet's account into a payout; return the withdrawal's id.

    A nonce that was used returns the withdrawal that it made. Raises ``WithdrawalRefused`` where
    less than ``minimum_usdc`` beside the fee, or than the amount that is wished, can be paid.
    """
    account_id = connection.execute(
        select(_account.c.account_id).where(_account.c.wallet == wish.wallet).with_for_update()
    ).scalar_one_or_none()
    if account_id is None:
        raise WithdrawalRefused(0, 0)
    # Under the account's lock: two messages are two withdrawals, one after the other.
    made = connection.execute(
        select(_withdrawal.c.withdrawal_id).where(_withdrawal.c.nonce == wish.nonce)
    ).scalar_one_or_none()
    if made is not None:
        return str(made)
    found = load_withdrawable(connection, account_id)
    amount_usdc = found.available_usdc if wish.amount_usdc is None else wish.amount_usdc
    least_usdc = max(1, minimum_usdc) + wish.fee_usdc
    if amount_usdc > found.available_usdc or amount_usdc < least_usdc:
        raise WithdrawalRefused(found.available_usdc, found.young_usdc)
    connection.execute(
        update(_account)
        .where(_account.c.account_id == account_id)
        .values(credited_usdc=_account.c.credited_usdc - amount_usdc)
    )
    row = {**asdict(wish), "account_id": account_id, "amount_usdc": amount_usdc}
    connection.execute(insert(_withdrawal).values(**row, requested_at_s=now_s))
    connection.execute(
        insert(_credit).values(
            credit_id=f"{SOURCE}:{wish.withdrawal_id}",
            account_id=account_id,
            amount_usdc=-amount_usdc,
            source=SOURCE,
            credited_at_s=now_s,
        )
    )
    connection.execute(
        insert(_payout).values(
            payout_id=wish.withdrawal_id,
            seller=account_id,
            payee=wish.wallet,
            amount_usdc=amount_usdc - wish.fee_usdc,
            planned_at_s=now_s,
        )
    )
    return wish.withdrawal_id


def take_back_lost(
    connection: Connection, *, payout_id: str, payee: str, amount_usdc: int, now_s: int
) -> TakenBack | None:
    """Take out of an account what its wallet was paid by a payout ``lost-…``; say what, or None.

    A withdrawal that the backup does not know is all that pays an account's wallet for nothing that
    it sold. At most what could have been withdrawn is taken: free, paid in for good, and not
    withdrawn by a record that is left. Once for each payout.
    """
    row = connection.execute(
        select(_account.c.account_id, _account.c.wallet)
        .where(func.lower(_account.c.wallet) == payee)
        .with_for_update()
    ).one_or_none()
    credit_id = f"{LOST_SOURCE}:{payout_id}"
    is_booked = select(_credit.c.credit_id).where(_credit.c.credit_id == credit_id)
    if row is None or connection.execute(is_booked).scalar() is not None:
        return None
    account_id, wallet = str(row[0]), str(row[1])
    free_usdc = connection.execute(
        select(_account.c.credited_usdc - _account.c.spent_usdc - _account.c.reserved_usdc).where(
            _account.c.account_id == account_id
        )
    ).scalar_one()
    is_its = _payment.c.account_id == account_id
    paid_in_usdc = _sum(connection, _payment.c.credited_usdc, is_its & _is_final())
    gone_usdc = -_sum(
        connection,
        _credit.c.amount_usdc,
        (_credit.c.account_id == account_id) & _credit.c.source.in_((SOURCE, LOST_SOURCE)),
    )
    taken_usdc = min(int(free_usdc), paid_in_usdc - gone_usdc, amount_usdc)
    if taken_usdc <= 0:
        return None
    connection.execute(
        update(_account)
        .where(_account.c.account_id == account_id)
        .values(credited_usdc=_account.c.credited_usdc - taken_usdc)
    )
    connection.execute(
        insert(_credit).values(
            credit_id=credit_id,
            account_id=account_id,
            amount_usdc=-taken_usdc,
            source=LOST_SOURCE,
            credited_at_s=now_s,
        )
    )
    return TakenBack(account_id, wallet, taken_usdc)


def load_withdrawable(connection: Connection, account_id: str) -> Withdrawable:
    """Return what of an account may be withdrawn now."""
    free_usdc = connection.execute(
        select(_account.c.credited_usdc - _account.c.spent_usdc - _account.c.reserved_usdc).where(
            _account.c.account_id == account_id
        )
    ).scalar_one()
    is_its = _payment.c.account_id == account_id
    young_usdc = _sum(connection, _payment.c.credited_usdc, is_its & not_(_is_final()))
    final_usdc = _sum(connection, _payment.c.credited_usdc, is_its & _is_final())
    withdrawn_usdc = _sum(
        connection, _withdrawal.c.amount_usdc, _withdrawal.c.account_id == account_id
    )
    # Of a restored ledger: what its wallet was paid for something that is lost may have been this.
    # What of it has left the account already is in ``free_usdc`` no more.
    taken_usdc = -_sum(
        connection,
        _credit.c.amount_usdc,
        (_credit.c.account_id == account_id) & (_credit.c.source == LOST_SOURCE),
    )
    lost_usdc = _sum(
        connection,
        _payout.c.amount_usdc,
        _payout.c.payout_id.like(f"{LOST_PREFIX}%")
        & _payout.c.payee.in_(select(_account.c.wallet).where(_account.c.account_id == account_id)),
    )
    left_usdc = final_usdc - withdrawn_usdc - lost_usdc
    unbooked_usdc = max(0, lost_usdc - taken_usdc)
    available_usdc = min(int(free_usdc) - young_usdc - unbooked_usdc, left_usdc)
    return Withdrawable(max(0, available_usdc), young_usdc)


def _is_final() -> ColumnElement[bool]:
    """Whether the block of a payment stays: it is deep enough, and not one that a reorg took."""
    is_gone = (
        select(_block.c.number)
        .where(
            _block.c.number == _payment.c.settled_block,
            _block.c.block_hash != _payment.c.settled_block_hash,
        )
        .exists()
    )
    return and_(_payment.c.state == "settled", _payment.c.is_final.is_(True), not_(is_gone))


def _sum(connection: Connection, column: ColumnElement[int], which: ColumnElement[bool]) -> int:
    query = select(func.coalesce(func.sum(column), 0)).where(which)
    return int(connection.execute(query).scalar_one())


def load_waiting_withdrawals(connection: Connection) -> WaitingWithdrawals:
    """Return how many withdrawals are in no payout batch yet, and since when the oldest is."""
    count, oldest_at_s = connection.execute(
        select(func.count(), func.min(_withdrawal.c.requested_at_s))
        .join(_payout, _payout.c.payout_id == _withdrawal.c.withdrawal_id)
        .where(_payout.c.batch_id.is_(None))
    ).one()
    return WaitingWithdrawals(int(count), None if oldest_at_s is None else int(oldest_at_s))


def load_withdrawals(
    connection: Connection, account_id: str, *, limit: int
) -> list[WithdrawalRecord]:
    """Return the newest withdrawals of an account, newest first."""
    query = _withdrawals().where(_withdrawal.c.account_id == account_id)
    rows = connection.execute(query.order_by(_withdrawal.c.withdrawal_id.desc()).limit(limit))
    return [WithdrawalRecord(**row) for row in rows.mappings()]


def load_withdrawal(connection: Connection, withdrawal_id: str) -> WithdrawalRecord:
    """Return a withdrawal that exists."""
    query = _withdrawals().where(_withdrawal.c.withdrawal_id == withdrawal_id)
    return WithdrawalRecord(**connection.execute(query).mappings().one())


def _withdrawals() -> Select[Any]:
    state = func.coalesce(_item.c.state, "planned")
    columns = [
        _withdrawal.c[name]
        for name in (
            *("withdrawal_id", "account_id", "wallet", "amount_usdc", "fee_usdc"),
            "requested_at_s",
        )
    ]
    its = (_item.c.payout_id == _withdrawal.c.withdrawal_id) & (_item.c.state != "freed")
    return (
        select(*columns, state.label("state"), _batch.c.paid_tx_hash.label("tx_hash"))
        .outerjoin(_item, its)
        .outerjoin(_batch, _batch.c.batch_id == _item.c.batch_id)
    )


def find_withdrawal_mismatches(connection: Connection) -> list[tuple[str, str]]:
    """Return withdrawals that break L7: each has left its account once, and is its payout and its
    fee to the unit; and no account has withdrawn more than it paid in for good."""
    booked = select(func.coalesce(func.sum(_credit.c.amount_usdc), 0)).where(
        _credit.c.account_id == _withdrawal.c.account_id,
        _credit.c.credit_id == SOURCE + ":" + _withdrawal.c.withdrawal_id,
    )
    rows = connection.execute(
        select(
            _withdrawal.c.withdrawal_id,
            _withdrawal.c.amount_usdc,
            _withdrawal.c.fee_usdc,
            _withdrawal.c.wallet,
            _payout.c.payee,
            func.coalesce(_payout.c.amount_usdc, 0),
            booked.scalar_subquery(),
        ).outerjoin(_payout, _payout.c.payout_id == _withdrawal.c.withdrawal_id)
    )
    found = [
        (f"withdrawal {id_}", f"of {amount}, fee {fee}: paid {paid} to {payee}, booked {credit}")
        for id_, amount, fee, wallet, payee, paid, credit in rows
        if (int(paid) + int(fee), -int(credit), payee) != (int(amount), int(amount), wallet)
    ]
    withdrawn = (
        select(_withdrawal.c.account_id, func.sum(_withdrawal.c.amount_usdc).label("usdc"))
        .group_by(_withdrawal.c.account_id)
        .subquery()
    )
    paid_in = select(func.coalesce(func.sum(_payment.c.credited_usdc), 0)).where(
        _payment.c.account_id == withdrawn.c.account_id, _payment.c.is_final.is_(True)
    )
    accounts = connection.execute(
        select(withdrawn.c.account_id, withdrawn.c.usdc, paid_in.scalar_subquery())
    )
    found += [
        (f"account {account_id}", f"withdrew {usdc}, and paid in {paid} for good")
        for account_id, usdc, paid in accounts
        if int(usdc) > int(paid)
    ]
    return found
