"""What the operator does about suppliers' pay at the command line."""

import asyncio
import re
from collections.abc import Callable
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, RowMapping

from contracts.units import format_usdc
from ledger.database.clock import ask_now_s
from ledger.database.engine import read, write
from ledger.suppliers.accounts import set_fee
from ledger.suppliers.chain_payouts import is_with_keeper
from ledger.suppliers.reviews import note_audit
from ledger.suppliers.saved_addresses import AddressNow, load_addresses_now
from ledger.suppliers.settlement import SettlementTerms
from ledger.suppliers.supplier_payouts import (
    find_payout,
    load_unsent,
    note_payout_failed,
    note_payout_sent,
    refresh_addresses,
    retry_failed,
)
from market.operator import ArgumentInvalid
from market.suppliers.payout_addresses import Rail
from market.suppliers.payout_lines import PAYOUT_COLUMNS, build_payout_line
from market.suppliers.reviewing import COMMAND_LINE
from market.suppliers.settlement_worker import DayNotOver, SettlementWorker
from market.suppliers.settling_days import show_day, show_time
from serving.http.tables import write_csv
from serving.process.ids import new_id

T = TypeVar("T")

MANUAL: Final = Rail.MANUAL
REASON_MAX: Final = 300
PAGE: Final = 1_000
_TX_HASH: Final = re.compile(r"(0x)?[0-9a-fA-F]{64}")


def settle_date(engine: Engine, terms: SettlementTerms, day: int) -> str:
    """Settle a day, and those before it that are not settled; say what was done.

    Raises ``ArgumentInvalid`` for a day that is not over, and ``LedgerUnavailable``.
    """

    async def ask(call: Callable[[Connection], T]) -> T:
        with read(engine) as connection:
            return call(connection)

    async def change(call: Callable[[Connection], T]) -> T:
        with write(engine) as connection:
            return call(connection)

    worker = SettlementWorker(ask, change, terms, settle_at_s=0)
    try:
        done = asyncio.run(worker.settle_through(day, ask_now_s(engine)))
    except DayNotOver as error:
        raise ArgumentInvalid(str(error)) from None
    return (
        f"settled through {show_day(day)}: {done.payouts} suppliers' days, {done.carried} of them"
        f" carried over, {format_usdc(done.net_usdc)} USDC or USDT to be paid"
    )


def export_manual(engine: Engine) -> bytes:
    """Return what waits to be paid by hand, as CSV, each to the address that counts now. The ledger
    keeps that address. Raises ``LedgerUnavailable``.
    """
    now_s = ask_now_s(engine)
    lines: list[dict[str, object]] = []
    after = ""
    while True:
        with write(engine) as connection:
            ids = [
                str(row["payout_id"])
                for row in load_unsent(connection, rail=MANUAL, after=after, limit=PAGE)
            ]
            refresh_addresses(connection, ids, now_s=now_s)
            lines += [
                build_payout_line(
                    row,
                    legal_name=row["legal_name"],
                    registration_number=row["registration_number"],
                )
                for row in load_unsent(connection, rail=MANUAL, after=after, limit=PAGE)
            ]
        if len(ids) < PAGE:
            return write_csv(lines, PAYOUT_COLUMNS)
        after = ids[-1]


def mark_sent(engine: Engine, payout_id: str, tx_hash: str) -> str:
    """Note that a payout was sent by hand, or that one that needed the operator was; say so.

    Raises ``ArgumentInvalid`` where it is none of these, and ``LedgerUnavailable``.
    """
    if _TX_HASH.fullmatch(tx_hash) is None:
        raise ArgumentInvalid(f"not a transaction's hash (64 hex digits): {tx_hash[:80]!r}")
    now_s = ask_now_s(engine)
    with write(engine) as connection:
        row = _find(connection, payout_id)
        by_hand = row["rail"] == MANUAL
        before = ("needs_operator", "failed", *(("pending",) if by_hand else ()))
        is_noted = note_payout_sent(
            connection,
            payout_id,
            tx_hash=tx_hash.lower(),
            make_id=new_id,
            now_s=now_s,
            before=before,
        )
    if not is_noted:
        raise _not_possible(row, "it cannot be marked as sent")
    return f"payout {payout_id} was sent by {tx_hash.lower()}"


def mark_failed(engine: Engine, payout_id: str, reason: str) -> str:
    """Note that a payout certainly was not and will not be sent; say so.

    For those that need the operator, and those that are sent by hand. Never for what the keeper
    was given: it pays by itself, or has paid into the contract. Raises ``ArgumentInvalid`` and
    ``LedgerUnavailable``.
    """
    now_s = ask_now_s(engine)
    with write(engine) as connection:
        row = _find(connection, payout_id)
        if row["rail"] == Rail.CHAIN and is_with_keeper(connection, payout_id):
            raise _not_possible(row, "its payee can claim it from the payouts contract")
        before = ("needs_operator", *(("pending",) if row["rail"] == MANUAL else ()))
        is_noted = note_payout_failed(
            connection,
            payout_id,
            reason=reason[:REASON_MAX],
            make_id=new_id,
            now_s=now_s,
            before=before,
        )
    if not is_noted:
        raise _not_possible(row, "it cannot be marked as failed")
    return f"payout {payout_id} has failed: payout-retry sends it again"


def send_again(engine: Engine, payout_id: str) -> str:
    """Let a payout be sent again that certainly was not, to the address that counts when it is;
    say which counts now.

    Raises ``ArgumentInvalid`` for one that did not fail, and for one whose supplier has saved
    another address that does not count yet; and ``LedgerUnavailable``.
    """
    now_s = ask_now_s(engine)
    with write(engine) as connection:
        row = _find(connection, payout_id)
        key = (row["supplier_id"], row["network"])
        found = load_addresses_now(connection, [key[0]], now_s=now_s)
        counts = found.get(key, AddressNow(None, None))
        if counts.later_from_s is not None:
            when = show_time(counts.later_from_s)
            raise ArgumentInvalid(f"its supplier's next address counts from {when}: retry then")
        if not retry_failed(connection, payout_id, now_s=now_s):
            raise ArgumentInvalid(f"payout {payout_id!r} has not failed")
    address = counts.address or row["address"]
    is_same = " as before" if address == row["address"] else ""
    return f"payout {payout_id} is sent again, to {address}{is_same}"


def agree_fee(engine: Engine, supplier_id: str, fee_bps: int) -> str:
    """Agree a fee with a supplier for days that are not settled yet, and write it down; say so.

    Raises ``ArgumentInvalid`` for an unknown account, and ``LedgerUnavailable``.
    """
    now_s = ask_now_s(engine)
    with write(engine) as connection:
        if not set_fee(connection, supplier_id, fee_bps, now_s=now_s):
            raise ArgumentInvalid(f"no account {supplier_id!r}")
        note_audit(
            connection,
            entry_id=new_id(),
            actor=COMMAND_LINE,
            action="fee",
            subject=f"{fee_bps} bps",
            supplier_id=supplier_id,
            now_s=now_s,
        )
    return f"supplier {supplier_id} pays {fee_bps} bps of days that are not settled yet"


def _find(connection: Connection, payout_id: str) -> RowMapping:
    row = find_payout(connection, payout_id)
    if row is None:
        raise ArgumentInvalid(f"no payout {payout_id!r}")
    return row


def _not_possible(row: RowMapping, why: str) -> ArgumentInvalid:
    return ArgumentInvalid(
        f"payout {row['payout_id']!r} is {row['status']}, by {row['rail']}: {why}"
    )
