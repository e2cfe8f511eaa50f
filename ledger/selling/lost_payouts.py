"""Payout batches that the chain paid after the backup that this ledger was restored from.

The ledger has what they paid as waiting, or as earned and not gathered yet: to pay it again would
pay it twice. A payee is paid oldest first, so what a lost batch paid is known up to its amount.
A supplier's settled days count by the address that they name. What it paid for sales that were
lost is written down as a payout without sales, ``lost-…``.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, false, func, insert, not_, or_, select, text, update

from ledger.chain.event_rows import load_batch_events
from ledger.selling.earnings import is_disputed, is_withheld
from ledger.selling.payouts import abandon_payout_batch
from ledger.tables import (
    CALL_UNPAID,
    PAYOUT_BATCH_OPEN,
    SALE_UNPAID,
    SUPPLIER_PAYOUT_OPEN,
    ApiCall,
    Event,
    Intent,
    MarketPayout,
    MarketSale,
    PayoutBatch,
    PayoutItem,
    SupplierPayout,
    table_of,
)

LOST_PREFIX: Final = "lost-"
"""Begins the id of a payout whose sales are lost."""

_batch = table_of(PayoutBatch)
_call = table_of(ApiCall)
_event = table_of(Event)
_intent = table_of(Intent)
_item = table_of(PayoutItem)
_payout = table_of(MarketPayout)
_sale = table_of(MarketSale)
_supplier_payout = table_of(SupplierPayout)
_ENDS: Final = {"Paid": "paid", "PayoutCredited": "credited"}


@dataclass(frozen=True, slots=True)
class LostPayouts:
    """A payout batch that the chain has and the ledger has not. Amounts in 1e-6 USDC."""

    batch_id: str
    block_number: int
    tx_hash: str
    amounts_usdc: dict[tuple[str, str], int]
    """By payee and end: ``paid`` or ``credited``."""


@dataclass(frozen=True, slots=True)
class RecoveredPayout:
    """What became of a lost batch's amount to one payee, in 1e-6 USDC."""

    batch_id: str
    payee: str
    amount_usdc: int
    lost_usdc: int
    """What was paid for sales of which there is no record any more."""
    lost_payout_id: str | None = None
    """The payout that says so, ``lost-…``; None where nothing is lost."""


def find_lost_payouts(connection: Connection, *, above_block: int) -> list[LostPayouts]:
    """Return the payout batches paid above a block that this ledger never planned, oldest first."""
    known = set(connection.execute(select(_batch.c.batch_id)).scalars())
    rows = connection.execute(
        select(func.substr(_event.c.words, 1, 32), _event.c.block_number)
        .where(
            _event.c.token_id.is_(None),
            _event.c.name == "BatchPaid",
            _event.c.block_number > above_block,
        )
        .order_by(_event.c.block_number, _event.c.log_index)
    ).all()
    found = []
    for topic, block_number in rows:
        batch_id = "0x" + bytes(topic).hex()
        if batch_id in known:
            continue
        amounts: dict[tuple[str, str], int] = defaultdict(int)
        events = load_batch_events(connection, batch_id=batch_id, block_number=block_number)
        for event in events:
            if event.name in _ENDS:
                amounts[event.text("payee"), _ENDS[event.name]] += event.integer("amount")
        found.append(LostPayouts(batch_id, int(block_number), events[0].tx_hash, dict(amounts)))
    return found


def load_unpaid_batches(connection: Connection) -> dict[str, tuple[str | None, int | None]]:
    """Return the open payout batches: (sender, nonce) of each one's intent."""
    rows = connection.execute(
        select(_batch.c.batch_id, _intent.c.sender, _intent.c.nonce)
        .outerjoin(_intent, _intent.c.intent_id == "payout:" + _batch.c.batch_id)
        .where(text(PAYOUT_BATCH_OPEN))
    ).all()
    return {str(batch_id): (sender, nonce) for batch_id, sender, nonce in rows}


def abandon_unpaid(connection: Connection, batch_ids: set[str]) -> None:
    """Free the payouts of batches that can never land, but those that the chain has paid."""
    topics = connection.execute(
        select(func.substr(_event.c.words, 1, 32)).where(
            _event.c.token_id.is_(None), _event.c.name == "BatchPaid"
        )
    ).scalars()
    paid = {"0x" + bytes(topic).hex() for topic in topics}
    for batch_id in sorted(batch_ids - paid):
        abandon_payout_batch(connection, batch_id)


def take_over_payouts(
    connection: Connection, lost: LostPayouts, *, make_id: Callable[[], str], now_s: int
) -> list[RecoveredPayout]:
    """See to it that what a lost batch paid is not paid again; say what became of it.

    Belongs in one transaction with the other lost batches, taken over in their order on chain.
    """
    connection.execute(
        insert(_batch).values(
            batch_id=lost.batch_id,
            state="paid",
            total_usdc=sum(lost.amounts_usdc.values()),
            planned_at_s=now_s,
            paid_block=lost.block_number,
            paid_tx_hash=lost.tx_hash,
        )
    )
    recovered = []
    for (payee, end), amount_usdc in sorted(lost.amounts_usdc.items()):
        found = _find_waiting(connection, payee, amount_usdc)
        left_usdc = amount_usdc - sum(usdc for _, usdc in found)
        found += _gather(connection, payee, left_usdc, make_id=make_id, now_s=now_s)
        left_usdc = amount_usdc - sum(usdc for _, usdc in found)
        found += _hand_over_days(connection, payee, left_usdc, now_s=now_s)
        left_usdc = amount_usdc - sum(usdc for _, usdc in found)
        lost_id = None
        if left_usdc > 0:
            lost_id = payout_id = f"{LOST_PREFIX}{lost.batch_id[-16:]}-{payee[2:]}-{end}"
            _save(connection, payout_id, payee, payee, left_usdc, now_s=now_s)
            found.append((payout_id, left_usdc))
        for payout_id, usdc in found:
            row = {"payout_id": payout_id, "payee": payee, "amount_usdc": usdc, "state": end}
            connection.execute(insert(_item).values(batch_id=lost.batch_id, **row))
            connection.execute(
                update(_payout)
                .where(_payout.c.payout_id == payout_id)
                .values(batch_id=lost.batch_id)
            )
        recovered.append(
            RecoveredPayout(lost.batch_id, payee, amount_usdc, max(0, left_usdc), lost_id)
        )
    return recovered


