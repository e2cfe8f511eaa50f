"""Suppliers' payouts on their way: what is due, what was asked for, what became of it.

::

    pending ──► submitted ──► sending ──► sent
       ▲ │                       ├──► failed ◄────┐   nothing was or will be sent
       │ └─► address_pending_…   └──► needs_operator  that is not certain: never sent by itself
       └──── failed, by an operator's word

A payout goes to the address that counts when its rail is asked for it: what is held, or has failed,
does not go to one that its supplier has replaced meanwhile.

Every change names the statuses that it starts from: two processes, or news that come twice or late,
change nothing more. Amounts are in 1e-6 USD. Every function is part of the caller's transaction.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, func, select, text, update

from contracts.units import format_usdc
from ledger.database.engine import is_postgres
from ledger.suppliers.accounts import APPROVED
from ledger.suppliers.mails import NewMail, enqueue_mail
from ledger.suppliers.saved_addresses import load_addresses_now
from ledger.tables import SUPPLIER_PAYOUT_OPEN, Supplier, SupplierPayout, table_of

_payout = table_of(SupplierPayout)
_supplier = table_of(Supplier)

UNSENT: Final = ("pending", "address_pending_whitelist")
"""Nothing has been asked of a rail yet, or it said that it does nothing."""
ASKED: Final = ("submitted", "sending", "needs_operator")
FIRST_PAYOUT_MAIL: Final = "first_payout"
FAILED_MAIL: Final = "payout_failed"


def take_due_payouts(
    connection: Connection,
    *,
    rail: str,
    statuses: Sequence[str],
    claim_s: int,
    now_s: int,
    limit: int,
) -> list[RowMapping]:
    """Return payouts of a rail that are due, which no other process looks at for ``claim_s``.

    What was not asked for yet is due only while the supplier is approved.
    """
    is_free = _payout.c.status.not_in(UNSENT) | (_supplier.c.kyb_status == APPROVED)
    query = (
        select(_payout)
        .join(_supplier, _supplier.c.supplier_id == _payout.c.supplier_id)
        .where(
            text(SUPPLIER_PAYOUT_OPEN),
            _payout.c.next_try_at_s <= now_s,
            _payout.c.rail == rail,
            _payout.c.status.in_(statuses),
            is_free,
        )
        .order_by(_payout.c.next_try_at_s, _payout.c.payout_id)
        .limit(limit)
    )
    if is_postgres(connection):
        query = query.with_for_update(of=_payout, skip_locked=True)
    rows = list(connection.execute(query).mappings())
    ids = [row["payout_id"] for row in rows]
    if ids:
        connection.execute(
            update(_payout)
            .where(_payout.c.payout_id.in_(ids))
            .values(next_try_at_s=now_s + claim_s)
        )
    return rows


def move_payout(
    connection: Connection, payout_id: str, *, before: Sequence[str], now_s: int, **values: Any
) -> bool:
    """Change a payout that is in one of ``before``; tell whether it was."""
    changed = connection.execute(
        update(_payout)
        .where(_payout.c.payout_id == payout_id, _payout.c.status.in_(before))
        .values(**values, changed_at_s=now_s)
    )
    return changed.rowcount == 1


def note_submitted(
    connection: Connection, payout_ids: Sequence[str], *, now_s: int
) -> list[dict[str, Any]]:
    """Note that a rail is about to be asked for payouts, before it is; return those that may be, as
    they are to be paid.

    The supplier's approval is looked at again, and its suspension waits.
    """
    query = (
        select(_payout.c.payout_id, _payout.c.supplier_id)
        .where(_payout.c.payout_id.in_(list(payout_ids)), _payout.c.status.in_(UNSENT))
        .order_by(_payout.c.payout_id)
    )
    approved = (
        select(_supplier.c.supplier_id)
        .where(_supplier.c.kyb_status == APPROVED)
        .order_by(_supplier.c.supplier_id)
    )
    if is_postgres(connection):
        query, approved = query.with_for_update(), approved.with_for_update(read=True)
    owners = {str(payout_id): str(one) for payout_id, one in connection.execute(query)}
    of_these = approved.where(_supplier.c.supplier_id.in_(sorted(set(owners.values()))))
    payable = set(connection.execute(of_these).scalars())
    ids = [payout_id for payout_id, supplier_id in owners.items() if supplier_id in payable]
    refresh_addresses(connection, ids, now_s=now_s)
    connection.execute(
        update(_payout)
        .where(_payout.c.payout_id.in_(ids))
        .values(
            status="submitted",
            submitted_at_s=now_s,
            tries=_payout.c.tries + 1,
            external_id=None,
            external_batch=None,
            external_state=None,
            is_verified=False,
            code_tries=0,
            changed_at_s=now_s,
        )
    )
    rows = connection.execute(
        select(_payout).where(_payout.c.payout_id.in_(ids)).order_by(_payout.c.payout_id)
    ).mappings()
    return [dict(row) for row in rows]


def refresh_addresses(connection: Connection, payout_ids: Sequence[str], *, now_s: int) -> None:
    """Have payouts that no rail was asked for go to their network's address that counts now."""
    rows = connection.execute(
        select(
            _payout.c.payout_id, _payout.c.supplier_id, _payout.c.network, _payout.c.address
        ).where(_payout.c.payout_id.in_(payout_ids))
    ).all()
    counting = load_addresses_now(connection, {row.supplier_id for row in rows}, now_s=now_s)
    for row in rows:
        now = counting.get((row.supplier_id, row.network))
        if now is not None and now.address not in (None, row.address):
            connection.execute(
                update(_payout)
                .where(_payout.c.payout_id == row.payout_id, _payout.c.status.in_(UNSENT))
                .values(address=now.address, changed_at_s=now_s)
            )


def note_payout_sent(
    connection: Connection,
    payout_id: str,
    *,
    tx_hash: str,
    make_id: Callable[[], str],
    now_s: int,
    before: Sequence[str] = ASKED,
    **values: Any,
) -> bool:
    """Note that a payout was sent, and write the mail of a supplier's first one; tell whether it
    was in one of ``before``."""
    values |= {"status": "sent", "tx_hash": tx_hash, "sent_at_s": now_s, "reason": None}
    if not move_payout(connection, payout_id, before=before, now_s=now_s, **values):
        return False
    row = _load_with_mail(connection, payout_id)
    facts = {
        "payout_id": payout_id,
        "net": format_usdc(int(row["net_usdc"])),
        "asset": row["asset"],
        "network": row["network"],
        "address": row["address"],
        "tx_hash": tx_hash,
    }
    supplier_id = row["supplier_id"]
    mail = NewMail(
        mail_id=make_id(),
        to_address=row["email"],
        template=FIRST_PAYOUT_MAIL,
        facts=facts,
        supplier_id=supplier_id,
        once_key=f"{FIRST_PAYOUT_MAIL}:{supplier_id}",
    )
    enqueue_mail(connection, mail, now_s=now_s)
    return True


def _load_with_mail(connection: Connection, payout_id: str) -> RowMapping:
    """Return a payout that exists, with its supplier's address for mails as ``email``."""
    query = (
        select(_payout, _supplier.c.email)
        .join(_supplier, _supplier.c.supplier_id == _payout.c.supplier_id)
        .where(_payout.c.payout_id == payout_id)
    )
    return connection.execute(query).mappings().one()


def note_payout_failed(
    connection: Connection,
    payout_id: str,
    *,
    reason: str,
    make_id: Callable[[], str],
    now_s: int,
    before: Sequence[str] = ASKED,
    **values: Any,
) -> bool:
    """Note that a payout certainly was not and will not be sent, and write its supplier a mail;
    tell whether it was in one of ``before``."""
    values |= {"status": "failed", "reason": reason}
    if not move_payout(connection, payout_id, before=before, now_s=now_s, **values):
        return False
    row = _load_with_mail(connection, payout_id)
    mail = NewMail(
        mail_id=make_id(),
        to_address=row["email"],
        template=FAILED_MAIL,
        facts={
            "payout_id": payout_id,
            "net": format_usdc(int(row["net_usdc"])),
            "asset": row["asset"],
            "network": row["network"],
            "address": row["address"],
        },
        supplier_id=row["supplier_id"],
        once_key=f"{FAILED_MAIL}:{payout_id}:{row['retries']}",
    )
    enqueue_mail(connection, mail, now_s=now_s)
    return True


def find_payout(connection: Connection, payout_id: str) -> RowMapping | None:
    """Return a payout, or None."""
    query = select(_payout).where(_payout.c.payout_id == payout_id)
    return connection.execute(query).mappings().one_or_none()


def is_batch_stopped(connection: Connection, external_batch: str) -> bool:
    """Tell whether a payout of a rail's batch needs the operator."""
    query = select(_payout.c.payout_id).where(
        text(SUPPLIER_PAYOUT_OPEN),
        _payout.c.external_batch == external_batch,
        _payout.c.status == "needs_operator",
    )
    return connection.execute(query.limit(1)).scalar() is not None


def hasten_external(connection: Connection, external_id: str, *, now_s: int) -> bool:
    """Have a payout looked at now, by its rail's id; tell whether there is one that may move."""
    changed = connection.execute(
        update(_payout)
        .where(_payout.c.external_id == external_id, _payout.c.status.in_(ASKED))
        .values(next_try_at_s=now_s)
    )
    return changed.rowcount == 1


def retry_failed(connection: Connection, payout_id: str, *, now_s: int) -> bool:
    """Let a payout be sent again that certainly was not, to the address that counts when it is;
    tell whether it had failed."""
    return move_payout(
        connection,
        payout_id,
        before=("failed",),
        now_s=now_s,
        status="pending",
        reason=None,
        retries=_payout.c.retries + 1,
        next_try_at_s=now_s,
    )


def build_reference(row: Mapping[Any, Any]) -> str:
    """Return what a rail knows a payout by: its id, another after each operator's word that what
    the rail has of it was not and will not be sent."""
    payout_id, retries = str(row["payout_id"]), int(row["retries"])
    return payout_id if retries == 0 else f"{payout_id}~{retries}"


def count_payouts(connection: Connection) -> dict[str, tuple[int, int | None]]:
    """Return how many payouts are open by status, and since when the oldest of each is.

    By its index: it costs what is open, however much was paid before.
    """
    rows = connection.execute(
        select(_payout.c.status, func.count(), func.min(_payout.c.created_at_s))
        .where(text(SUPPLIER_PAYOUT_OPEN))
        .group_by(_payout.c.status)
    ).all()
    return {str(status): (int(count), int(oldest)) for status, count, oldest in rows}


def load_unsent(connection: Connection, *, rail: str, after: str, limit: int) -> list[RowMapping]:
    """Return payouts of a rail that wait to be sent, after an id, oldest first, with their
    suppliers."""
    query = (
        select(_payout, _supplier.c.legal_name, _supplier.c.registration_number)
        .join(_supplier, _supplier.c.supplier_id == _payout.c.supplier_id)
        .where(
            text(SUPPLIER_PAYOUT_OPEN),
            _payout.c.rail == rail,
            _payout.c.status.in_(UNSENT),
            _payout.c.payout_id > after,
            _supplier.c.kyb_status == APPROVED,
        )
        .order_by(_payout.c.payout_id)
        .limit(limit)
    )
    return list(connection.execute(query).mappings())