def _find_waiting(connection: Connection, payee: str, amount_usdc: int) -> list[tuple[str, int]]:
    """Return the oldest payouts of a payee that wait, as far as they fit into an amount."""
    rows = connection.execute(
        select(_payout.c.payout_id, _payout.c.amount_usdc)
        .where(_payout.c.batch_id.is_(None), func.lower(_payout.c.payee) == payee)
        .order_by(_payout.c.planned_at_s, _payout.c.payout_id)
    ).all()
    found, left_usdc = [], amount_usdc
    for payout_id, usdc in rows:
        if usdc <= left_usdc:
            found.append((str(payout_id), int(usdc)))
            left_usdc -= int(usdc)
    return found


def _gather(
    connection: Connection, payee: str, amount_usdc: int, *, make_id: Callable[[], str], now_s: int
) -> list[tuple[str, int]]:
    """Gather a payee's oldest unpaid earnings into payouts, as far as they fit into an amount."""
    earned: list[tuple[bool, int, str, str, int, Any]] = []
    for sold, owner, key, unpaid in (
        (_sale, _sale.c.seller, _sale.c.sale_id, SALE_UNPAID),
        (_call, _call.c.owner, _call.c.call_id, CALL_UNPAID),
    ):
        # What vests first was paid first; what was withheld at the backup only if let go since.
        is_held = or_(is_withheld(), is_disputed(now_s))
        withheld = is_held if sold is _sale else false()
        vested_at_s = sold.c.resolved_at_s + (sold.c.vesting_s if sold is _sale else 0)
        rows = connection.execute(
            select(withheld, vested_at_s, key, owner, sold.c.earning_usdc)
            .where(text(unpaid), sold.c.earning_usdc > 0)
            .where(func.lower(sold.c.payout_address) == payee)
        ).all()
        earned += [
            (bool(is_last), int(at_s), str(id_), str(who), int(usdc), key)
            for is_last, at_s, id_, who, usdc in rows
        ]
    by_seller: dict[str, list[tuple[str, int, Any]]] = defaultdict(list)
    left_usdc = amount_usdc
    for _, _, sold_id, seller, usdc, key in sorted(earned, key=lambda one: one[:3]):
        if usdc > left_usdc:
            break
        left_usdc -= usdc
        by_seller[seller].append((sold_id, usdc, key))
    found = []
    for seller, parts in sorted(by_seller.items()):
        payout_id, total_usdc = make_id(), sum(usdc for _, usdc, _ in parts)
        _save(connection, payout_id, seller, payee, total_usdc, now_s=now_s)
        for sold_id, _, key in parts:
            connection.execute(update(key.table).where(key == sold_id).values(payout_id=payout_id))
        found.append((payout_id, total_usdc))
    return found


def _hand_over_days(
    connection: Connection, payee: str, amount_usdc: int, *, now_s: int
) -> list[tuple[str, int]]:
    """Make the oldest settled days that suppliers are owed at an address, and that no keeper was
    given yet, payouts of the market by their own ids, as far as they fit into an amount."""
    is_given = (
        select(_payout.c.payout_id)
        .where(_payout.c.payout_id == _supplier_payout.c.payout_id)
        .exists()
    )
    rows = connection.execute(
        select(
            _supplier_payout.c.payout_id,
            _supplier_payout.c.supplier_id,
            _supplier_payout.c.net_usdc,
        )
        .where(
            text(SUPPLIER_PAYOUT_OPEN),
            _supplier_payout.c.rail == "chain",
            func.lower(_supplier_payout.c.address) == payee,
            not_(is_given),
        )
        .order_by(_supplier_payout.c.created_at_s, _supplier_payout.c.payout_id)
    ).all()
    found, left_usdc = [], amount_usdc
    for payout_id, supplier_id, usdc in rows:
        if usdc > left_usdc:
            continue
        left_usdc -= int(usdc)
        _save(connection, payout_id, supplier_id, payee, int(usdc), now_s=now_s)
        connection.execute(
            update(_supplier_payout)
            .where(_supplier_payout.c.payout_id == payout_id)
            .values(
                status="submitted",
                reason=None,
                submitted_at_s=now_s,
                tries=_supplier_payout.c.tries + 1,
                changed_at_s=now_s,
            )
        )
        found.append((str(payout_id), int(usdc)))
    return found


def _save(
    connection: Connection,
    payout_id: str,
    seller: str,
    payee: str,
    amount_usdc: int,
    *,
    now_s: int,
) -> None:
    connection.execute(
        insert(_payout).values(
            payout_id=payout_id,
            seller=seller,
            payee=payee,
            amount_usdc=amount_usdc,
            planned_at_s=now_s,
        )
    )
